"""Polygons on a grid: which pixel centres lie inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fill_polygon(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside a closed polygon (even-odd rule).

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Corners in pixel units (row, column); pixel centres are whole numbers. The last corner
        is joined to the first.
    shape : (rows, columns)

    Returns
    -------
    ndarray, shape (rows, columns), bool
        A centre on the lower edge counts as inside, one on the upper edge does not, so that
        polygons that share an edge share no pixel.
    """
    start, stop = points, np.roll(points, -1, axis=0)
    low = np.clip(np.ceil(np.minimum(start[:, 0], stop[:, 0])), 0, shape[0]).astype(int)
    high = np.clip(np.ceil(np.maximum(start[:, 0], stop[:, 0])), 0, shape[0]).astype(int)
    counts = high - low
    edge = np.repeat(np.arange(len(points)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + low[edge]
    slope = (stop[edge, 1] - start[edge, 1]) / (stop[edge, 0] - start[edge, 0])
    crossing = start[edge, 1] + (rows - start[edge, 0]) * slope
    first = np.clip(np.ceil(crossing), 0, shape[1]).astype(int)
    toggles = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    np.add.at(toggles, (rows, first), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1)
