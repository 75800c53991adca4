"""Pieces of a mask with their sizes: what rises above a threshold, told apart and measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from napari_ctvlp.core.geometry import Affine, spacing, transform

Mask = NDArray[np.bool_]
#: Corners of a piece that its length is measured between, at most.
_MOST = 3000


@dataclass(frozen=True)
class Component:
    """One connected piece (26 neighbours) of a mask.

    Attributes
    ----------
    id : int
        Value in the label array, from 1 on; the highest peak comes first.
    ml : float
    mm : float
        Largest distance between its outermost voxel centres, plus one voxel.
    peak : float
        Highest value of the map inside.
    peak_ras, centre_ras : (R, A, S) in mm
    mean_hu : float
        NaN without a scan.
    """

    id: int
    ml: float
    mm: float
    peak: float
    peak_ras: tuple[float, float, float]
    centre_ras: tuple[float, float, float]
    mean_hu: float


@dataclass(frozen=True)
class Cut:
    """What of a phrase's map reaches a level: a mask in numbered pieces.

    Attributes
    ----------
    labels : ndarray, shape (i, p, l), uint16
        On the scan's grid; 0 is outside.
    pieces : tuple of Component
    level : float
        In the heatmap's own unit.
    """

    labels: NDArray[np.uint16]
    pieces: tuple[Component, ...]
    level: float


def components(
    mask: Mask,
    values: NDArray[np.float32],
    affine: Affine,
    hu: NDArray[np.generic] | None = None,
    least_ml: float = 0.0,
) -> tuple[NDArray[np.uint16], tuple[Component, ...]]:
    """Label the pieces of a mask and measure each.

    Parameters
    ----------
    mask : ndarray of bool, shape (i, p, l)
    values : ndarray, same shape
        The map; NaN counts as lowest.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    hu : ndarray, same shape, optional
    least_ml : float
        Smaller pieces are dropped.

    Returns
    -------
    labels : ndarray, shape (i, p, l), uint16
    pieces : tuple of Component
    """
    raw, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    voxel_ml = float(spacing(affine).prod()) / 1000
    seen = np.where(np.isfinite(values), values, -np.inf)
    found = []
    for number, box in enumerate(ndimage.find_objects(raw), 1):
        inside = raw[box] == number
        if inside.sum() * voxel_ml >= least_ml:
            found.append((float(seen[box][inside].max()), number, box))
    labels = np.zeros(mask.shape, np.uint16)
    pieces = []
    for rank, (peak, number, box) in enumerate(sorted(found, key=lambda row: -row[0]), 1):
        inside = raw[box] == number
        labels[box][inside] = rank
        pieces.append(_measured(rank, peak, inside, box, seen, affine, voxel_ml, hu))
    return labels, tuple(pieces)


def _measured(
    rank: int,
    peak: float,
    inside: Mask,
    box: tuple[slice, ...],
    seen: NDArray[np.float32],
    affine: Affine,
    voxel_ml: float,
    hu: NDArray[np.generic] | None,
) -> Component:
    first = np.array([part.start for part in box])
    cells = np.argwhere(inside) + first
    best = cells[int(np.argmax(seen[tuple(cells.T)]))]
    points = transform(affine, cells)
    mean = float("nan") if hu is None else float(hu[tuple(cells.T)].mean(dtype=np.float64))
    return Component(
        rank, len(cells) * voxel_ml, _length(points, spacing(affine)), peak,
        _triple(transform(affine, best)), _triple(points.mean(axis=0)), mean,
    )  # fmt: skip


def _length(points: NDArray[np.float64], step: NDArray[np.float64]) -> float:
    """Return the largest distance between points, plus the mean edge of a voxel."""
    corners = points
    if len(points) > 4:
        try:
            corners = points[ConvexHull(points).vertices]
        except QhullError:  # all in one plane
            corners = points
    corners = corners[:: max(1, len(corners) // _MOST)]
    return (float(pdist(corners).max()) if len(corners) > 1 else 0.0) + float(step.mean())


def _triple(point: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z
