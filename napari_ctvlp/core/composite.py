"""Many heatmaps in one picture: at each cell the phrase that is strongest there, in its colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.interpolation import linear_aligned

Array = NDArray[np.float32]
Colour = tuple[float, float, float]
#: A place has a value when at least this share of its neighbours on another grid has one.
_SUPPORT = 0.5


class Composite:
    """A picture of heatmaps on one grid, to which phrases are added one by one.

    Parameters
    ----------
    shape, affine
        The grid all of them lie on.
    threshold : float
        Share of full scale under which nothing is drawn.

    Attributes
    ----------
    strength : ndarray, shape (i, p, l), float32
        The strongest phrase's share of its full scale, 0..1.
    winner : ndarray, shape (i, p, l), uint8
        1 + its place among the colours, 0 for none.
    rgba : ndarray, shape (i, p, l, 4), uint8
        The picture: colour of the winner, its strength as alpha.
    """

    def __init__(self, shape: tuple[int, ...], affine: Affine, threshold: float = 0.05) -> None:
        self.affine, self.threshold = affine, threshold
        self.strength: Array = np.full(shape, threshold, np.float32)
        self.winner = np.zeros(shape, np.uint8)
        self.colours: list[Colour] = []
        self.rgba = np.zeros((*shape, 4), np.uint8)

    def add(self, heat: Heatmap, colour: Colour) -> None:
        """Draw one more phrase; earlier ones win where they are as strong.

        Raises
        ------
        ValueError
            For more than 255 phrases; a fault of the program.
        """
        if len(self.colours) == np.iinfo(np.uint8).max:
            raise ValueError("a composite holds 255 phrases at most")
        self.colours.append(colour)
        share = shares_on(heat, self.winner.shape, self.affine)
        stronger = share > self.strength  # NaN is not
        self.strength[stronger] = share[stronger]
        self.winner[stronger] = len(self.colours)
        self.rgba[stronger, :3] = np.rint(255 * np.array(colour))
        self.rgba[stronger, 3] = 255 * np.clip(share[stronger], 0, 1)


def composite(
    heats: Sequence[Heatmap], colours: Sequence[Colour], threshold: float = 0.05
) -> Composite:
    """Return the picture of several heatmaps, at least one, on the grid of the first."""
    made = Composite(heats[0].values.shape, heats[0].affine, threshold)
    for heat, colour in zip(heats, colours, strict=True):
        made.add(heat, colour)
    return made


def laid_over(pictures: Sequence[Array]) -> Array:
    """Return pictures laid over each other, the last on top.

    Parameters
    ----------
    pictures : sequence of ndarray, shape (row, column, 4), float32
        At least one; 0..1, colours times alpha.
    """
    out = pictures[0]
    for picture in pictures[1:]:
        out = picture + out * (1 - picture[..., 3:])
    return out


def difference(one: Heatmap, other: Heatmap) -> Array:
    """Return the first map minus the second, each as a share of its full scale.

    Returns
    -------
    ndarray, shape (i, p, l), float32
        On the first one's grid. -1..1 for probabilities; NaN where either did not look or may not
        be searched.
    """
    first, second = (shares_on(heat, one.values.shape, one.affine) for heat in (one, other))
    return np.asarray(first - second, np.float32)


def shares_on(heat: Heatmap, shape: tuple[int, ...], affine: Affine) -> Array:
    """Return a map as shares of its full scale on a grid, NaN where it was not searched.

    Parameters
    ----------
    heat : Heatmap
    shape, affine
        The grid; another one than the map's own is reached by linear interpolation.

    Returns
    -------
    ndarray, shape (i, p, l), float32
    """
    shares = np.where(heat.allowed, heat.values, np.nan) / np.float32(heat.full_scale)
    if heat.values.shape == shape and np.allclose(heat.affine, affine):
        return np.asarray(shares, np.float32)
    known = np.isfinite(shares)
    sums = linear_aligned(np.where(known, shares, 0).astype(np.float32), heat.affine, shape, affine)
    weight = linear_aligned(known.astype(np.float32), heat.affine, shape, affine)
    return np.where(weight >= _SUPPORT, sums / np.maximum(weight, 1e-6), np.nan).astype(np.float32)


def volume_ml(heat: Heatmap, share: float = 0.5) -> float:
    """Return the volume in ml above a share of full scale, inside the gate."""
    cell = float(abs(np.linalg.det(heat.affine[:3, :3]))) / 1000
    return cell * int((heat.allowed & (heat.values > share * heat.full_scale)).sum())
