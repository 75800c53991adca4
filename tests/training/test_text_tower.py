"""Training of the small text tower on a few words, with a teacher of random vectors."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.text import DIMENSIONS
from napari_ctvlp.models.text_small import SmallTower
from napari_ctvlp.training import rundir, text_corpus, text_lessons, text_measure, text_tower
from napari_ctvlp.training.text_corpus import Wording
from napari_ctvlp.training.text_head import glossary
from napari_ctvlp.training.text_teacher import Teacher

PLAN = text_lessons.Plan(
    steps=6,
    vocabulary=600,
    width=64,
    layers=1,
    prose=20,
    strings=40,
    reports=3,
    words=60,
    times=1,
    names=0,
)
DOCUMENT = (
    '"""Reads a file of the old kind into memory.\n\nThe weather in the north is often mild."""'
)


class Words:
    """A tower with a vector of its own for each word; sentences are their mean."""

    def __init__(self, folder):
        self.folder = folder
        words = {word: n for n, word in enumerate(["rain", "bicycle", "river", "old", "the", "of"])}
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": words}}))
        self.asked = 0

    def embed(self, phrases):
        self.asked += len(phrases)
        rows = [
            sum(np.random.default_rng([*w.encode()]).standard_normal(DIMENSIONS) for w in p.split())
            for p in phrases
        ]
        rows = np.array(rows, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def minilm(tmp_path):
    return Words(tmp_path)


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "package"
    source.mkdir()
    (source / "a.py").write_text(DOCUMENT)
    return source


def test_medical_names_are_short_and_drawn_alike():
    pytest.importorskip("simple_icd_10_cm")
    names = text_corpus.code_names(10**6, seed=1)
    assert 10_000 < len(names) == len(set(names))
    assert {"Solitary pulmonary nodule", "Pleural effusion", "Abdominal aorta"} <= {*names}
    assert not [n for n in names if n.endswith("(finding)") or len(n.split()) > 8]
    assert text_corpus.code_names(50, seed=1) == names[:50]


def test_training_resumes_to_the_same_weights_and_writes_a_tower(tmp_path, minilm, folder):
    whole = text_tower.prepare(tmp_path / "whole", PLAN, [folder], minilm)
    first = text_tower.run(whole, tmp_path / "whole", every=3)
    (tmp_path / "parts").mkdir()
    shutil.copy(tmp_path / "whole" / "tokenizer.json", tmp_path / "parts")
    short = text_tower.prepare(tmp_path / "parts", PLAN, [folder], minilm)
    for _ in range(3):
        short.step()
    rundir.save(short.state(), tmp_path / "parts")
    again = text_tower.prepare(tmp_path / "parts", PLAN, [folder], minilm)
    assert again.done == 3
    second = text_tower.run(again, tmp_path / "parts", every=3)
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(value, second.network.state_dict()[name], rtol=0, atol=0)
    path = tmp_path / "text-tower.safetensors"
    first.write(path, {"plan": "{}"})
    phrases = ["lung mass", "no lung mass"]
    np.testing.assert_allclose(
        SmallTower.read(path).embed(phrases), first.embed(phrases), atol=5e-3
    )
    with pytest.raises(InputRefused, match="width was 64, is 128"):
        text_tower.prepare(tmp_path / "whole", replace(PLAN, width=128), [folder], minilm)
    assert len((tmp_path / "whole" / rundir.LOG).read_text().splitlines()) == 2


def test_what_is_held_out_is_never_read(minilm, folder):
    texts = text_lessons.corpus(PLAN, ["rain", "nodule", "river"], [folder])
    left = {term for listed in texts.left.values() for term in listed}
    assert len(left) >= 0.05 * sum(map(len, glossary().values()))
    assert not left & {wording.term for wording in texts.medical}
    assert not left & set(texts.general)
    assert not {w.text for w in texts.said if any(f" {term} " in w.text for term in left)}
    assert "Reads a file of the old kind into memory." in (*texts.general, *texts.unseen)


def test_what_is_held_out_stays_so_in_a_larger_glossary():
    small = {"mass": [f"mass {n}" for n in range(60)]}
    large = {"mass": [f"mass {n}" for n in range(90)]}
    first, second = (
        set(text_corpus.held_out(terms, {"mass": ["mass 1"]})["mass"]) for terms in (small, large)
    )
    assert first == second & set(small["mass"])
    assert "mass 1" in first
    assert 2 <= len(first) <= 15


def test_the_teacher_is_asked_once(tmp_path, minilm):
    teacher = Teacher(minilm, tmp_path)
    teacher.learn(["river", "old rain", "river"])
    again = Teacher(minilm, tmp_path)
    again.learn(["old rain", "bicycle"])
    assert minilm.asked == 3
    wanted = minilm.embed(["bicycle", "river", "old rain"])
    np.testing.assert_allclose(
        again.vectors(["bicycle", "river", "old rain"]).numpy(), wanted, atol=1e-3
    )


def test_a_half_written_teacher_file_is_mended(tmp_path, minilm):
    Teacher(minilm, tmp_path).learn(["river", "rain"])
    with (tmp_path / "teacher.f16").open("ab") as file:
        file.write(b"123")
    with (tmp_path / "teacher.txt").open("a") as file:
        file.write("bicy")
    again = Teacher(minilm, tmp_path)
    assert list(again.rows) == ["rain", "river"] or list(again.rows) == ["river", "rain"]
    again.learn(["bicycle"])
    wanted = minilm.embed(["bicycle"])
    np.testing.assert_allclose(Teacher(minilm, tmp_path).vectors(["bicycle"]), wanted, atol=1e-3)


def test_contrast_is_least_where_labels_are_together_and_strangers_far():
    labels = torch.tensor([0, 0, 1, 1])
    axes = torch.eye(DIMENSIONS)
    together, mixed = axes[[0, 0, 1, 1]], axes[[0, 1, 0, 1]]
    far, near = axes[[5]], axes[[0]]
    best = text_lessons.contrast(together, labels, far)
    assert best < text_lessons.contrast(mixed, labels, far)
    assert best < text_lessons.contrast(together, labels, near)
    assert text_lessons.contrast(together, torch.arange(4), far) == 0


def test_sides_of_one_term_are_pushed_apart_down_to_a_margin():
    left, right = (Wording(f"{side} mass", "mass", 1, side=side) for side in ("left", "right"))
    other = Wording("right nodule", "nodule", 0, side="right")
    axes = torch.eye(DIMENSIONS)
    same = axes[[0, 0]]
    excess = text_lessons.apart(same, [left, right])
    assert excess == pytest.approx(1 - text_lessons.SIDE_COSINE)
    assert text_lessons.apart(axes[[0, 1]], [left, right]) == 0
    assert text_lessons.apart(same, [left, other]) == 0


def test_prose_is_sentences_of_docstrings(folder, tmp_path):
    (folder / "site-packages").mkdir()
    Path(folder / "site-packages" / "b.py").write_text(DOCUMENT.replace("mild", "wild"))
    found = text_corpus.prose([folder], 10, 0)
    assert set(found) == {
        "Reads a file of the old kind into memory.",
        "The weather in the north is often mild.",
    }


def test_chances_that_one_exceeds_another():
    low = np.array([0.0, 1.0])
    assert text_measure.auroc(np.array([2.0, 3.0]), low) == 1
    assert text_measure.auroc(np.array([1.0]), low) == 0.75
    assert text_measure.auroc(low - 5, low) == 0


def test_misspelt_terms_lack_one_letter():
    pairs = text_measure.misspelt(["emphysema", "short", "pneumothorax"], 10, 0)
    assert {right for _, right in pairs} == {"emphysema", "pneumothorax"}
    assert all(len(wrong) == len(right) - 1 for wrong, right in pairs)


def test_a_table_has_a_column_per_tower_and_a_value_per_seed():
    text = text_measure.table({"small": [{"a": 0.5}, {"a": 0.6}], "MiniLM": [{"a": 1}, {"a": 1}]})
    assert text.splitlines()[2] == "| a | 0.500 / 0.600 | 1.000 |"
