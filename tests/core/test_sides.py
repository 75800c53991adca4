"""Left and right from the body: phantom and sample CT, and their mirror images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.sides import SideClue, check_sides
from napari_ctvlp.engine.opening import open_scan


def lungs_of(scan):
    """Air inside the body in pieces of more than 0.3 litres, as one label for both lungs."""
    body = np.array([ndimage.binary_fill_holes(plane > -500) for plane in scan.hu])
    pieces, count = ndimage.label(body & (scan.hu < -500))
    volumes = np.bincount(pieces.ravel(), minlength=count + 1) * scan.voxel_ml
    volumes[0] = 0
    lungs = (volumes > 300)[pieces].astype(np.uint8)
    return anatomy_from_labels(lungs, scan, [(1, "lung_left")], source="test")


def mirrored(scan):
    """The same voxels under a header that has left and right swapped."""
    return replace(scan, hu=np.ascontiguousarray(scan.hu[:, :, ::-1]))


@pytest.fixture(scope="module", params=["phantom", "sample"])
def body(request, sample):
    return phantom() if request.param == "phantom" else open_scan(sample)


def test_a_right_header_is_agreed_with(body):
    check = check_sides(body, lungs_of(body))
    assert check.verdict == "agrees", check.words
    assert {clue.organ for clue in check.clues} == {"heart", "aorta", "liver", "stomach gas"}


def test_a_mirrored_header_is_objected_to_in_words(body):
    wrong = mirrored(body)
    before = wrong.hu.copy()
    check = check_sides(wrong, lungs_of(wrong))
    assert check.verdict == "objects", check.words
    assert "situs inversus" in check.words
    assert "Nothing was corrected" in check.words
    assert np.array_equal(wrong.hu, before)


def test_without_a_chest_nothing_is_said_of_sides(body):
    empty = replace(body, hu=np.full(body.shape, 40, np.int16))
    assert check_sides(empty, lungs_of(body)).verdict == "cannot tell"
    cut = replace(body, meta=replace(body.meta, unit="stored"))
    assert check_sides(cut, lungs_of(body)).verdict == "cannot tell"


def test_a_clue_near_the_midline_has_no_vote():
    assert SideClue("liver", "right", -9.0, 8.0).vote == 1
    assert SideClue("liver", "right", 9.0, 8.0).vote == -1
    assert SideClue("heart", "left", 3.0, 4.0).vote == 0
