"""Findings back in words: read the same way, also after a chip was changed."""

from pathlib import Path

import pytest

from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.vocabulary import findings, places
from napari_ctvlp.core.wording import changed, meant, spoken
from napari_ctvlp.evaluation.phrases import read_table

TABLE = Path(__file__).with_name("phrases.csv")


def test_every_finding_of_the_table_can_be_asked_for_by_itself():
    found = [p for row in read_table(TABLE) for p in parse(row.phrase).every if p.finding]
    lost = [p.text for p in found if meant(parse(spoken(p))) != meant(p)]
    assert len(found) > 600
    assert not lost


def test_findings_of_one_sentence_are_asked_for_apart():
    phrase = parse("No effusion, 8 mm nodule in the right upper lobe.")
    assert [spoken(one) for one in phrase.every] == [
        "no effusion",
        "8 mm nodule in the right upper lobe",
    ]


@pytest.mark.parametrize(
    ("text", "change", "wanted"),
    [
        ("no nodule in the left lung", {"side": "right"}, "no nodule in the right lung"),
        ("nodule in the left lower lobe", {"finding": "mass"}, "mass in the left lower lobe"),
        ("nodule in the left lower lobe", {"anatomy": "liver"}, "nodule in the liver"),
        ("stone in the left kidney", {"side": "right"}, "stone in the right kidney"),
        ("spiculated nodule", {"negated": True}, "no spiculated nodule"),
        ("spiculated nodule", {"uncertain": True}, "possible spiculated nodule"),
        ("no nodule", {"negated": False}, "nodule"),
        ("8 mm nodule", {"size_mm": 12.0}, "12 mm nodule"),
        ("8 mm nodule", {"size_mm": None}, "nodule"),
        ("effusion on the left", {"side": ""}, "effusion"),
    ],
)
def test_a_changed_chip_changes_its_words_and_no_others(text, change, wanted):
    assert changed(parse(text), **change) == wanted


@pytest.mark.parametrize("anatomy", sorted(name for name, p in places().items() if p.words))
def test_a_finding_can_be_put_anywhere(anatomy):
    phrase = parse(changed(parse("mass"), anatomy=anatomy))
    assert phrase.anatomy == anatomy


@pytest.mark.parametrize("finding", sorted(f.name for f in findings().values() if not f.generic))
def test_any_finding_can_be_chosen_and_denied(finding):
    phrase = parse(changed(parse("no nodule"), finding=finding))
    assert (phrase.finding, phrase.negated) == (finding, True)
