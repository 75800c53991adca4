"""Convex hulls of masks, slice by slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

Mask = NDArray[np.bool_]
#: A lung with less than this share of both counts as missing.
MISSING = 0.12


def convex_slices(mask: Mask) -> Mask:
    """Fill the convex hull of each slice along axis 0.

    Parameters
    ----------
    mask : ndarray of bool, shape (i, p, l)

    Returns
    -------
    ndarray of bool, shape (i, p, l)
        Every voxel whose centre lies in the hull of the voxel centres of its slice; a slice
        with fewer than three corners stays as it is.
    """
    out = np.zeros_like(mask)
    for plane, filled in zip(mask, out, strict=True):
        filled[...] = _convex(plane)
    return out


def both_sides(left: Mask, right: Mask, midline: float | NDArray[np.float64]) -> Mask:
    """Return the union of both lungs; a missing one is replaced by the other's mirror image.

    Parameters
    ----------
    left, right : ndarray of bool, shape (i, p, l)
    midline : float or ndarray, shape (i,)
        Index along L, for all slices or for each.
    """
    both = left | right
    if min(left.sum(), right.sum()) >= MISSING * both.sum():
        return both
    across = np.arange(both.shape[2])
    for plane, middle in zip(both, np.broadcast_to(midline, len(both)), strict=True):
        source = np.rint(2 * middle - across).astype(int)
        seen = (source >= 0) & (source < across.size)
        plane[:, seen] |= plane[:, source[seen]]
    return both


def _convex(plane: Mask) -> Mask:
    points = _row_ends(plane)
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError):
        return plane
    out = np.zeros_like(plane)
    low, high = points.min(axis=0), points.max(axis=0) + 1
    cells = np.mgrid[low[0] : high[0], low[1] : high[1]]
    sides = np.tensordot(hull.equations[:, :2], cells, axes=1) + hull.equations[:, 2, None, None]
    out[low[0] : high[0], low[1] : high[1]] = (sides <= 1e-6).all(axis=0)
    return out


def _row_ends(plane: Mask) -> NDArray[np.int64]:
    """First and last true cell of each row, shape (n, 2): the hull's only possible corners."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
    return np.unique(
        np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)]), axis=0
    ).astype(np.int64)
