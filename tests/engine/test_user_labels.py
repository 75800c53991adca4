"""Label maps that other programs drew: the same organs, the same volumes, whatever the file."""

import json

import nibabel
import numpy as np
import pytest

from napari_ctvlp.core.anatomy import voxel_ml
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.segments import names_in_order, organ_of
from napari_ctvlp.engine.labelled import numbered, open_anatomy
from napari_ctvlp.errors import InputRefused

SEGMENTS = names_in_order("totalsegmentator")
#: Organ groups that fVLM looks at, and the numbers TotalSegmentator 2 gives to their parts.
GROUPS = {
    ("lung_left", "lung_right"): (10, 11, 12, 13, 14),
    ("heart",): (51, 61),
    ("oesophagus",): (15,),
    ("aorta",): (52,),
}
TABLE = "<CaretExtension><LabelTable>{}</LabelTable></CaretExtension>"
ROW = '<Label Key="{}" Red="1" Green="0" Blue="0" Alpha="1"><![CDATA[{}]]></Label>\n'


@pytest.fixture(scope="module")
def chest():
    return phantom((30, 32, 36), (8.0, 9.0, 9.5))


@pytest.fixture(scope="module")
def drawn(chest):
    """Every one of the 117 labels, each in a block of its own size."""
    labels = np.zeros(chest.shape, np.uint8)
    for number in range(1, 118):
        plane, row = divmod(number - 1, 5)
        labels[plane + 2, 6 * row : 6 * row + 5, 2 : 4 + number % 30] = number
    return labels


def stored(labels, scan, path, names=None):
    """Write labels with their axes turned, as another program may; names in the header."""
    image = nibabel.Nifti1Image(labels, scan.affine)
    codes = nibabel.orientations.axcodes2ornt("PRS")
    held = nibabel.orientations.io_orientation(scan.affine)
    image = image.as_reoriented(nibabel.orientations.ornt_transform(held, codes))
    if names:
        rows = "".join(ROW.format(*row) for row in enumerate(names, start=1))
        text = TABLE.format(rows).encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, text))
    image.to_filename(path)
    return path


def expect_same(anatomy, drawn):
    """Compare every organ and every group with a count of the labels themselves."""
    ml = voxel_ml(anatomy)
    expected = {}
    for number, name in enumerate(SEGMENTS, start=1):
        count = int((drawn == number).sum())
        expected[organ_of(name)] = expected.get(organ_of(name), 0) + count * ml
    assert {organ.name: organ.ml for organ in anatomy.organs} == pytest.approx(expected, rel=1e-3)
    for names, numbers in GROUPS.items():
        assert np.array_equal(anatomy.mask(names), np.isin(drawn, numbers))


def test_a_multilabel_file_that_names_its_labels(chest, drawn, tmp_path):
    path = stored(drawn, chest, tmp_path / "ts.nii.gz", SEGMENTS)
    expect_same(open_anatomy(path, chest), drawn)


def test_a_multilabel_file_that_only_numbers_them(chest, drawn, tmp_path):
    path = stored(drawn, chest, tmp_path / "ts.nii.gz")
    expect_same(open_anatomy(path, chest, names=numbered("totalsegmentator")), drawn)


def test_a_folder_of_masks(chest, drawn, tmp_path):
    for number, name in enumerate(SEGMENTS, start=1):
        mask = (drawn == number).astype(np.uint8)
        stored(mask, chest, tmp_path / f"{name}.nii.gz")
    stored(np.zeros_like(drawn), chest, tmp_path / "lung_nodules.nii.gz")
    expect_same(open_anatomy(tmp_path, chest), drawn)


def test_a_file_with_a_table_of_the_users(chest, drawn, tmp_path):
    path = stored(np.minimum(drawn, 3), chest, tmp_path / "mine.nii")
    (tmp_path / "mine.json").write_text(json.dumps({1: "Milz", 2: "Kidney Rt", 3: "PTV"}))
    anatomy = open_anatomy(path, chest, names={"Milz": "spleen"})
    counts = {organ.name: int(anatomy.mask(organ.name).sum()) for organ in anatomy.organs}
    assert counts == {
        "spleen": (drawn == 1).sum(),
        "kidney_right": (drawn == 2).sum(),
        "ptv": (drawn > 2).sum(),
    }


def test_a_folder_that_holds_an_image_is_refused(chest, drawn, tmp_path):
    stored(drawn, chest, tmp_path / "ct.nii.gz")
    with pytest.raises(InputRefused, match=r"ct\.nii\.gz"):
        open_anatomy(tmp_path, chest)
