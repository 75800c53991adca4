"""Every segment name of TotalSegmentator is an organ of the house, or stays what it is."""

import re

import numpy as np
import pytest

from napari_ctvlp.core.naming import organ_named
from napari_ctvlp.core.segments import merged, names_in_order, organ_of
from napari_ctvlp.core.vocabulary import places

#: What a reader would say; the first pattern that fits a name decides.
EXPECTED = [
    (r"kidney(_cyst)?_(left|right)", r"kidney_\2"),
    (r"adrenal_gland_(left|right)", r"adrenal_\1"),
    (r"lung_(upper|middle|lower)_lobe_(left|right)", r"lung_\2"),
    (r"(vertebrae_[CTLS]\d+|sacrum)", "vertebrae"),
    (r"rib_(left|right)_\d+", "ribs"),
    (r"(humerus|scapula|clavicula|femur|hip)_(left|right)|skull", "bones"),
    (r"(gluteus_\w+|autochthon|iliopsoas)_(left|right)", "muscle"),
    (r"heart\w*|atrial_appendage_left", "heart"),
    (r"esophagus", "oesophagus"),
    (r"trachea", "airways"),
    (r"thyroid_gland", "thyroid"),
    (r"small_bowel|duodenum", "small_bowel"),
    (r"urinary_bladder", "bladder"),
    (r"(superior|inferior)_vena_cava", r"vena_cava_\1"),
    (r"(\w+)", r"\1"),
]
KEPT = {
    "prostate", "brain", "face", "costal_cartilages", "pulmonary_vein",
    "portal_vein_and_splenic_vein", "brachiocephalic_trunk", "brachiocephalic_vein_left",
    "brachiocephalic_vein_right", "subclavian_artery_left", "subclavian_artery_right",
    "common_carotid_artery_left", "common_carotid_artery_right", "iliac_artery_left",
    "iliac_artery_right", "iliac_vena_left", "iliac_vena_right",
}  # fmt: skip


def said(name):
    pattern, organ = next(row for row in EXPECTED if re.fullmatch(row[0], name))
    return re.fullmatch(pattern, name).expand(organ)


def test_the_tables_are_whole():
    assert len(set(names_in_order("totalsegmentator"))) == 117
    assert len(set(names_in_order("wholebody"))) == 104
    second = names_in_order("totalsegmentator")
    assert [second[n - 1] for n in (1, 10, 15, 51, 52, 61, 117)] == [
        "spleen", "lung_upper_lobe_left", "esophagus", "heart", "aorta", "atrial_appendage_left",
        "costal_cartilages",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", sorted({*names_in_order("totalsegmentator"), *names_in_order("wholebody")})
)
def test_each_name_is_the_organ_a_reader_would_say(name):
    organ = organ_of(name)
    assert organ == said(name) == organ_named(name)
    assert organ in places() or organ in KEPT
    for side in ("left", "right"):
        if organ.endswith(f"_{side}"):
            assert side in name


@pytest.mark.shared
def test_the_numbers_are_those_of_the_shared_table(shared):
    import json

    rows = json.loads((shared / "data" / "label_names.json").read_text())["totalsegmentator_v2"]
    ours = names_in_order("totalsegmentator")
    assert {int(number): name for number, name in rows.items()} == dict(enumerate(ours, start=1))


def test_segments_are_merged_into_organs():
    names = ["lung_upper_lobe_left", "liver", "lung_lower_lobe_left"]
    labels, rows = merged(np.array([[0, 1], [2, 3]]), names)
    assert labels.tolist() == [[0, 1], [2, 1]]
    assert rows == [(1, "lung_left"), (2, "liver")]
    assert organ_of("something else") == ""


@pytest.mark.parametrize(
    ("program", "groups"),
    [
        ("totalsegmentator", {"lungs": range(10, 15), "heart": (51, 61), "aorta": (52,)}),
        ("wholebody", {"lungs": range(13, 18), "heart": range(44, 49), "aorta": (7,)}),
    ],
)
def test_the_organs_that_fvlm_looks_at_are_whole(program, groups):
    names = names_in_order(program)
    labels, rows = merged(np.arange(len(names) + 1), names)
    number = {organ: number for number, organ in rows}
    lungs = [number["lung_left"], number["lung_right"]]
    gullet = names.index("esophagus") + 1
    for ids, parts in (
        (lungs, groups["lungs"]),
        ([number["heart"]], groups["heart"]),
        ([number["aorta"]], groups["aorta"]),
        ([number["oesophagus"]], [gullet]),
    ):
        assert np.flatnonzero(np.isin(labels, ids)).tolist() == list(parts)
