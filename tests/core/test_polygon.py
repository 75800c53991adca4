"""Polygons on a grid, and names of segments."""

import numpy as np
import pytest

from napari_ctvlp.core.naming import organ_named
from napari_ctvlp.core.polygon import fill_polygon


def test_a_square_holds_the_centres_inside_it():
    filled = fill_polygon(np.array([(0.5, 1.5), (0.5, 4.5), (3.5, 4.5), (3.5, 1.5)]), (6, 7))
    wanted = np.zeros((6, 7), bool)
    wanted[1:4, 2:5] = True
    assert np.array_equal(filled, wanted)


def test_neighbours_share_no_pixel_and_leave_none_out():
    left = fill_polygon(np.array([(0, 0), (0, 3), (5, 3), (5, 0)], float), (5, 6))
    right = fill_polygon(np.array([(0, 3), (0, 6), (5, 6), (5, 3)], float), (5, 6))
    assert not (left & right).any()
    assert (left | right).all()


def test_a_circle_has_its_area_and_may_leave_the_grid():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.stack([20 + 15 * np.sin(angle), 20 + 15 * np.cos(angle)], axis=1)
    assert fill_polygon(circle, (40, 40)).sum() == pytest.approx(np.pi * 15**2, rel=0.02)
    half = fill_polygon(circle - [20, 0], (40, 40))
    assert half.sum() == pytest.approx(np.pi * 15**2 / 2, rel=0.1)
    assert not fill_polygon(circle + 100, (40, 40)).any()


@pytest.mark.parametrize(
    ("label", "organ"),
    [
        ("Lung_L", "lung_left"),
        ("Left lung", "lung_left"),
        ("LungRight", "lung_right"),
        ("LIVER", "liver"),
        ("kidney_right", "kidney_right"),
        ("Rt Kidney", "kidney_right"),
        ("Trachea", "airways"),
        ("Left femur", "left_femur"),
        ("GTV-1", "gtv_1"),
        ("", "unnamed"),
    ],
)
def test_segments_are_named_as_the_house_names_organs(label, organ):
    assert organ_named(label) == organ


def test_a_known_code_decides_over_the_label():
    assert organ_named("something", ["1", "10200004"]) == "liver"
