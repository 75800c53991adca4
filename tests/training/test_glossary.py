"""The glossary: every concept has words of its own, some kept from what is measured on them."""

from __future__ import annotations

import tomllib
from collections import Counter

import pytest

from napari_ctvlp.core.vocabulary import concepts
from napari_ctvlp.training.text_head import GLOSSARY, foreign, glossary

FILES = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in GLOSSARY.glob("*.toml")}
LEAST = {"finding": 40, "union": 40, "anatomy": 15}


@pytest.fixture(scope="module")
def owners() -> dict[str, str]:
    """The concept of each term, in lower case."""
    return {term.lower(): name for name, listed in glossary().items() for term in listed}


def test_every_concept_has_its_terms(owners: dict[str, str]):
    assert len(owners) >= 2400
    for concept in concepts():
        assert len(glossary()[concept.name]) >= LEAST[concept.kind], concept.name


def test_no_term_has_two_concepts():
    counted = Counter(term.lower() for listed in glossary().values() for term in listed)
    assert not [term for term, times in counted.items() if times > 1]


def test_held_out_terms_are_terms_of_their_concept():
    held_out = FILES["held_out"]["held_out"]
    known = glossary()
    assert set(held_out) == set(known)
    assert all(listed and set(listed) < set(known[name]) for name, listed in held_out.items())
    share = sum(map(len, held_out.values())) / sum(map(len, known.values()))
    assert 0.08 < share < 0.12


def test_confusable_pairs_are_of_two_concepts(owners: dict[str, str]):
    for first, second in FILES["wording"]["confusable"]["pairs"]:
        assert owners[first] != owners[second]


def test_nothing_foreign_is_a_term(owners: dict[str, str]):
    train = FILES["wording"]["foreign"]["train"]
    assert len(train) >= 80
    assert not set(train) & set(foreign())
    assert not {text.lower() for text in (*train, *foreign())} & set(owners)


@pytest.mark.parametrize("kind", ["templates", "sides", "negations"])
def test_held_out_wordings_are_others(kind: str):
    table = FILES["wording"][kind]
    assert not set(table["train"]) & set(table["held_out"])
    assert all(template.count("{}") == 1 for listed in table.values() for template in listed)
