"""Linear interpolation between two axis-aligned IPL grids, one axis after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine


def linear_aligned(
    array: NDArray[np.float32], affine: Affine, shape: tuple[int, ...], target: Affine
) -> NDArray[np.float32]:
    """Resample between grids whose axes are parallel, ten times faster than in general.

    Parameters
    ----------
    array : ndarray, shape (i, p, l), float32
        Finite values.
    affine, target : ndarray, shape (4, 4)
        Index to RAS mm of source and target, both IPL.
    shape : tuple of int
        Target shape.

    Returns
    -------
    ndarray, float32
        Trilinear; beyond the outermost cell centres the array goes on as zeros.
    """
    step = np.linalg.inv(affine) @ target
    for axis, count in enumerate(shape):
        places = step[axis, axis] * np.arange(count) + step[axis, 3]
        array = _along(array, axis, places)
    return array


def _along(
    array: NDArray[np.float32], axis: int, places: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Interpolate along one axis at fractional indices."""
    lower = np.floor(places).astype(int)
    share = (places - lower).astype(np.float32)
    out = _weighted(array, axis, lower, 1 - share)
    out += _weighted(array, axis, lower + 1, share)
    return out


def _weighted(
    array: NDArray[np.float32], axis: int, rows: NDArray[np.int_], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Take rows along an axis, each times its weight; rows outside are zero."""
    inside = (rows >= 0) & (rows < array.shape[axis])
    shape = [1, 1, 1]
    shape[axis] = -1
    taken = np.take(array, np.where(inside, rows, 0), axis)
    taken *= np.where(inside, weights, np.float32(0)).reshape(shape)
    return taken
