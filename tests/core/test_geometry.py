"""Affines, orders, flips and grids: every voxel stays at its own world point."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ctvlp.core import geometry as geo
from napari_ctvlp.errors import InputRefused

CODES = [
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product((0, 1), repeat=3)
]
SHAPE, STEPS = (5, 7, 9), (2.5, 0.7, 1.3)
#: A right-handed rotation by about 20 degrees around no patient axis.
TURN = np.array([[0.9363, -0.2896, 0.1987], [0.3129, 0.9447, -0.0978], [-0.1593, 0.1538, 0.9752]])


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def tilted(
    code: str,
    shape: tuple[int, ...],
    steps: tuple[float, ...],
    centre: tuple[float, ...] = (0, 0, 0),
) -> np.ndarray:
    turn, triangle = np.linalg.qr(TURN)
    affine = geo.oriented_affine(code, shape, steps)
    affine[:3] = turn * np.sign(np.diag(triangle)) @ affine[:3]
    affine[:3, 3] += centre
    return affine


@pytest.mark.parametrize("code", CODES)
def test_to_ipl_keeps_world_points_and_shares_memory(code: str) -> None:
    affine = geo.oriented_affine(code, SHAPE, STEPS, (11.0, -23.0, 37.0))
    source = numbered(SHAPE)
    view, ipl = geo.to_ipl(source, affine)
    assert geo.orientation(affine) == code
    assert geo.orientation(ipl) == "IPL"
    assert np.shares_memory(view, source)
    for index in ((0, 0, 0), (1, 2, 1), tuple(n - 1 for n in view.shape)):
        there = np.rint(geo.voxel_of(affine, geo.transform(ipl, index))).astype(int)
        assert source[tuple(there)] == view[index]
    assert np.array_equal(geo.from_ipl(view, affine), source)


@pytest.mark.parametrize("code", CODES)
def test_oblique_to_ipl_keeps_world_points(code: str) -> None:
    affine = tilted(code, SHAPE, STEPS)
    source = numbered(SHAPE)
    view, ipl = geo.to_ipl(source, affine)
    assert np.diag(ipl[:3, [2, 1, 0]]).max() < 0
    index = (1, 2, 3)
    there = geo.voxel_of(affine, geo.transform(ipl, index))
    assert np.allclose(there, np.rint(there), atol=1e-9)
    assert source[tuple(np.rint(there).astype(int))] == view[index]
    assert np.array_equal(geo.from_ipl(view, affine), source)
    assert geo.needs_resampling(affine)


def test_screen_and_patient_coordinates() -> None:
    ras = np.array([[-10.0, 20.0, 30.0]])
    assert geo.ras_to_screen(ras).tolist() == [[-30.0, -20.0, 10.0]]
    assert np.array_equal(geo.screen_to_ras(geo.ras_to_screen(ras)), ras)
    assert geo.ras_to_lps(ras).tolist() == [[10.0, -20.0, 30.0]]


def test_layer_placement_goes_both_ways() -> None:
    affine = geo.oriented_affine("IPL", SHAPE, STEPS, (3.0, 4.0, 5.0))
    scale, translate = geo.ipl_layer_placement(affine)
    assert np.allclose(scale, STEPS)
    assert np.allclose(geo.ipl_affine(scale, translate), affine)
    index = np.array([1.0, 2.0, 3.0])
    assert np.allclose(translate + scale * index, geo.ras_to_screen(geo.transform(affine, index)))


@pytest.mark.parametrize("affine", ["LPS", "tilted"])
def test_token_centres_are_block_centres(affine: str) -> None:
    shape, steps = (12, 8, 10), (0.7, 0.7, 2.5)
    grid = (
        geo.oriented_affine("LPS", shape, steps) if affine == "LPS" else tilted("LPS", shape, steps)
    )
    factor = (3, 4, 2)
    tokens = geo.coarse_affine(grid, factor)
    for cell in ((0, 0, 0), (2, 1, 3)):
        voxels = np.array(
            list(
                itertools.product(
                    *(range(c * f, (c + 1) * f) for c, f in zip(cell, factor, strict=True))
                )
            )
        )
        assert np.allclose(geo.transform(tokens, cell), geo.transform(grid, voxels).mean(axis=0))


@pytest.mark.parametrize("code", ["IPL", "RAS", "SLA"])
def test_resampling_a_ramp_is_exact_inside(code: str) -> None:
    shape = (14, 12, 16)
    affine = geo.oriented_affine(code, shape, (2.0, 3.0, 1.5), (5.0, 6.0, 7.0))
    world = geo.transform(affine, np.moveaxis(np.indices(shape), 0, -1))
    ramp = (world @ np.array([1.0, -2.0, 0.5])).astype(np.float32)
    target = tilted("IPL", (5, 4, 6), (1.7, 1.1, 1.3), (5.0, 6.0, 7.0))
    out = geo.resample(ramp, affine, (5, 4, 6), target, fill=np.nan)
    points = geo.transform(target, np.moveaxis(np.indices((5, 4, 6)), 0, -1))
    assert np.allclose(out, points @ np.array([1.0, -2.0, 0.5]), atol=1e-3)


def test_resampling_outside_fills() -> None:
    affine = geo.oriented_affine("IPL", SHAPE, STEPS)
    away = geo.oriented_affine("IPL", SHAPE, STEPS, (500.0, 0.0, 0.0))
    out = geo.resample(np.ones(SHAPE, np.int16), affine, SHAPE, away, order=0, fill=-1000)
    assert (out == -1000).all()


@pytest.mark.parametrize("code", CODES[::5])
def test_bounding_grid_holds_every_corner(code: str) -> None:
    affine = tilted(code, SHAPE, STEPS)
    shape, grid = geo.bounding_ipl_grid(SHAPE, affine)
    assert geo.orientation(grid) == "IPL"
    assert not geo.needs_resampling(grid)
    corners = np.array(list(itertools.product(*((0, n - 1) for n in SHAPE))))
    inside = geo.voxel_of(grid, geo.transform(affine, corners))
    assert inside.min() > -1e-6
    assert (inside <= np.array(shape) - 1 + 1).all()


def test_small_rotation_is_snapped_and_large_is_not() -> None:
    for degrees, resampled in ((0.3, False), (0.7, True)):
        angle = np.radians(degrees)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        affine = turn @ geo.oriented_affine("IPL", SHAPE, STEPS)
        assert geo.needs_resampling(affine) is resampled
        assert geo.obliquity_degrees(affine) == pytest.approx(degrees, abs=1e-6)
    assert geo.obliquity_degrees(geo.snapped(affine)) == pytest.approx(0, abs=1e-6)


def test_shear_is_seen() -> None:
    affine = geo.oriented_affine("IPL", SHAPE, STEPS)
    affine[1, 0] = np.tan(np.radians(15)) * affine[2, 0]
    assert geo.shear_degrees(affine) == pytest.approx(15, abs=0.1)


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.eye(3), np.diag([1, 1, np.nan, 1]), np.diag([1, 1, np.inf, 1])]
)
def test_useless_affines_are_refused_in_words(affine: np.ndarray) -> None:
    with pytest.raises(InputRefused) as refusal:
        geo.checked_affine(affine)
    assert refusal.value.advice


@settings(deadline=None)
@given(
    st.sampled_from(CODES),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.tuples(*[st.floats(0.3, 9.0)] * 3),
    st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_any_grid_goes_to_ipl_and_back(
    code: str, shape: tuple[int, int, int], steps: tuple[float, ...], centre: tuple[float, ...]
) -> None:
    affine = geo.oriented_affine(code, shape, steps, centre)
    view, ipl = geo.to_ipl(numbered(shape), affine)
    assert np.allclose(np.sort(geo.spacing(ipl)), np.sort(steps))
    assert np.allclose(geo.transform(ipl, (np.array(view.shape) - 1) / 2), centre)
    assert np.array_equal(geo.from_ipl(view, affine), numbered(shape))


@pytest.mark.parametrize("code", ["SPL", "RAS", "PIR", "SLP"])
def test_an_ipl_array_is_viewed_in_any_order(code: str):
    affine = geo.oriented_affine("IPL", (4, 5, 6), (2.0, 3.0, 4.0), (7.0, -8.0, 9.0))
    array = numbered((4, 5, 6))
    view, matrix = geo.in_order(array, affine, code)
    assert geo.orientation(matrix) == code
    back, ipl = geo.to_ipl(view, matrix)
    assert np.array_equal(back, array)
    assert np.allclose(ipl, affine)
