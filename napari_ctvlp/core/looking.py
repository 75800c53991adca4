"""Where a place of the scan looks, by attention or by gradients: maps with their geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine

Array = NDArray[np.float32]
Direction = Literal["from", "to"]


@dataclass(frozen=True)
class Attention:
    """Attention between the places of a scan, from or to one of them.

    Attributes
    ----------
    heads : ndarray, shape (layers, heads, i, p, l), float32
        From a place each map sums to 1, less what it gives to tokens that have no place.
    rollout : ndarray, shape (i, p, l), float32
        The same over all layers.
    affine : ndarray, shape (4, 4)
        Cell to RAS mm, IPL.
    cell : tuple of int
        The place's own cell.
    direction : {"from", "to"}
    model, organ : str
        Card id, and the organ whose window was looked at (``""`` for the whole field).
    """

    heads: Array
    rollout: Array
    affine: Affine
    cell: tuple[int, int, int]
    direction: Direction
    model: str = ""
    organ: str = ""

    def mean(self, layer: int | None = None) -> Array:
        """Return the mean over heads of one layer, or of all."""
        chosen = self.heads if layer is None else self.heads[layer : layer + 1]
        return np.asarray(chosen.mean(axis=(0, 1)), np.float32)

    def map(self, layer: int | None, head: int | None, rollout: bool = False) -> Array:
        """Return one map: the rollout, a head of a layer, or a mean where one is None."""
        if rollout:
            return self.rollout
        if head is None:
            return self.mean(layer)
        chosen = self.heads if layer is None else self.heads[layer : layer + 1]
        return np.asarray(chosen[:, head].mean(axis=0), np.float32)


@dataclass(frozen=True)
class Relevance:
    """Where a score comes from, by gradients.

    Attributes
    ----------
    values : ndarray, shape (i, p, l), float32
        Grad-CAM, not negative, NaN outside the body; relative to its own maximum only.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    level : str
        Which cells of the network.
    score : float
        Mean logit of the highest searched cells, what was differentiated.
    words : str
    """

    values: Array
    affine: Affine
    level: str
    score: float
    words: str


@dataclass(frozen=True)
class PlaceWords:
    """The words that one place resembles most.

    Attributes
    ----------
    point_ras : (R, A, S) in mm
    words : tuple of (str, float)
        Highest first, raw: token . vector + bias; empty where the model did not look.
    kind : str
        What the numbers are, see :class:`napari_ctvlp.core.encoding.TokenGrid`.
    organ : str
        The model's organ whose grid was read, or ``""``.
    """

    point_ras: tuple[float, float, float]
    words: tuple[tuple[str, float], ...]
    kind: str
    organ: str = ""
