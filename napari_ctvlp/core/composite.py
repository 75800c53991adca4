"""Many heatmaps in one picture: at each cell the phrase that is strongest there, in its colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.core.heatmap import Heatmap

Array = NDArray[np.float32]
Colour = tuple[float, float, float]


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
    """

    def __init__(self, shape: tuple[int, ...], affine: Affine, threshold: float = 0.05) -> None:
        self.affine, self.threshold = affine, threshold
        self.strength: Array = np.full(shape, threshold, np.float32)
        self.winner = np.zeros(shape, np.uint8)
        self.colours: list[Colour] = []

    def add(self, heat: Heatmap, colour: Colour) -> None:
        """Draw one more phrase; earlier ones win where they are as strong.

        Raises
        ------
        ValueError
            For another grid, or more than 255 phrases; a fault of the program.
        """
        if heat.values.shape != self.winner.shape or not np.allclose(heat.affine, self.affine):
            raise ValueError("a composite holds heatmaps of one grid")
        if len(self.colours) == np.iinfo(np.uint8).max:
            raise ValueError("a composite holds 255 phrases at most")
        self.colours.append(colour)
        share = np.where(heat.allowed, heat.values, np.float32(0)) / np.float32(heat.full_scale)
        stronger = share > self.strength  # NaN is not
        self.strength[stronger] = share[stronger]
        self.winner[stronger] = len(self.colours)

    @property
    def rgba(self) -> NDArray[np.uint8]:
        """The picture, shape (i, p, l, 4): colour of the winner, its strength as alpha."""
        table = np.array([(0.0, 0.0, 0.0), *self.colours])
        out = np.empty((*self.winner.shape, 4), np.uint8)
        out[..., :3] = np.rint(255 * table).astype(np.uint8)[self.winner]
        out[..., 3] = np.where(self.winner > 0, 255 * np.clip(self.strength, 0, 1), 0)
        return out


def composite(
    heats: Sequence[Heatmap], colours: Sequence[Colour], threshold: float = 0.05
) -> Composite:
    """Return the picture of several heatmaps of one grid, at least one."""
    made = Composite(heats[0].values.shape, heats[0].affine, threshold)
    for heat, colour in zip(heats, colours, strict=True):
        made.add(heat, colour)
    return made


def difference(one: Heatmap, other: Heatmap) -> Array:
    """Return the first map minus the second, each as a share of its full scale.

    Returns
    -------
    ndarray, shape (i, p, l), float32
        -1..1 for probabilities; NaN where either did not look or may not be searched.

    Raises
    ------
    ValueError
        For maps on two grids.
    """
    if one.values.shape != other.values.shape or not np.allclose(one.affine, other.affine):
        raise ValueError("only maps on one grid can be subtracted")
    parts = [np.where(h.allowed, h.values, np.nan) / h.full_scale for h in (one, other)]
    return np.asarray(parts[0] - parts[1], np.float32)


def volume_ml(heat: Heatmap, share: float = 0.5) -> float:
    """Return the volume in ml above a share of full scale, inside the gate."""
    cell = float(abs(np.linalg.det(heat.affine[:3, :3]))) / 1000
    return cell * int((heat.allowed & (heat.values > share * heat.full_scale)).sum())
