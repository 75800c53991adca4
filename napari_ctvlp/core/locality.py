"""Are neighbours still neighbours after projection: similarity inside one image's tokens.

After ELVIS (Seo et al. 2023): projecting features beside text may destroy how the places of one
image resemble each other. Measured here as the correlation, over pairs of places, of cosines
before and after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.encoding import TextVector, TokenGrid
from napari_ctvlp.core.geometry import Affine, voxel_of

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Likeness:
    """How much every place of a scan resembles one of them to a model, without any words.

    Attributes
    ----------
    values : ndarray, shape (i, p, l), float32
        Cosine of tokens; NaN where the model did not look.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    point : (R, A, S) in mm
    model : str
        Card id.
    """

    values: Array
    affine: Affine
    point: tuple[float, float, float]
    model: str

    def ml_above(self, cosine: float) -> float:
        """Return the volume of the cells above a cosine, in ml."""
        cells = np.count_nonzero(self.values > cosine)
        return float(cells * abs(np.linalg.det(self.affine[:3, :3])) / 1000)


def locality(before: Array, after: Array, pairs: int = 20000, seed: int = 0) -> float:
    """Correlate feature similarity before and after projection.

    Parameters
    ----------
    before, after : ndarray, shape (n, c) and (n, d)
        Features of the same places; each is taken relative to its mean.
    pairs : int
        Pairs of places drawn.
    seed : int

    Returns
    -------
    float
        Pearson correlation of cosines over the pairs; NaN for fewer than three places.
    """
    if len(before) < 3:
        return float("nan")
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, len(before), (2, pairs))
    first, second = first[first != second], second[first != second]
    cosines = [_cosines(rows, first, second) for rows in (before, after)]
    if min(c.std() for c in cosines) < 1e-9:
        return float("nan")
    one, other = (row - row.mean() for row in cosines)
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def self_similarity(grid: TokenGrid, point_ras: tuple[float, float, float]) -> Array:
    """Return how much every token resembles the one at a world point.

    Parameters
    ----------
    grid : TokenGrid
    point_ras : (R, A, S) in mm

    Returns
    -------
    ndarray, shape (i, p, l), float32
        Cosine, 1 at the point's own cell; all NaN where the model did not look at the point.
    """
    out = np.full(grid.valid.shape, np.nan, np.float32)
    cell = cell_of(grid, point_ras)
    if cell is None:
        return out
    rows = grid.tokens[grid.valid].astype(np.float32)
    own = grid.tokens[cell].astype(np.float32)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(own)
    out[grid.valid] = np.vecdot(rows, own) / np.maximum(norms, 1e-12)
    return out


def cell_of(grid: TokenGrid, point_ras: tuple[float, float, float]) -> tuple[int, int, int] | None:
    """Return the cell that holds a world point, None where the model did not look."""
    i, p, l = np.rint(voxel_of(grid.affine, point_ras)).astype(int).tolist()  # noqa: E741
    inside = all(0 <= n < size for n, size in zip((i, p, l), grid.valid.shape, strict=True))
    return (i, p, l) if inside and grid.valid[i, p, l] else None


def nearest_words(
    grid: TokenGrid, point_ras: tuple[float, float, float], words: dict[str, TextVector], n: int = 8
) -> tuple[tuple[str, float], ...]:
    """Return the words that a place resembles most.

    Parameters
    ----------
    grid : TokenGrid
    point_ras : (R, A, S) in mm
    words : dict of str to TextVector
        By the same model.
    n : int

    Returns
    -------
    tuple of (str, float)
        Highest first: token . vector + bias, raw. Empty where the model did not look.
    """
    cell = cell_of(grid, point_ras)
    if cell is None:
        return ()
    own = grid.tokens[cell].astype(np.float32)
    scores = {w: float(np.vecdot(own, v.vector)) + v.bias for w, v in words.items()}
    return tuple(sorted(scores.items(), key=lambda row: -row[1])[:n])


def _cosines(rows: Array, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return np.asarray((unit[one] * unit[other]).sum(axis=1), np.float64)
