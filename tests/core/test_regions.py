"""Thorax, mediastinum and sides: where they lie, on any grid, on parts of a chest."""

import functools
import pickle

import numpy as np
import pytest

from napari_ctvlp.core import phantom as chest
from napari_ctvlp.core import regions as reg
from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import ipl_affine, ras_to_screen, transform, voxel_of
from napari_ctvlp.core.hull import convex_slices
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import CtvlpError

NAMES = ((1, "soft_tissue"), (2, "lung_left"), (3, "lung_right"), (4, "airways"), (5, "bones"))


def labelled(scan: Scan) -> AnatomyMap:
    """Labels by HU and side alone: what a perfect segmenter would say of the phantom."""
    points = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1))
    across = points[..., 0]
    labels = ((scan.hu > -500) & (points[..., 1] > -128)).astype(np.uint8)
    labels[(scan.hu > -900) & (scan.hu < -780) & (across < 0)] = 2
    labels[(scan.hu > -900) & (scan.hu < -780) & (across > 0)] = 3
    labels[(scan.hu > 350) & (scan.hu < 500)] = 5
    return anatomy_from_labels(labels, scan, NAMES, source="test")


@functools.cache
def whole() -> AnatomyMap:
    return labelled(chest.phantom(noise_hu=0))


def without(anatomy: AnatomyMap, *ids: int) -> AnatomyMap:
    labels = np.where(np.isin(anatomy.labels, ids), 1, anatomy.labels)
    return AnatomyMap(labels, anatomy.affine, anatomy.organs, "test")


def holds(mask: np.ndarray, affine: np.ndarray, ras: tuple[float, float, float]) -> bool:
    return bool(mask[tuple(np.rint(voxel_of(affine, ras)).astype(int))])


@pytest.mark.parametrize(
    ("ras", "thorax", "mediastinum"),
    [
        ((-74.0, 0.0, 40.0), True, False),
        (chest.NODULE_RAS, True, False),
        ((-10.0, 20.0, -40.0), True, True),
        ((0.0, 110.0, 20.0), False, False),
        ((140.0, 0.0, 20.0), False, False),
        ((60.0, 5.0, -150.0), False, False),
    ],
)
def test_thorax_and_mediastinum(
    ras: tuple[float, float, float], thorax: bool, mediastinum: bool
) -> None:
    grid = reg.regions(whole()).affine
    assert holds(reg.thorax(whole()), grid, ras) is thorax
    assert holds(reg.mediastinum(whole()), grid, ras) is mediastinum


def test_sampling_on_other_grids_keeps_world_points() -> None:
    anatomy = whole()
    tokens = ipl_affine((4.0, 4.0, 4.0), ras_to_screen((170.0, 130.0, 150.0)))
    shape = (76, 66, 86)
    for name in ("thorax", "mediastinum", "body", "lungs", "lung_left"):
        fine = reg.region(anatomy, name, anatomy.labels.shape, anatomy.affine)
        coarse = reg.region(anatomy, name, shape, tokens)
        places = [
            transform(affine, np.argwhere(mask)).mean(axis=0)
            for mask, affine in ((fine, anatomy.affine), (coarse, tokens))
        ]
        assert np.abs(places[0] - places[1]).max() < 2.0, name


def test_grids_beyond_the_scan_are_empty_there() -> None:
    far = ipl_affine((4.0, 4.0, 4.0), ras_to_screen((900.0, 900.0, 900.0)))
    for name in ("thorax", "body", "lung_right"):
        assert not reg.region(whole(), name, (9, 9, 9), far).any()


def test_organ_on_its_own_grid_is_itself() -> None:
    anatomy = whole()
    for name in ("lung_left", "bones"):
        mask = reg.region(anatomy, name, anatomy.labels.shape, anatomy.affine)
        assert np.array_equal(mask, anatomy.mask(name))


def test_unknown_region_is_refused_in_words() -> None:
    with pytest.raises(CtvlpError) as refusal:
        reg.region(whole(), "spleen")
    assert "spleen" in refusal.value.found
    assert "lung_left" in refusal.value.expected


def test_worked_out_once() -> None:
    assert reg.regions(whole()) is reg.regions(whole())
    assert np.array_equal(reg.thorax(pickle.loads(pickle.dumps(whole()))), reg.thorax(whole()))


@pytest.mark.parametrize("missing", [(), (2,), (3,), (5,), (5, 2), (2, 3), (2, 3, 5)])
def test_sides_whatever_is_missing(missing: tuple[int, ...]) -> None:
    anatomy = without(whole(), *missing)
    mm = reg.side_mm(anatomy, [(-60.0, 0.0, 20.0), (60.0, 0.0, 20.0), (0.0, 0.0, -100.0)])
    assert mm == pytest.approx([60, -60, 0], abs=9)
    field = reg.side_of(anatomy, anatomy.labels.shape, anatomy.affine)
    assert field.dtype == np.float32
    there = tuple(np.rint(voxel_of(anatomy.affine, (-60.0, 0.0, 20.0))).astype(int))
    assert field[there] == pytest.approx(mm[0], abs=2)


def test_a_leaning_spine_is_followed() -> None:
    labels = np.ones((60, 40, 80), np.uint8)
    for level in range(60):
        middle = 30 + level // 3
        labels[level, 20:34, middle - 4 : middle + 5] = 5
    scan = chest.phantom((60, 40, 80), (4.0, 4.0, 4.0))
    anatomy = anatomy_from_labels(labels, scan, NAMES, source="test")
    middles = reg.regions(anatomy).midline
    assert middles[5] == pytest.approx(reg.regions(anatomy).across[32], abs=8)
    assert middles[-6] == pytest.approx(reg.regions(anatomy).across[48], abs=8)


@pytest.mark.parametrize("missing", [2, 3])
def test_thorax_reaches_over_to_a_missing_lung(missing: int) -> None:
    mask = reg.thorax(without(whole(), missing))
    mirrored = reg.thorax(whole())
    assert 2 * (mask & mirrored).sum() / (mask.sum() + mirrored.sum()) > 0.93


def test_no_lungs_no_thorax() -> None:
    anatomy = without(whole(), 2, 3)
    assert not reg.thorax(anatomy).any()
    assert not reg.mediastinum(anatomy).any()
    assert reg.region(anatomy, "body").any()


@pytest.mark.parametrize("box", [(slice(40, 52),), (slice(0, 1),), (slice(50, 52), slice(20, 23))])
def test_parts_of_a_chest(box: tuple[slice, ...]) -> None:
    full = (*box, slice(None), slice(None), slice(None))[:3]
    affine = whole().affine.copy()
    affine[:3, 3] = transform(affine, [edge.start or 0 for edge in full])
    part = AnatomyMap(whole().labels[full], affine, whole().organs, "test")
    field = reg.side_of(part)
    assert np.isfinite(field).all()
    assert reg.thorax(part).shape == field.shape


def test_hull_of_two_blocks_is_what_lies_between() -> None:
    mask = np.zeros((2, 6, 9), bool)
    mask[0, 1:4, [1, 7]] = True
    hull = convex_slices(mask)
    assert hull[0, 1:4, 1:8].all()
    assert hull.sum() == 21
    assert not hull[1].any()


def test_hull_of_a_line_stays_a_line() -> None:
    mask = np.zeros((1, 5, 5), bool)
    mask[0, 2, 1:4] = True
    assert np.array_equal(convex_slices(mask), mask)
