"""The catalogue of findings as data, and a user's own file beside it."""

import pytest

from napari_ctvlp.core import vocabulary
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.vocabulary import catalogues, findings, places, seen_codes, shipped, table
from napari_ctvlp.core.vocabulary.own import read, snomed_ok
from napari_ctvlp.errors import InputRefused

OWN = """
[[finding]]
name = "septic_emboli"
organs = ["lung_left", "lung_right"]
words = ["septic emboli", "septic embolus"]
concept = "cavity"

[[finding]]
name = "nodule"
words = ["nummular focus"]
snomed = "427359005"
"""


@pytest.fixture
def own():
    yield lambda text: vocabulary.use(read(text))
    vocabulary.use({})


def test_every_finding_has_synonyms_and_both_prompts():
    for finding in findings().values():
        assert finding.words
        assert finding.present
        assert finding.absent
        assert set(finding.organs) <= set(places())
        assert set(finding.narrower) <= set(findings())


def test_published_catalogues_are_whole_as_far_as_they_are_known():
    chest, abdomen = catalogues()["ct_rate"], catalogues()["fvlm"]
    assert (len(chest.findings), chest.how) == (18, "certain")
    assert (len(abdomen.anatomies), abdomen.counted) == (15, 54)
    assert (len(abdomen.findings), abdomen.how) == (48, "reconstructed")
    for catalogue in (chest, abdomen):
        assert set(catalogue.findings.values()) <= set(shipped())
        assert {o for organs in catalogue.anatomies.values() for o in organs} <= set(places())


def test_codes_say_whether_they_were_seen_or_remembered():
    codes = table("codes")
    assert not set(codes["snomed"]["seen"]) & set(codes["snomed"]["memory"])
    for part in codes["snomed"].values():
        assert set(part) <= {*findings(), *places()}
        assert all(snomed_ok(code) for code in part.values())
    assert findings()["effusion"].snomed in seen_codes()
    assert places()["lung_left"].snomed not in seen_codes()
    assert findings()["pneumoperitoneum"].snomed == ""
    assert not snomed_ok("427359006")


def test_own_words_are_understood_at_once_and_gone_again(own):
    assert parse("septic emboli in the left lung").finding == "embolism"
    own(OWN)
    assert parse("no septic emboli in the left lung").finding == "septic_emboli"
    assert parse("nummular focus").finding == "nodule"
    assert findings()["septic_emboli"].absent == ("no septic emboli",)
    assert "spiculated nodule" in findings()["nodule"].words
    own("")
    assert parse("nummular focus").finding == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[finding]\n", "no TOML"),
        ("[organ]\n", "[organ]"),
        ('[[finding]]\nname = "A b"\n', "Finding 1"),
        ('[[finding]]\nname = "mine"\norgans = ["liver"]\n', "no words"),
        ('[[finding]]\nname = "nodule"\nword = ["x"]\n', "'word'"),
        ('[[finding]]\nname = "nodule"\nwords = "x"\n', "a list of texts"),
        ('[[finding]]\nname = "nodule"\norgans = ["left lung"]\n', "'left lung'"),
        ('[[finding]]\nname = "nodule"\npresent = []\n', "'present' is empty"),
        ('[[finding]]\nname = "nodule"\ntitle = " "\n', "'title' is empty"),
        ('[[finding]]\nname = "nodule"\nconcept = "heart"\n', "'heart'"),
        ('[[finding]]\nname = "nodule"\nsnomed = "427359006"\n', "'427359006'"),
        ('[[finding]]\nname = "nodule"\nnarrower = ["nothing"]\n', "'nothing'"),
        ('[[finding]]\nname = "nodule"\nwords = ["cavity"]\n', "already means cavity"),
        ('[[finding]]\nname = "nodule"\n[[finding]]\nname = "nodule"\n', "twice"),
    ],
)
def test_a_file_that_cannot_be_right_changes_nothing(own, text, told):
    own(OWN)
    with pytest.raises(InputRefused) as caught:
        own(text)
    assert caught.value.code == "bad-vocabulary"
    assert told in caught.value.found
    assert parse("nummular focus").finding == "nodule"
