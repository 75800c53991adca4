"""Distances and regions against figures worked out by hand."""

import numpy as np
import pytest

from napari_ctvlp.core.geometry import oriented_affine
from napari_ctvlp.core.measure import auto_window, distance_mm, hu_histogram, region_stats
from napari_ctvlp.core.scan import Scan, Source

SHAPE, STEPS = (10, 40, 50), (3.0, 0.5, 0.8)


@pytest.fixture(scope="module")
def ramp():
    """A scan whose HU is its column number, 100 higher on slice 4."""
    hu = np.broadcast_to(np.arange(50, dtype=np.int16), SHAPE).copy()
    hu[4] += 100
    affine = oriented_affine("IPL", SHAPE, STEPS)
    return Scan(hu, affine, Source((), SHAPE, affine))


def test_a_distance_follows_the_voxel_size_along_each_axis(ramp):
    assert distance_mm([(0, 0, 0), (1, 0, 0)], ramp.affine) == pytest.approx(3.0)
    assert distance_mm([(0, 0, 0), (0, 4, 0), (0, 4, 5)], ramp.affine) == pytest.approx(6.0)
    assert distance_mm([(2, 0, 0), (2, 6, 5)], ramp.affine) == pytest.approx(5.0)


def test_a_rectangle_on_an_axial_slice(ramp):
    box = [(4, 9.5, 19.5), (4, 9.5, 29.5), (4, 14.5, 29.5), (4, 14.5, 19.5)]
    found = region_stats(ramp, box)
    assert found.voxels == 50
    assert found.area_mm2 == pytest.approx(50 * 0.5 * 0.8)
    assert found.mean == pytest.approx(124.5)
    assert found.sd == pytest.approx(np.arange(10).std())
    assert (found.low, found.high) == (120, 129)


def test_a_polygon_on_a_coronal_slice_reads_that_slice(ramp):
    triangle = [(2.0, 7, 10.0), (2.0, 7, 20.0), (7.0, 7, 10.0)]
    found = region_stats(ramp, triangle)
    assert found.area_mm2 == pytest.approx(25 * 3.0 * 0.8)
    assert found.high > 100, "slice 4 lies in it"


def test_an_ellipse_may_be_turned(ramp):
    turn = np.deg2rad(30)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    middle = np.array([20.0, 25.0])
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    corners = [middle + 8 * a * along + 5 * b * across for a, b in signs]
    found = region_stats(ramp, [(0, *corner) for corner in corners], ellipse=True)
    assert found.area_mm2 == pytest.approx(np.pi * 8 * 5 * 0.4)
    assert found.voxels == pytest.approx(np.pi * 40, rel=0.03)
    assert found.mean == pytest.approx(25, abs=0.3)


def test_what_lies_in_no_slice_is_not_measured(ramp):
    assert region_stats(ramp, [(0, 0, 0), (5, 9, 0), (9, 9, 9)]) is None
    assert region_stats(ramp, [(30, 0, 0), (30, 9, 0), (30, 9, 9)]) is None
    outside = region_stats(ramp, [(3, 60, 0), (3, 70, 0), (3, 70, 9)])
    assert outside.voxels == 0
    assert np.isnan(outside.mean)


def test_windows_look_at_tissue_and_not_at_air(ramp):
    hu = np.full((20, 20, 20), -1000, np.int16)
    hu[5:15, 5:15, 5:15] = np.arange(10) * 10
    scan = Scan(hu, np.diag([1.0, 1, 1, 1]), ramp.source)
    low, high = auto_window(scan)
    assert 0 <= low < 20
    assert high == pytest.approx(90, abs=1)
    assert hu_histogram(scan, -1000, 1000).sum() == 1000
