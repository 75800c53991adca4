"""Affines, orientation codes, resampling and token grids: the only place that flips an axis.

Every affine maps array indices to RAS millimetres in float64. Arrays inside ``core`` run
(inferior, posterior, left), in short *IPL*. On the screen napari's world is (I, P, L)
millimetres, which is minus RAS with the axes reversed.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_ctvlp.errors import InputRefused

Affine = NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

#: Positive and negative letter of each RAS axis.
LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
#: RAS row that each IPL axis follows, in IPL order; every one of them runs downward in RAS.
IPL_ROWS = (2, 1, 0)
#: Rotations under this angle are snapped to the nearest axis for display.
SNAP_DEGREES = 0.5


def checked_affine(affine: ArrayLike) -> Affine:
    """Return ``affine`` as a finite, invertible float64 4x4 matrix.

    Parameters
    ----------
    affine : array_like, shape (4, 4)
        Index to RAS mm.

    Raises
    ------
    InputRefused
        If the shape is wrong, a number is not finite or the matrix is singular.
    """
    matrix = np.array(affine, dtype=np.float64)
    good = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all())
    if not good or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InputRefused(
            "singular-affine",
            "an invertible, finite 4x4 index-to-RAS matrix in mm.",
            f"The affine is {matrix.tolist()}.",
            "Write the image again with a valid orientation and spacing.",
        )
    return matrix


def spacing(affine: Affine) -> NDArray[np.float64]:
    """Return the length in mm of one step along each array axis, shape (3,)."""
    return np.asarray(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)), dtype=np.float64)


def orientation(affine: Affine) -> str:
    """Return three letters: the patient direction each array axis grows toward, as ``"LPS"``."""
    codes = [""] * 3
    for axis, row in enumerate(_axis_rows(affine)):
        codes[axis] = LETTERS[row][0 if affine[row, axis] > 0 else 1]
    return "".join(codes)


def obliquity_degrees(affine: Affine) -> float:
    """Return the largest angle in degrees between an array axis and its nearest patient axis."""
    steps = spacing(affine)
    cosines = [abs(affine[row, axis]) / steps[axis] for axis, row in enumerate(_axis_rows(affine))]
    return float(np.degrees(np.arccos(np.clip(min(cosines), -1.0, 1.0))))


def shear_degrees(affine: Affine) -> float:
    """Return by how many degrees the array axes miss being at right angles to one another."""
    unit = affine[:3, :3] / spacing(affine)
    cosines = [abs(float(unit[:, a] @ unit[:, b])) for a, b in ((0, 1), (0, 2), (1, 2))]
    return float(np.degrees(np.arcsin(np.clip(max(cosines), -1.0, 1.0))))


def needs_resampling(affine: Affine) -> bool:
    """Return True when the grid is oblique or sheared by more than ``SNAP_DEGREES``."""
    return obliquity_degrees(affine) > SNAP_DEGREES or shear_degrees(affine) > SNAP_DEGREES


def transform(affine: Affine, points: ArrayLike) -> NDArray[np.float64]:
    """Apply ``affine`` to points, shape (..., 3) to (..., 3)."""
    array = np.asarray(points, dtype=np.float64)
    return np.asarray(array @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


def voxel_of(affine: Affine, points_ras: ArrayLike) -> NDArray[np.float64]:
    """Return fractional array indices of RAS points in mm, shape (..., 3)."""
    inverse: Affine = np.asarray(np.linalg.inv(affine), dtype=np.float64)
    return transform(inverse, points_ras)


def ras_to_screen(points_ras: ArrayLike) -> NDArray[np.float64]:
    """Convert RAS mm to napari world (I, P, L) mm, shape (..., 3)."""
    return -np.asarray(points_ras, dtype=np.float64)[..., ::-1]


def screen_to_ras(points_ipl: ArrayLike) -> NDArray[np.float64]:
    """Convert napari world (I, P, L) mm to RAS mm, shape (..., 3)."""
    return -np.asarray(points_ipl, dtype=np.float64)[..., ::-1]


def ras_to_lps(points_ras: ArrayLike) -> NDArray[np.float64]:
    """Convert RAS mm to LPS mm (DICOM patient coordinates) or back, shape (..., 3)."""
    return np.asarray(np.asarray(points_ras) * np.array([-1.0, -1.0, 1.0]), dtype=np.float64)


def lps_affine_to_ras(affine_lps: ArrayLike) -> Affine:
    """Turn an index-to-LPS matrix (DICOM, ITK) into index-to-RAS."""
    matrix = np.array(affine_lps, dtype=np.float64)
    matrix[:2] *= -1
    return matrix


def to_ipl(array: NDArray[Scalar], affine: Affine) -> tuple[NDArray[Scalar], Affine]:
    """View a volume with axes running inferior, posterior, left; voxels are not copied.

    Parameters
    ----------
    array : ndarray, shape (a, b, c) or (a, b, c, channels)
        Any order of its first three axes.
    affine : ndarray, shape (4, 4)
        Its index-to-RAS matrix in mm.

    Returns
    -------
    tuple
        The view, shape (i, p, l) or (i, p, l, channels), and its own index-to-RAS matrix. Strides
        may be negative.
    """
    order, flips = _to_ipl_plan(affine)
    view = array.transpose([*order, *range(3, array.ndim)])
    matrix = affine[:, [*order, 3]].copy()
    for axis in flips:
        view = np.flip(view, axis)
        matrix[:3, 3] += matrix[:3, axis] * (view.shape[axis] - 1)
        matrix[:3, axis] *= -1
    return view, matrix


def from_ipl(array: NDArray[Scalar], source_affine: Affine) -> NDArray[Scalar]:
    """Undo :func:`to_ipl`: view an IPL array in the axis order of ``source_affine``."""
    order, flips = _to_ipl_plan(source_affine)
    return np.flip(array, flips).transpose(np.argsort(order))


def in_order(array: NDArray[Scalar], affine: Affine, code: str) -> tuple[NDArray[Scalar], Affine]:
    """View an IPL array with its axes in another order and direction; voxels are not copied.

    Parameters
    ----------
    array : ndarray, shape (i, p, l)
    affine : ndarray, shape (4, 4)
        Its index-to-RAS matrix in mm, axis-aligned.
    code : str
        Three letters, the patient direction each axis is to grow toward, such as ``"SPL"``.

    Returns
    -------
    tuple
        The view and its own index-to-RAS matrix.
    """
    plan = oriented_affine(code, array.shape, np.ones(3))
    view = from_ipl(array, plan)
    steps = spacing(affine)[[IPL_ROWS.index(row) for row in _axis_rows(plan)]]
    middle = transform(affine, (np.array(array.shape) - 1) / 2)
    return view, oriented_affine(code, view.shape, steps, middle)


def ipl_layer_placement(affine: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return napari ``scale`` and ``translate`` in mm of an axis-aligned IPL grid."""
    return spacing(affine), ras_to_screen(affine[:3, 3])


def ipl_affine(scale: ArrayLike, translate: ArrayLike) -> Affine:
    """Return index-to-RAS of an IPL grid from napari ``scale`` and ``translate`` in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = -np.diag(np.asarray(scale, dtype=np.float64))[::-1]
    matrix[:3, 3] = screen_to_ras(translate)
    return matrix


def oriented_affine(
    code: str, shape: tuple[int, ...], steps: ArrayLike, centre: ArrayLike = (0.0, 0.0, 0.0)
) -> Affine:
    """Return the affine of a grid with given axis letters around a world point.

    Parameters
    ----------
    code : str
        Three letters, the patient direction each axis grows toward, such as ``"IPL"``.
    shape : tuple of int
    steps : array_like, shape (3,)
        Voxel size in mm along each axis.
    centre : array_like, shape (3,)
        RAS mm of the grid's centre.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for axis, (letter, step) in enumerate(zip(code, np.asarray(steps, float), strict=True)):
        row = next(row for row, letters in enumerate(LETTERS) if letter in letters)
        matrix[row, axis] = step if letter == LETTERS[row][0] else -step
    middle = (np.asarray(shape, dtype=np.float64) - 1) / 2
    matrix[:3, 3] = np.asarray(centre, dtype=np.float64) - matrix[:3, :3] @ middle
    return checked_affine(matrix)


def snapped(affine: Affine) -> Affine:
    """Return an IPL affine without its sub-``SNAP_DEGREES`` rotation, same first voxel."""
    return ipl_affine(spacing(affine), ras_to_screen(affine[:3, 3]))


def coarse_affine(affine: Affine, factor: ArrayLike) -> Affine:
    """Return the affine of a grid whose cells are blocks of ``factor`` voxels.

    The centre of cell 0 is the centre of its block, half a block minus half a voxel further
    than the centre of voxel 0.
    """
    steps = np.broadcast_to(np.asarray(factor, dtype=np.float64), (3,))
    matrix = affine.copy()
    matrix[:3, 3] = transform(affine, (steps - 1) / 2)
    matrix[:3, :3] = affine[:3, :3] * steps
    return matrix


def bounding_ipl_grid(
    shape: tuple[int, ...], affine: Affine, step_mm: ArrayLike | None = None
) -> tuple[tuple[int, int, int], Affine]:
    """Return shape and affine of an axis-aligned IPL grid that covers an oblique one.

    Parameters
    ----------
    shape, affine
        The oblique grid.
    step_mm : array_like, shape (3,), optional
        Spacing (I, P, L); by default the smallest spacing among the source's axes that
        contribute to each direction.
    """
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T
    world = ras_to_screen(transform(affine, corners))
    low, high = world.min(axis=0), world.max(axis=0)
    view_step = spacing(affine)[list(_to_ipl_plan(affine)[0])]
    step = np.asarray(view_step if step_mm is None else step_mm, dtype=np.float64)
    count = np.minimum(np.ceil((high - low) / step - 1e-6), 1e9) + 1
    return (int(count[0]), int(count[1]), int(count[2])), ipl_affine(step, low)


def resample(
    array: NDArray[Scalar],
    affine: Affine,
    shape: tuple[int, ...],
    target: Affine,
    *,
    order: int = 1,
    fill: float = 0.0,
) -> NDArray[Scalar]:
    """Resample a volume onto another grid.

    Parameters
    ----------
    array : ndarray, shape (a, b, c)
        Source values; NaN spreads to what it touches.
    affine, target : ndarray, shape (4, 4)
        Index-to-RAS of source and target.
    shape : tuple of int
        Target shape.
    order : int
        0 nearest, 1 linear.
    fill : float
        Value outside the source.
    """
    step = np.linalg.inv(affine) @ target
    out = np.empty(shape, dtype=array.dtype)
    values: NDArray[Any] = array
    ndimage.affine_transform(
        values,
        step[:3, :3],
        step[:3, 3],
        shape,
        output=out,
        order=1 if order else 0,
        mode="grid-constant",
        cval=fill,
        prefilter=False,
    )
    return out


def _axis_rows(affine: Affine) -> tuple[int, ...]:
    """RAS row that each array axis follows most closely, each row once."""
    unit = np.abs(affine[:3, :3]) / spacing(affine)
    return max(permutations(range(3)), key=lambda rows: sum(unit[r, a] for a, r in enumerate(rows)))


def _to_ipl_plan(affine: Affine) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Transposition to (I, P, L) and the axes to flip after it."""
    rows = _axis_rows(affine)
    first, second, third = (rows.index(row) for row in IPL_ROWS)
    order = (first, second, third)
    flips = tuple(n for n in range(3) if affine[IPL_ROWS[n], order[n]] > 0)
    return order, flips
