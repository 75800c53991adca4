"""Encoding and TokenGrid: what an image encoder says about a scan, with its geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, checked_affine

#: What token . vector is, see :class:`TokenGrid`.
Kind = Literal["logit", "cosine", "split"]


@dataclass(frozen=True)
class TokenGrid:
    """Dense tokens on a regular grid.

    Attributes
    ----------
    tokens : ndarray, shape (i, p, l, c), float16 or float32, read-only
        One vector per grid cell, IPL order.
    affine : ndarray, shape (4, 4)
        Token index to RAS mm (centre of the cell).
    valid : ndarray, shape (i, p, l), bool
        False where the model did not look (outside the body or the crop).
    level : str
        Which feature level, for example ``"4mm"``.
    organ : str
        The organ this grid belongs to, or ``""`` for all.
    kind : {"logit", "cosine", "split"}
        What token . vector is: a logit whose sigmoid is a probability; the cosine of a cell; or
        the cell's part of the organ's score, which is the sum over valid cells plus
        ``rest . vector``.
    rest : ndarray, shape (c,), float32, or None
        What no cell of a split holds; None for nothing.
    """

    tokens: NDArray[np.float16] | NDArray[np.float32]
    affine: Affine
    valid: NDArray[np.bool_]
    level: str = ""
    organ: str = ""
    kind: Kind = "logit"
    rest: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays and check the affine."""
        for name in ("tokens", "valid"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        object.__setattr__(self, "affine", checked_affine(self.affine))


@dataclass(frozen=True)
class TextVector:
    """A phrase in the image's space: logit(token) = token . vector + bias.

    Attributes
    ----------
    vector : ndarray, shape (c,), float32
    bias : float
    known : float
        Similarity to the nearest phrase the model was trained on, in [-1, 1]; low means that
        the model does not know these words.
    concepts : mapping of str to float
        Mixture weights behind the vector, for showing; empty where the model has none.
    least : float, optional
        How low is too low for the text tower that read the phrase; without it, the card says.
    nearest : tuple of str
        What the model knows instead, nearest first; may be empty.
    """

    vector: NDArray[np.float32]
    bias: float = 0.0
    known: float = 1.0
    concepts: Mapping[str, float] = field(default_factory=dict)
    least: float | None = None
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoding:
    """Everything one encoder computed from one scan; phrases only touch this.

    Attributes
    ----------
    grids : tuple of TokenGrid
        One or more levels; the first is the one phrases are grounded on.
    organs : mapping of str to ndarray, shape (c,), float32
        One pooled vector per organ, where the model has them.
    attention : mapping of str to ndarray, shape (i, p, l), float32
        Organ-query attention weights (sum to 1 over the organ), on the first grid of that organ,
        else on the first one.
    model : str
        Card id of the encoder.
    weights : str
        SHA-256 of the weights.
    scan : str
        Digest of the scan.
    """

    grids: tuple[TokenGrid, ...]
    organs: Mapping[str, NDArray[np.float32]]
    model: str
    weights: str
    scan: str
    attention: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over model, weights, scan and tokens: same inputs give the same digest."""
        sha = hashlib.sha256(f"{self.model}{self.weights}{self.scan}".encode())
        for grid in self.grids:
            sha.update(np.ascontiguousarray(grid.tokens).tobytes())
        for name in sorted(self.organs):
            sha.update(name.encode() + np.ascontiguousarray(self.organs[name]).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class EncodingSummary:
    """What is told of an encoding whose tokens stay where they were computed.

    Attributes
    ----------
    model, weights, scan, digest : str
        As in :class:`Encoding`.
    shape : tuple of int
        Cells of the first grid along (I, P, L).
    affine : ndarray, shape (4, 4)
        Cell of the first grid to RAS mm.
    cells : int
        How many of its cells the model looked at.
    organs : tuple of str
        Organs with a pooled vector.
    attention : tuple of str
        Organs with an attention map.
    """

    model: str
    weights: str
    scan: str
    digest: str
    shape: tuple[int, ...]
    affine: Affine
    cells: int
    organs: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttentionMaps:
    """Where each organ query looked.

    Attributes
    ----------
    maps : mapping of str to ndarray, shape (i, p, l), float32
        Weights, each on a grid of its own; each sums to 1 over its organ.
    affines : mapping of str to ndarray, shape (4, 4)
        Cell of each grid to RAS mm.
    model, scan : str
        Card id, digest of the scan.
    """

    maps: Mapping[str, NDArray[np.float32]]
    affines: Mapping[str, Affine]
    model: str
    scan: str


def attention_of(encoding: Encoding) -> AttentionMaps:
    """Return the attention of an encoding with the place of each map."""
    own = {grid.organ: grid.affine for grid in reversed(encoding.grids)}
    affines = {name: own.get(name, encoding.grids[0].affine) for name in encoding.attention}
    return AttentionMaps(encoding.attention, affines, encoding.model, encoding.scan)


def summary_of(encoding: Encoding) -> EncodingSummary:
    """Return the small noun that crosses a pipe in place of the tokens."""
    grid = encoding.grids[0]
    return EncodingSummary(
        encoding.model,
        encoding.weights,
        encoding.scan,
        encoding.digest,
        grid.valid.shape,
        grid.affine,
        int(grid.valid.sum()),
        tuple(encoding.organs),
        tuple(encoding.attention),
    )
