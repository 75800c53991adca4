"""Rows of a findings table: their phrase, their organs, their answers."""

import math

import numpy as np
import pytest

from napari_ctvlp.core import vocabulary
from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.findings import FindingRow, organs_of, row_phrase
from napari_ctvlp.core.gating import missing_organ
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.vocabulary.own import read
from napari_ctvlp.engine.judging import asked, taken_for
from napari_ctvlp.models.encoders.hosting import table_of
from napari_ctvlp.models.encoders.mini_rows import own_rows
from napari_ctvlp.models.encoders.prompts import Prompts
from napari_ctvlp.models.protocol import ModelCard

OWN = """
[[finding]]
name = "septic_emboli"
organs = ["lungs"]
words = ["septic emboli"]
concept = "cavity"
[[finding]]
name = "broken_heart"
organs = ["heart"]
words = ["broken heart"]
present = ["a broken heart", "a heart in pieces"]
absent = ["a whole heart"]
[[finding]]
name = "nodule"
words = ["nummular focus"]
"""


@pytest.fixture
def own():
    vocabulary.use(read(OWN))
    yield
    vocabulary.use({})


def row(organ, finding, margin=0.0):
    return FindingRow(organ, finding, margin, 0.0, margin)


def test_a_row_asks_in_words_that_are_read_as_it():
    for organ, finding in (
        ("lung_left", "nodule"), ("heart", "pericardial_effusion"), ("abdomen", "ascites"),
        ("mediastinum", "lymph_node"), ("kidney_right", "kidney_stone"),
    ):  # fmt: skip
        phrase = parse(row_phrase(row(organ, finding)))
        assert phrase.finding == finding
        assert phrase.anatomy in (organ, ""), "a finding of one organ need not name it"


def test_a_row_is_about_the_organs_that_the_scan_has():
    known = {"lung_left", "heart", "liver", "stomach"}
    assert organs_of(row("lung_left", "nodule"), None, known) == {"lung_left"}
    assert organs_of(row("aorta", "aortic_aneurysm"), None, known) == frozenset()
    assert {"liver", "stomach"} <= organs_of(row("abdomen", "ascites"), None, known)
    assert organs_of(row("lung", "Emphysema"), None, known) == frozenset()


def test_a_finding_taught_for_a_region_is_taught_there():
    scan = phantom((20, 20, 20), (16.0, 16.0, 16.0))
    labels = np.zeros(scan.shape, np.uint8)
    labels[10:, 5:15, 5:15] = 1
    anatomy = anatomy_from_labels(labels, scan, [(1, "liver")], source="test")
    assert missing_organ(parse("ascites in the abdomen"), anatomy) == ""
    assert "elsewhere" in missing_organ(parse("ascites in the heart"), anatomy)


def test_a_new_word_is_asked_in_words_a_model_was_taught(own):
    phrase = parse("septic emboli in the left lung")
    taught, free = (
        ModelCard("x", "x", "encoder", "", "", "", settings=settings)
        for settings in ({"concepts": ["cavity"]}, {})
    )
    assert (taken_for(phrase), asked(phrase, taught)) == ("cavity", "cavity")
    assert asked(phrase, free) == phrase.query, "who reads any text is asked for it"
    for card in (taught, free):
        assert asked(parse("nummular focus"), card) == "nodule"
        assert asked(parse("spiculated nodule"), card) == "spiculated nodule"
    assert taken_for(parse("broken heart")) == "broken_heart"


def test_mini_takes_an_own_finding_for_its_concept_or_says_why_not(own):
    left, right, heart = own_rows([row("lung_left", "cavity", 1.5)])
    assert (left.finding, left.margin) == ("septic_emboli", 1.5)
    assert "not taught septic emboli" in right.support
    assert "not taught broken heart" in heart.support


def test_an_encoder_that_reads_any_text_scores_an_own_finding_by_its_prompts(own):
    axes = {"a broken heart": 0, "a heart in pieces": 1, "a whole heart": 2}

    def run(texts):
        return np.stack([np.eye(3, dtype=np.float32)[axes[text]] for text in texts])

    card = ModelCard("x", "x", "encoder", "", "", "", settings={"organs": {"core": ["heart"]}})
    unit = np.array([0.6, 0.2, 0.1], np.float32)
    encoding = Encoding((), {"core": unit}, "x", "", "scan")
    (found,) = table_of(card, encoding, Prompts(run)).rows
    assert (found.organ, found.finding) == ("core", "broken_heart")
    assert found.present == pytest.approx(0.4)
    assert found.absent == pytest.approx(0.1)
    assert found.prompts == ("a broken heart / a heart in pieces", "a whole heart")
    assert table_of(card, encoding, Prompts(None)).rows == ()
    (missing,) = table_of(card, Encoding((), {}, "x", "", "scan"), Prompts(run)).rows
    assert math.isnan(missing.margin)
    assert "not found" in missing.support
