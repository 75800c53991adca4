"""What is understood of a phrase."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.vocabulary import findings, places


def test_the_demo_phrase():
    phrase = parse("spiculated nodule in the left lower lobe")
    assert (phrase.finding, phrase.side, phrase.anatomy) == ("nodule", "left", "lung_left")
    assert phrase.location == ("lower lobe",)
    assert phrase.query == "spiculated nodule"
    assert not phrase.negated
    assert not phrase.uncertain


@pytest.mark.parametrize(
    "text",
    [
        "no nodule",
        "no lung nodule in the left lung",
        "without a nodule",
        "free of nodules",
        "no evidence of a nodule",
        "absence of a nodule",
        "nodule is absent",
        "negative for nodules",
        "nodule has been ruled out",
        "patient denies a nodule",
        "left lung without nodules",
        "nodules are not seen",
        "nodule not identified in the right lung",
        "There are no masses, nodules or effusions",
        "the lungs are clear of nodules",
        "no longer seen nodule",
        "neither nodule nor mass",
        "no nodule, no mass and no effusion",
    ],
)
def test_denials(text):
    assert parse(text).negated


@pytest.mark.parametrize(
    "text",
    [
        "nodule",
        "not without nodules",
        "not only nodules",
        "no change in the nodule",
        "no significant change in the nodule",
        "nodule but no effusion",
        "nodule without cavitation",
        "no effusion, but a nodule",
        "no effusion. Nodule in the right lung",
        "nodule cannot be excluded",
        "nodule is not absent",
        "nodules, no doubt",
        "non-calcified nodule",
        "is there any nodule?",
    ],
)
def test_assertions_that_hold_a_negation_word_or_none(text):
    phrase = parse(text)
    assert phrase.finding == "nodule"
    assert not phrase.negated


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("right-sided pleural effusion", "right"),
        ("effusion on the left", "left"),
        ("lt pneumothorax", "left"),
        ("rt upper lobe mass", "right"),
        ("R lung mass", "right"),
        ("mass, L lung", "left"),
        ("mass in the RUL", "right"),
        ("lingular consolidation", "left"),
        ("middle lobe collapse", "right"),
        ("bilateral effusions", "both"),
        ("effusion in both lungs", "both"),
        ("left and right effusion", "both"),
        ("2 L effusion", ""),
        ("left ventricle", ""),
        ("right atrium", ""),
        ("left lung free of nodules", "left"),
        ("mass in the left lung, no effusion on the right", "left"),
        ("lung mass", ""),
    ],
)
def test_sides(text, side):
    assert parse(text).side == side


@pytest.mark.parametrize(
    ("text", "finding", "anatomy"),
    [
        ("tumor in the lung", "mass", "lungs"),
        ("oesophagus", "", "oesophagus"),
        ("esophagus", "", "oesophagus"),
        ("left kidney", "", "kidney_left"),
        ("left ventricle", "", "heart"),
        ("haemothorax", "effusion", ""),
        ("GGO", "ground_glass", ""),
        ("lymph nodes of the mediastinum", "lymph_node", "mediastinum"),
        ("pericardial effusion", "pericardial_effusion", "heart"),
        ("rib fracture", "fracture", "bones"),
        ("calcified granulomas", "calcified_nodule", ""),
        ("bullae in both apices", "emphysema", ""),
        ("cyst in the right kidney", "kidney_cyst", "kidney_right"),
        ("cysts", "cyst", ""),
        ("lesion in the liver", "liver_metastasis", "liver"),
        ("effusion around the heart", "pericardial_effusion", "heart"),
        ("calculus in the gallbladder neck", "gallstone", "gallbladder"),
        ("right renal cyst", "kidney_cyst", "kidney_right"),
        ("simple cortical cyst of the left kidney", "kidney_cyst", "kidney_left"),
        ("non-obstructing left kidney stone", "kidney_stone", "kidney_left"),
        ("gallstones", "gallstone", ""),
        ("fatty liver change", "steatosis", "liver"),
        ("hypodense hepatic lesion", "liver_metastasis", "liver"),
        ("liver metastases in the right lobe of the liver", "liver_metastasis", "liver"),
        ("aneurysmal dilatation of the aorta", "aortic_aneurysm", "aorta"),
        ("aneurysm of the descending aorta", "aortic_aneurysm", "aorta"),
        ("coronary artery calcifications", "coronary_calcification", "heart"),
        ("calcified plaque of the aortic arch", "aortic_calcification", "aorta"),
        ("sliding hiatal hernia", "hiatal_hernia", ""),
        ("free fluid in the abdomen", "ascites", "abdomen"),
        ("ascites in the abdomen", "ascites", "abdomen"),
        ("splenomegaly", "splenomegaly", ""),
        ("lytic lesion in the spine", "lytic_lesion", "bones"),
        ("sclerotic lesions of the ribs", "sclerotic_lesion", "bones"),
        ("compression fracture of the lumbar spine", "vertebral_fracture", "bones"),
        ("hydronephrosis on the right", "hydronephrosis", ""),
        ("dilated bronchi in the left lower lobe", "bronchiectasis", "lung_left"),
        ("head of the pancreas", "", "pancreas"),
        ("sigmoid colon", "", "colon"),
        ("small bowel loops", "", "small_bowel"),
        ("urinary bladder", "", "bladder"),
    ],
)
def test_findings_and_places(text, finding, anatomy):
    phrase = parse(text)
    assert (phrase.finding, phrase.anatomy) == (finding, anatomy)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12 mm nodule", 12.0),
        ("2.5 x 1,8 cm mass", 25.0),
        ("mass measuring 3cm", 30.0),
        ("4 by 9 millimetres nodule", 9.0),
        ("L1 vertebra", None),
    ],
)
def test_sizes(text, size):
    assert parse(text).size_mm == size


@pytest.mark.parametrize(
    "text", ["possible nodule", "r/o nodule", "cannot exclude a nodule", "nodule is suspected"]
)
def test_doubt(text):
    phrase = parse(text)
    assert phrase.uncertain
    assert not phrase.negated
    assert phrase.query == "nodule"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("no lung mass in the left lung", "lung mass"),
        ("please show me a spiculated 25 mm nodule on the right", "spiculated nodule"),
        ("nodule but no effusion", "nodule"),
        ("CT image with GGO in the LUL", "ground glass opacity"),
        ("a red bicycle", "red bicycle"),
        ("brain tumour", "brain tumour"),
        ("left upper lobe", "upper lobe"),
    ],
)
def test_what_is_left_for_the_model(text, query):
    assert parse(text).query == query


def test_spans_point_at_the_words():
    text = "No 8 mm nodule in the left lower lobe"
    phrase = parse(text)
    found = {span.role: text[span.start : span.end] for span in phrase.spans}
    assert found == {
        "negation": "No",
        "size": "8 mm",
        "finding": "nodule",
        "side": "left",
        "location": "lower lobe",
    }
    (denial,) = (span for span in phrase.spans if span.role == "negation")
    assert denial.scope is not None
    assert text[slice(*denial.scope)] == "nodule in the left lower lobe"


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(
                [
                    "no",
                    "left",
                    "but",
                    "nodule",
                    "absent",
                    "heart",
                    "3 cm",
                    "not",
                    ".",
                    "R",
                    "ruled out",
                    "a",
                ]
            )
        ).map(" ".join),
    )
)
def test_parsing_never_fails(text):
    phrase = parse(text)
    assert phrase.text == text
    assert phrase.finding in {"", *findings()}
    assert phrase.anatomy in {"", *places()}
    assert all(0 <= span.start < span.end <= len(text) for span in phrase.spans)
    json.dumps(asdict(phrase))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("finding", sorted(f.name for f in findings().values() if not f.generic))
def test_every_word_of_every_finding_is_found_again(finding, side):
    for word in findings()[finding].words:
        phrase = parse(f"no {word} on the {side}")
        assert (phrase.finding, phrase.negated) == (finding, True), word
        assert phrase.side == side, word
