"""Distances, regions and histograms of a scan, in millimetres and HU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ctvlp.core.geometry import Affine, spacing, transform
from napari_ctvlp.core.scan import AIR_HU, Scan

#: Shares of the body's voxels that an automatic window leaves below and above it.
AUTO_SHARES = (0.02, 0.995)
#: Histograms and automatic windows look at about so many voxels of a scan.
_LOOKED_AT = 400_000
Inside = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class RegionStats:
    """What lies inside a flat region drawn on one slice.

    Attributes
    ----------
    voxels : int
        Voxels whose centre lies inside; the figures in HU are NaN when there is none.
    mean, sd, low, high : float
        HU; ``sd`` is that of the voxels themselves (divided by their number).
    area_mm2 : float
        Area of the drawn outline.
    """

    voxels: int
    mean: float
    sd: float
    low: float
    high: float
    area_mm2: float


def distance_mm(points: ArrayLike, affine: Affine) -> float:
    """Return the length of a path through voxel positions.

    Parameters
    ----------
    points : array_like, shape (n, 3)
        Array indices (i, p, l), fractions allowed.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    """
    places = transform(affine, points)
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())


def region_stats(scan: Scan, outline: ArrayLike, *, ellipse: bool = False) -> RegionStats | None:
    """Measure a polygon or an ellipse on one axial, coronal or sagittal slice.

    Parameters
    ----------
    scan : Scan
    outline : array_like, shape (n, 3)
        Array indices (i, p, l) of the corners; for an ellipse those of its bounding box.
    ellipse : bool

    Returns
    -------
    RegionStats or None
        None when the outline does not lie in one slice of the scan.
    """
    corners = np.asarray(outline, dtype=np.float64)
    axis = int(np.argmin(np.ptp(corners, axis=0)))
    number = round(float(corners[0, axis]))
    if np.ptp(corners[:, axis]) > 0.5 or not 0 <= number < scan.shape[axis]:
        return None
    flat = np.delete(corners, axis, axis=1)
    step = np.delete(spacing(scan.affine), axis)
    inside, area = _ellipse(flat) if ellipse else _polygon(flat)
    values = _values(np.take(scan.hu, number, axis=axis), flat, inside)
    figures = (float("nan"),) * 4
    if len(values):
        numbers = values.astype(np.float64)
        figures = (numbers.mean(), numbers.std(), numbers.min(), numbers.max())
    mean, sd, low, high = (float(figure) for figure in figures)
    return RegionStats(len(values), mean, sd, low, high, float(area * step.prod()))


def hu_histogram(scan: Scan, low: float, high: float, bins: int = 128) -> NDArray[np.int64]:
    """Count a sample of a scan's voxels per HU bin, air outside the body left out.

    Returns
    -------
    ndarray, shape (bins,)
    """
    counts, _ = np.histogram(_sample(scan), bins=bins, range=(low, high))
    return counts.astype(np.int64)


def auto_window(scan: Scan) -> tuple[float, float]:
    """Return the HU between which nearly all of what is not air lies."""
    seen = _sample(scan)
    if not len(seen):
        return float(AIR_HU), float(AIR_HU) + 1
    low, high = np.quantile(seen, AUTO_SHARES)
    return float(low), float(max(high, low + 1))


def _sample(scan: Scan) -> NDArray[np.float32]:
    """Take every n-th voxel that is not air outside the body."""
    step = max(1, round((scan.hu.size / _LOOKED_AT) ** (1 / 3)))
    seen = scan.hu[::step, ::step, ::step].ravel().astype(np.float32)
    return seen[(seen > AIR_HU + 50) & np.isfinite(seen)]


def _values(
    plane: NDArray[np.generic], flat: NDArray[np.float64], inside: Inside
) -> NDArray[np.generic]:
    """Take the voxels of a slice whose centres lie inside an outline."""
    first = np.maximum(0, np.floor(flat.min(axis=0))).astype(int)
    last = np.minimum(plane.shape, np.ceil(flat.max(axis=0)) + 1).astype(int)
    rows, columns = np.meshgrid(
        np.arange(first[0], last[0]), np.arange(first[1], last[1]), indexing="ij"
    )
    within = inside(rows.astype(np.float64), columns.astype(np.float64))
    return np.asarray(plane[rows[within], columns[within]])


def _ellipse(box: NDArray[np.float64]) -> tuple[Inside, float]:
    """Build the test of an ellipse from the four corners of its (perhaps turned) box."""
    middle = box.mean(axis=0)
    axes = np.stack([box[1] - box[0], box[2] - box[1]], axis=1) / 2
    area = float(np.pi * abs(np.linalg.det(axes)))
    inverse = np.linalg.pinv(axes)

    def inside(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.bool_]:
        local = np.stack([rows - middle[0], columns - middle[1]], axis=-1) @ inverse.T
        return np.asarray((local**2).sum(axis=-1) <= 1)

    return inside, area


def _polygon(corners: NDArray[np.float64]) -> tuple[Inside, float]:
    """Build the even-odd test of a polygon."""
    after = np.roll(corners, -1, axis=0)
    area = abs(float((corners[:, 0] * after[:, 1] - corners[:, 1] * after[:, 0]).sum())) / 2

    def inside(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.bool_]:
        odd = np.zeros(rows.shape, dtype=bool)
        for (r0, c0), (r1, c1) in zip(corners, after, strict=True):
            if r0 == r1:
                continue
            crossing = (rows < r0) != (rows < r1)
            odd ^= crossing & (columns < c0 + (rows - r0) * (c1 - c0) / (r1 - r0))
        return odd

    return inside, area
