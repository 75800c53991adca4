"""The phantom holds at each world point what it promises, on whatever grid."""

import itertools

import numpy as np
import pytest

from napari_ctvlp.core import phantom as chest
from napari_ctvlp.core.geometry import oriented_affine, to_ipl, voxel_of

SHAPE, STEPS = (52, 46, 62), (6.0, 6.2, 5.8)
CODES = [
    "".join(letters[sign] for letters, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product((0, 1), repeat=3)
]


def at(hu: np.ndarray, affine: np.ndarray, ras: tuple[float, float, float]) -> float:
    return float(hu[tuple(np.rint(voxel_of(affine, ras)).astype(int))])


def test_edge_lengths_differ() -> None:
    scan = chest.phantom()
    lengths = scan.spacing * scan.shape
    assert len(set(scan.shape)) == 3
    assert min(abs(a - b) for a, b in itertools.combinations(lengths, 2)) > 10


@pytest.mark.parametrize(
    ("ras", "hu"),
    [
        (chest.NODULE_RAS, chest.NODULE_HU),
        (chest.MARKER_RAS, chest.MARKER_HU),
        ((60.0, 5.0, -100.0), chest.LIVER),
        ((-66.0, 35.0, -136.0), chest.GAS),
        ((-60.0, 36.0, -66.0), chest.BLOOD),
        ((60.0, 36.0, -30.0), chest.LUNG),
        ((0.0, -70.0, 0.0), chest.BONE),
        ((0.0, 135.0, 0.0), chest.AIR),
    ],
)
def test_organs_stand_on_the_patients_own_sides(ras: tuple[float, float, float], hu: int) -> None:
    scan = chest.phantom(noise_hu=0)
    assert at(scan.hu, scan.affine, ras) == hu


def test_marker_is_off_every_centre() -> None:
    scan = chest.phantom(noise_hu=0)
    middle = (np.array(scan.shape) - 1) / 2
    away = np.abs(voxel_of(scan.affine, chest.MARKER_RAS) - middle)
    assert away.min() > 8
    marked = np.argwhere(scan.hu == chest.MARKER_HU)
    assert np.allclose(marked.mean(axis=0), voxel_of(scan.affine, chest.MARKER_RAS), atol=0.6)


def test_all_48_orders_and_flips_hold_the_same_chest() -> None:
    assert len(set(CODES)) == 48
    letters = {letter: axis for axis, pair in enumerate(("IS", "PA", "LR")) for letter in pair}
    reference = None
    for code in CODES:
        shape = tuple(SHAPE[letters[letter]] for letter in code)
        steps = [STEPS[letters[letter]] for letter in code]
        affine = oriented_affine(code, shape, steps)
        hu = chest.chest_hu(shape, affine)
        assert hu.shape == shape
        view, _ = to_ipl(hu, affine)
        reference = view if reference is None else reference
        assert np.array_equal(view, reference)


def test_an_oblique_grid_holds_the_same_world() -> None:
    turn = np.eye(4)
    turn[:3, :3] = [[0.9363, -0.2896, 0.1987], [0.3129, 0.9447, -0.0978], [-0.1593, 0.1538, 0.9752]]
    affine = turn @ oriented_affine("LPS", (124, 88, 104), (3.0, 3.2, 3.0))
    hu = chest.chest_hu((124, 88, 104), affine, noise_hu=0)
    assert at(hu, affine, chest.NODULE_RAS) == chest.NODULE_HU
    assert at(hu, affine, chest.MARKER_RAS) == chest.MARKER_HU


def test_seed_decides_the_noise() -> None:
    small = {"shape": (20, 22, 24), "spacing": (12.0, 12.0, 12.0)}
    first, again, other = (chest.phantom(seed=seed, **small).hu for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
