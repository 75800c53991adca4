"""From the arrays of a network to token grids in the world.

A network's array runs along axes of its own; its affine says where each index is. What an organ's
tokens add to its score becomes a :class:`TokenGrid` of the kind ``"split"``, cut to the organ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.encoding import TokenGrid
from napari_ctvlp.core.geometry import Affine, coarse_affine, to_ipl, transform

if TYPE_CHECKING:
    from napari_ctvlp.models.encoders.organ_query import Pooled

Rows = NDArray[np.float32]
Mask = NDArray[np.bool_]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Level:
    """What the tokens of one level add to an organ's vector.

    Attributes
    ----------
    rows : ndarray, shape (n, c)
        One for each true cell of ``valid``, in its order.
    valid : ndarray of bool, shape (a, b, c)
        The network's own axes.
    stride : (a, b, c)
        Voxels of a cell.
    """

    rows: Rows
    valid: Mask
    stride: Triple


def resized_affine(affine: Affine, before: tuple[int, ...], after: tuple[int, ...]) -> Affine:
    """Return the affine after a resampling of the same field to another number of voxels."""
    return coarse_affine(affine, np.array(before) / np.array(after))


def moved(affine: Affine, first: tuple[int, ...]) -> Affine:
    """Return the affine of an array whose voxel 0 was ``first``; negative where it was padded."""
    out = affine.copy()
    out[:3, 3] = transform(affine, first)
    return out


def strided(affine: Affine, stride: tuple[int, ...]) -> Affine:
    """Return the affine of cells whose field of view is centred on voxel stride * index.

    So it is behind strided convolutions of odd size, padded by half of it.
    """
    out = affine.copy()
    out[:3, :3] = affine[:3, :3] * np.array(stride)
    return out


def spread(coarse: Level, fine: Level) -> Rows:
    """Share what each coarse cell adds evenly among the fine cells within it.

    Returns
    -------
    ndarray, shape (fine cells, c)
        Its sum is that of the coarse rows: a voxel of the organ lies in a cell of either level.
    """
    factor = np.array(coarse.stride) // np.array(fine.stride)
    parents = np.ravel_multi_index((np.argwhere(fine.valid) // factor).T, coarse.valid.shape)
    number = np.cumsum(coarse.valid.ravel()) - 1
    each = coarse.rows / np.bincount(number[parents], minlength=len(coarse.rows))[:, None]
    return np.asarray(each[number[parents]], dtype=np.float32)


def split_grid(
    levels: list[Level], affine: Affine, *, organ: str = "", rest: Rows | None = None
) -> TokenGrid:
    """Put what tokens of several levels add to a score on the grid of the finest.

    Parameters
    ----------
    levels : list of Level
        Finest first.
    affine : ndarray, shape (4, 4)
        Cell of the finest level to RAS mm, in the network's axes.
    organ : str
    rest : ndarray, shape (c,)
        What no cell adds.
    """
    fine, rows = levels[0], levels[0].rows
    for coarse in levels[1:]:
        rows = rows + spread(coarse, fine)
    where = np.argwhere(fine.valid)
    low, high = where.min(0), where.max(0) + 1
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    number = np.full(fine.valid.shape, -1)
    number[fine.valid] = np.arange(len(rows))
    order, ipl = to_ipl(number[cut], moved(affine, tuple(low)))
    tokens = np.zeros((*order.shape, rows.shape[1]), np.float32)
    tokens[order >= 0] = rows[order[order >= 0]]
    words = " x ".join(str(n) for n in fine.stride) + " voxels"
    return TokenGrid(tokens, ipl, order >= 0, words, organ, "split", rest)


def organ_grid(
    seen: Pooled, valid: Sequence[Mask], strides: Sequence[Triple], affine: Affine, organ: str
) -> tuple[TokenGrid, Rows]:
    """Put what an organ's query gathered on the grid of the finest level, and its attention.

    Parameters
    ----------
    seen : Pooled
        Its tokens run through the levels, finest first.
    valid : sequence of ndarray of bool
        The organ's cells, by level.
    strides : sequence of (a, b, c)
    affine : ndarray, shape (4, 4)
        Cell of the finest level to RAS mm.
    organ : str

    Returns
    -------
    tuple
        The grid, and the attention to each of its cells, which sums to 1.
    """
    import torch

    size = seen.vector.norm()
    counts = [int(mask.sum()) for mask in valid]
    parts = torch.cat([seen.shares / size, seen.weights[:, None]], 1).cpu().split(counts)
    levels = [
        Level(rows.numpy(), mask, stride)
        for rows, mask, stride in zip(parts, valid, strides, strict=True)
    ]
    both = split_grid(levels, affine, organ=organ, rest=(seen.rest / size).cpu().numpy())
    tokens = np.ascontiguousarray(both.tokens[..., :-1], dtype=np.float32)
    return replace(both, tokens=tokens), both.tokens[..., -1].astype(np.float32)
