"""The classical segmenter on phantoms, on the sample CT and on parts of them."""

import functools
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from napari_ctvlp.core import phantom as chest
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import (
    bounding_ipl_grid,
    from_ipl,
    oriented_affine,
    resample,
    to_ipl,
    transform,
    voxel_of,
)
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.errors import InputRefused, JobCancelled
from napari_ctvlp.models.segmenters.classical import ORGANS, ClassicalSegmenter

#: A grid on which the whole thing takes a fraction of a second.
SMALL, STEPS = (52, 46, 62), (6.0, 6.2, 5.8)
CODES = [
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for signs in product((0, 1), repeat=3)
]


def as_scan(hu: np.ndarray, affine: np.ndarray, unit: str = "HU") -> Scan:
    view, ipl = to_ipl(hu, affine)
    return Scan(view, ipl, Source((), hu.shape, affine), ScanMeta("CT", "test", unit))


def cut(scan: Scan, *box: slice) -> Scan:
    affine = scan.affine.copy()
    affine[:3, 3] = transform(affine, [edge.start or 0 for edge in box])
    return Scan(scan.hu[box], affine, scan.source, scan.meta)


def segment(scan: Scan) -> AnatomyMap:
    return ClassicalSegmenter().segment(scan)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def at(anatomy: AnatomyMap, ras: tuple[float, float, float]) -> str:
    label = anatomy.labels[tuple(np.rint(voxel_of(anatomy.affine, ras)).astype(int))]
    return dict(ORGANS).get(int(label), "")


@functools.cache
def default() -> tuple[Scan, AnatomyMap]:
    scan = chest.phantom()
    return scan, segment(scan)


@pytest.mark.parametrize(
    ("ras", "organ"),
    [
        ((-74.0, 0.0, 60.0), "lung_left"),
        ((74.0, 0.0, 60.0), "lung_right"),
        ((2.0, -14.0, 100.0), "airways"),
        ((0.0, -70.0, 20.0), "bones"),
        ((0.0, 97.0, 20.0), "bones"),
        ((0.0, 116.0, 20.0), "fat"),
        ((143.0, 0.0, 14.0), "muscle"),
        ((-30.0, 25.0, -50.0), "soft_tissue"),
        ((60.0, 5.0, -110.0), "soft_tissue"),
        ((0.0, -134.0, 0.0), ""),
        ((0.0, 138.0, 0.0), ""),
    ],
)
def test_phantom_organs(ras: tuple[float, float, float], organ: str) -> None:
    assert at(default()[1], ras) == organ


def test_phantom_lungs_match_what_was_painted() -> None:
    scan, anatomy = default()
    across = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1))[..., 0]
    lung = np.abs(scan.hu - chest.LUNG) < 80
    assert dice(anatomy.mask("lung_left"), lung & (across < 0)) > 0.96
    assert dice(anatomy.mask("lung_right"), lung & (across > 0)) > 0.96
    nodule = chest.Blob(0, chest.NODULE_RAS, (10.0,) * 3)
    points = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1)).astype(np.float32)
    inside = nodule.holds((points[..., 0], points[..., 1], points[..., 2]))
    assert anatomy.mask("lung_left")[inside].mean() > 0.9


def test_table_tells_volumes_hu_and_what_is_cut() -> None:
    scan, anatomy = default()
    assert [(organ.id, organ.name) for organ in anatomy.organs] == list(ORGANS)
    for organ in anatomy.organs:
        mask = anatomy.labels == organ.id
        assert organ.ml == pytest.approx(mask.sum() * scan.voxel_ml)
        assert organ.mean_hu == pytest.approx(scan.hu[mask].mean())
    assert anatomy.by_name["lung_left"].complete
    assert not anatomy.by_name["bones"].complete
    assert anatomy.digest == scan.digest
    assert anatomy.reliability


def test_same_scan_same_labels() -> None:
    scan = chest.phantom(SMALL, STEPS)
    assert np.array_equal(segment(scan).labels, segment(scan).labels)


def test_all_48_orders_and_flips_give_the_same_world_masks() -> None:
    letters = {letter: axis for axis, pair in enumerate(("IS", "PA", "LR")) for letter in pair}
    expected = segment(chest.phantom(SMALL, STEPS))
    assert expected.has("lung_left")
    assert expected.has("lung_right")
    for code in CODES:
        axes = [letters[letter] for letter in code]
        shape = (SMALL[axes[0]], SMALL[axes[1]], SMALL[axes[2]])
        affine = oriented_affine(code, shape, [STEPS[axis] for axis in axes])
        scan = as_scan(chest.chest_hu(shape, affine), affine)
        anatomy = segment(scan)
        assert np.allclose(anatomy.affine, expected.affine)
        assert np.array_equal(anatomy.labels, expected.labels), code
        stored = from_ipl(anatomy.labels, affine)
        where = np.argwhere(stored == anatomy.by_name["lung_left"].id)
        assert transform(affine, where)[:, 0].mean() < -50, code


def test_oblique_scan_lands_within_a_voxel() -> None:
    turn = np.eye(4)
    angle = np.radians(12)
    turn[:3, :3] = [
        [np.cos(angle), -np.sin(angle), 0],
        [np.sin(angle), np.cos(angle), 0],
        [0, 0, 1],
    ]
    shape = (78, 70, 84)
    affine = turn @ oriented_affine("RAS", shape, (4.6, 4.2, 4.0))
    grid, ipl = bounding_ipl_grid(shape, affine)
    hu = resample(chest.chest_hu(shape, affine), affine, grid, ipl, fill=-1000)
    anatomy = segment(as_scan(hu, ipl))
    straight = segment(chest.phantom((84, 70, 78), (4.0, 4.2, 4.6)))
    for name in ("lung_left", "lung_right"):
        places = [
            transform(one.affine, np.argwhere(one.mask(name))).mean(axis=0)
            for one in (anatomy, straight)
        ]
        assert np.abs(places[0] - places[1]).max() < 4.2, name


@pytest.mark.parametrize("start", [30, 45, 60])
def test_slab_of_twelve_slices(start: int) -> None:
    scan, whole = default()
    box = (slice(start, start + 12), slice(None), slice(None))
    anatomy = segment(cut(scan, *box))
    for name in ("lung_left", "lung_right"):
        assert dice(anatomy.mask(name), whole.mask(name)[box]) > 0.95
        assert not anatomy.by_name[name].complete


def test_lungs_cut_by_the_field_of_view() -> None:
    scan, whole = default()
    box = (slice(20, 80), slice(20, 66), slice(26, 98))
    anatomy = segment(cut(scan, *box))
    for name in ("lung_left", "lung_right"):
        assert dice(anatomy.mask(name), whole.mask(name)[box]) > 0.93
        assert not anatomy.by_name[name].complete


def test_lungs_cut_by_a_round_field_of_view() -> None:
    scan, whole = default()
    points = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1))
    seen = np.hypot(points[..., 0] - 10, points[..., 1]) < 95
    anatomy = segment(as_scan(np.where(seen, scan.hu, -1024).astype(np.int16), scan.affine))
    for name in ("lung_left", "lung_right"):
        assert dice(anatomy.mask(name), whole.mask(name) & seen) > 0.93


@pytest.mark.parametrize(("side", "other"), [("left", "right"), ("right", "left")])
def test_one_lung_missing(side: str, other: str) -> None:
    scan, whole = default()
    hu = scan.hu.copy()
    hu[whole.mask(f"lung_{side}")] = 30
    anatomy = segment(as_scan(hu, scan.affine))
    assert not anatomy.has(f"lung_{side}")
    assert dice(anatomy.mask(f"lung_{other}"), whole.mask(f"lung_{other}")) > 0.97
    assert f"Only the {other} lung" in anatomy.reliability


@pytest.mark.parametrize(("half", "side"), [(slice(64, None), "left"), (slice(0, 60), "right")])
def test_half_a_chest_keeps_its_side(half: slice, side: str) -> None:
    scan, whole = default()
    box = (slice(None), slice(None), half)
    anatomy = segment(cut(scan, *box))
    other = {"left": "right", "right": "left"}[side]
    assert dice(anatomy.mask(f"lung_{side}"), whole.mask(f"lung_{side}")[box]) > 0.95
    assert anatomy.by_name[f"lung_{other}"].ml < 30


def test_belly_without_lungs() -> None:
    scan, whole = default()
    low = int(np.flatnonzero(whole.mask(("lung_left", "lung_right")).any(axis=(1, 2)))[-1]) + 2
    anatomy = segment(cut(scan, slice(low, None), slice(None), slice(None)))
    assert not anatomy.has("lung_left")
    assert not anatomy.has("lung_right")
    assert not anatomy.has("airways")
    assert anatomy.has("fat")
    assert "No lung" in anatomy.reliability


def test_contrast_in_the_heart_is_not_bone() -> None:
    scan, _ = default()
    points = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1)).astype(np.float32)
    heart = chest.Blob(0, (-22, 25, -45), (46, 36, 42)).holds(
        (points[..., 0], points[..., 1], points[..., 2])
    )
    hu = scan.hu.copy()
    hu[heart] += 280
    anatomy = segment(as_scan(hu, scan.affine))
    assert anatomy.mask("bones")[heart].mean() < 0.01
    assert at(anatomy, (0.0, -70.0, -45.0)) == "bones"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (2, 3, 4), (5, 5, 5)])
@pytest.mark.parametrize("hu", [-1000, -840, 0, 900])
def test_tiny_volumes_do_not_crash(shape: tuple[int, int, int], hu: int) -> None:
    affine = oriented_affine("IPL", shape, (2.5, 0.7, 0.7))
    anatomy = segment(as_scan(np.full(shape, hu, np.int16), affine))
    assert anatomy.labels.shape == shape


def test_air_gives_an_empty_table_with_words() -> None:
    affine = oriented_affine("IPL", (20, 30, 40), (2.5, 1.3, 1.3))
    anatomy = segment(as_scan(np.full((20, 30, 40), -1000, np.int16), affine))
    assert not anatomy.labels.any()
    assert not any(anatomy.has(name) for _, name in ORGANS)
    assert "everything is air" in anatomy.reliability


def test_coarse_and_float_and_padded_scans() -> None:
    scan = chest.phantom((32, 29, 38), (10.0, 10.0, 10.0))
    hu = scan.hu.astype(np.float32)
    hu[:, :3] = np.nan
    hu[:, :, :3] = -3024
    anatomy = segment(as_scan(hu, scan.affine))
    assert anatomy.by_name["lung_left"].ml == pytest.approx(2230, rel=0.15)
    assert anatomy.by_name["lung_right"].ml == pytest.approx(2310, rel=0.15)


@pytest.mark.parametrize("unit", ["stored", "label", "arbitrary"])
def test_numbers_that_are_not_hu_are_refused_in_words(unit: str) -> None:
    scan = as_scan(np.zeros((4, 4, 4), np.int16), np.eye(4), unit)
    with pytest.raises(InputRefused) as refusal:
        segment(scan)
    assert refusal.value.code == "not-hu"
    assert unit in refusal.value.found


def test_progress_rises_and_can_stop_the_job() -> None:
    scan = chest.phantom(SMALL, STEPS)
    seen: list[float] = []
    ClassicalSegmenter().segment(scan, progress=lambda share, stage: seen.append(share))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 10

    def stop(share: float, stage: str) -> None:
        if share > 0.3:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        ClassicalSegmenter().segment(scan, progress=stop)


@pytest.mark.shared
def test_sample_ct_agrees_with_its_organ_labels(shared: Path) -> None:
    import nibabel

    folder = shared / "data" / "train" / "lidc" / "LIDC-IDRI-0001"
    image, organs = (nibabel.load(folder / name) for name in ("ct.nii.gz", "organs.nii.gz"))
    anatomy = segment(as_scan(np.asanyarray(image.dataobj), image.affine))
    truth, _ = to_ipl(np.asanyarray(organs.dataobj), organs.affine)
    assert dice(anatomy.mask("lung_left"), np.isin(truth, (10, 11))) > 0.97
    assert dice(anatomy.mask("lung_right"), np.isin(truth, (12, 13, 14))) > 0.97
    assert dice(anatomy.mask("airways"), truth == 16) > 0.65
    skeleton = np.isin(truth, [*range(25, 51), *range(69, 79), *range(91, 117)])
    assert dice(anatomy.mask("bones"), skeleton) > 0.65
    assert np.isin(truth[anatomy.mask("bones")], (51, 52)).mean() < 0.02


def test_sample_ct_lungs_are_whole_and_on_their_sides(sample: Path) -> None:
    import nibabel

    image = nibabel.load(sample)
    anatomy = segment(as_scan(np.asanyarray(image.dataobj), image.affine))
    left, right = (anatomy.by_name[name] for name in ("lung_left", "lung_right"))
    assert left.complete
    assert right.complete
    assert 1500 < left.ml < 2000
    assert 1700 < right.ml < 2300
    places = [
        transform(anatomy.affine, np.argwhere(anatomy.mask(name)))[:, 0].mean()
        for name in ("lung_left", "lung_right")
    ]
    assert places[0] < places[1]
