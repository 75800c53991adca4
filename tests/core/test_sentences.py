"""Reports fall into sentences where a reader would cut them."""

import pytest

from napari_ctvlp.core.sentences import sentences

REPORT = """CT CHEST
TECHNIQUE: Axial images of 1.25 mm, approx. 80 ml of contrast.
COMPARISON: CT of an earlier year. A nodule was seen there.

FINDINGS:
Lungs: There is a 1.5 x 1.2 cm nodule in the right upper lobe, image
no. 45 of series 3, which is new. No pleural effusion.
1. Dr. Smith was told, e.g. by phone.
- Heart is normal

IMPRESSION
New nodule in the right upper lobe; no effusion
"""


def test_sections_and_sentences():
    found = [(s.section, s.text) for s in sentences(REPORT)]
    assert found == [
        ("", "CT CHEST"),
        ("technique", "Axial images of 1.25 mm, approx. 80 ml of contrast."),
        ("comparison", "CT of an earlier year."),
        ("comparison", "A nodule was seen there."),
        (
            "findings",
            "Lungs: There is a 1.5 x 1.2 cm nodule in the right upper lobe, image no. 45 of "
            "series 3, which is new.",
        ),
        ("findings", "No pleural effusion."),
        ("findings", "Dr. Smith was told, e.g. by phone."),
        ("findings", "Heart is normal"),
        ("impression", "New nodule in the right upper lobe; no effusion"),
    ]


def test_each_sentence_is_found_at_its_place():
    for one in sentences(REPORT):
        assert " ".join(REPORT[one.start : one.end].split()) == one.text


@pytest.mark.parametrize("report", ["", "  \n\n", "1.\n2.\n", ".", "FINDINGS:", "...\n-\n"])
def test_what_holds_no_words_has_no_sentences(report):
    assert sentences(report) == () or all(s.text for s in sentences(report))


def test_a_long_report_is_split_too():
    assert len(sentences("No nodule of 1.5 mm is seen. " * 2000)) == 2000
