"""Morphology in millimetres on coarse grids: balls by distance transforms, not by elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Ids = NDArray[np.int32]
#: Called between the steps of long work, so that it can be stopped there.
Tick = Callable[[], None]
#: Neighbours within one axial slice only.
IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


def depth_mm(mask: Mask, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in mm from each true voxel to the nearest false one, shape of ``mask``.

    The edge of the grid does not count as false. A mask without any false voxel is infinitely
    deep.
    """
    if mask.all():
        return np.full(mask.shape, np.inf)
    return cast("NDArray[np.float64]", ndimage.distance_transform_edt(mask, sampling=step))


def erode(mask: Mask, mm: float, step: NDArray[np.float64]) -> Mask:
    """Erode by a ball of ``mm``."""
    return depth_mm(mask, step) > mm


def dilate(mask: Mask, mm: float, step: NDArray[np.float64]) -> Mask:
    """Dilate by a ball of ``mm``."""
    return depth_mm(~mask, step) <= mm


def closed(mask: Mask, mm: float, step: NDArray[np.float64]) -> Mask:
    """Fill gaps that a ball of ``mm`` does not fit into, also at the edge of the grid."""
    pad = [(int(np.ceil(mm / size)) + 1,) * 2 for size in step]
    grown = dilate(np.pad(mask, pad), mm, step)
    core = tuple(slice(low, -high) for low, high in pad)
    return erode(grown, mm, step)[core] | mask


def grown(mask: Mask, blocks: int = 1, structure: Mask | None = None) -> Mask:
    """Dilate by some blocks, by default along all axes."""
    if blocks < 1:
        return mask
    return np.asarray(ndimage.binary_dilation(mask, structure, blocks), dtype=bool)


def shrunk(mask: Mask, blocks: int = 1, structure: Mask | None = None) -> Mask:
    """Erode by some blocks, by default along all axes; the edge of the grid does not eat."""
    if blocks < 1:
        return mask
    return np.asarray(ndimage.binary_erosion(mask, structure, blocks, border_value=1), dtype=bool)


def components(mask: Mask, structure: Mask | None = None) -> tuple[Ids, NDArray[np.int64]]:
    """Label connected parts.

    Returns
    -------
    tuple
        Labels from 1 on, shape of ``mask``, and voxels per label (index 0 is set to zero).
    """
    labels = np.empty(mask.shape, dtype=np.int32)
    count = ndimage.label(mask, structure, output=labels)
    sizes = np.bincount(labels.ravel(), minlength=int(count) + 1)
    sizes[0] = 0
    return labels, sizes


def means(labels: Ids, values: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Mean of ``values`` per label, shape (count,); zero where a label is empty."""
    sums = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    sizes = np.bincount(labels.ravel(), minlength=count)
    return np.asarray(sums / np.maximum(sizes, 1), dtype=np.float64)


def box_of(mask: Mask, margin: NDArray[np.int64] | int = 0) -> tuple[slice, ...]:
    """Smallest box around the true voxels plus a margin in voxels (the whole grid if none)."""
    edges = np.broadcast_to(margin, (mask.ndim,))
    box = []
    for axis, edge in enumerate(edges):
        others = tuple(n for n in range(mask.ndim) if n != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            return tuple(slice(0, n) for n in mask.shape)
        stop = min(mask.shape[axis], int(hits[-1] + edge) + 1)
        box.append(slice(max(0, int(hits[0] - edge)), stop))
    return tuple(box)
