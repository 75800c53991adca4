"""What mini looks at: a scan on a 2 mm grid, and where each cell lies in the chest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, coarse_affine, ras_to_screen, resample, spacing
from napari_ctvlp.core.scan import AIR_HU, Scan
from napari_ctvlp.models.protocol import Progress, silent

VOXEL_MM = 2.0
#: Grid edges are padded to a multiple of this many voxels (the coarsest level of the tower).
MULTIPLE = 8
#: Lungs smaller than this say nothing about where the chest is, in ml.
LEAST_LUNG_ML = 40.0
#: Positions are clipped here, in half widths of the lung box; depth in units of 50 mm.
CLIP = 2.5
DEPTH_MM = 50.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ChestBox:
    """Bounding box of the lungs in napari world (I, P, L) mm.

    Attributes
    ----------
    centre, half : ndarray, shape (3,)
        Middle and half widths.
    """

    centre: NDArray[np.float64]
    half: NDArray[np.float64]

    def relative(self, screen_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions as half widths from the middle, shape (..., 3), order (I, P, L)."""
        return np.asarray((screen_mm - self.centre) / self.half)


def inputs_of(
    scan: Scan, anatomy: AnatomyMap, progress: Progress = silent
) -> tuple[Array, Array, Affine, NDArray[np.bool_]]:
    """Return what the tower sees of a scan.

    Returns
    -------
    hu : ndarray, shape (i, p, l), float32
        On a grid of 2 mm.
    place : ndarray, shape (4, i/2, p/2, l/2), float32
    fine : ndarray, shape (4, 4)
        2 mm voxel to RAS mm.
    body : ndarray, shape (i/2, p/2, l/2), bool
    """
    hu, fine = to_grid(scan, lambda share, stage: progress(0.25 * share, stage))
    affine = coarse_affine(fine, 2)
    shape = tuple(n // 2 for n in hu.shape)
    body = body_on_grid(anatomy, shape, affine)
    progress(0.27, "where the chest is")
    depth = body_depth(body, 4.0)
    progress(0.3, "where the chest is")
    return hu, place_channels(chest_box(anatomy, body, affine), depth, shape, affine), fine, body


def to_grid(scan: Scan, progress: Progress = silent) -> tuple[Array, Affine]:
    """Bring a scan to 2 mm voxels: box average where it is finer, linear where coarser.

    Parameters
    ----------
    scan : Scan
        Any spacing.
    progress : callable
        Called once per stored slice.

    Notes
    -----
    The matrices are sparse: that is quicker, and the bits do not depend on the number of threads.

    Returns
    -------
    tuple
        HU, shape (i, p, l) with edges that are multiples of 8 (air where nothing was measured),
        and its index-to-RAS matrix. Cell 0 begins at the outer edge of voxel 0.
    """
    steps = spacing(scan.affine)
    across, *weights = (
        axis_weights(n, float(step)) for n, step in zip(scan.shape, steps, strict=True)
    )
    back, side = (sparse.csr_array(matrix) for matrix in weights)
    grid = np.zeros((across.shape[0], back.shape[0], side.shape[0]), dtype=np.float32)
    for index in range(scan.shape[0]):
        plane = np.nan_to_num(np.asarray(scan.hu[index], dtype=np.float32), nan=AIR_HU)
        small = (side @ (back @ np.clip(plane - AIR_HU, -100.0, 4100.0)).T).T
        for row in np.flatnonzero(across[:, index]):
            grid[row] += across[row, index] * small
        progress((index + 1) / scan.shape[0], "resampling")
    grid += AIR_HU
    return grid, coarse_affine(scan.affine, VOXEL_MM / steps)


def axis_weights(count: int, step_mm: float) -> Array:
    """Return the matrix that brings one axis from ``step_mm`` to 2 mm, shape (out, count).

    Rows sum to 1, or to 0 where less than half of a cell was measured.
    """
    cells = int(np.ceil(count * step_mm / VOXEL_MM - 1e-6))
    cells += -cells % MULTIPLE
    edges = np.arange(cells + 1) * VOXEL_MM / step_mm
    low, high = edges[:-1, None], edges[1:, None]
    voxel = np.arange(count)[None, :]
    overlap = np.clip(np.minimum(high, voxel + 1) - np.maximum(low, voxel), 0.0, None)
    if step_mm > VOXEL_MM:
        middle = np.clip((low + high) / 2 - 0.5, 0, count - 1)
        weights = np.clip(1.0 - np.abs(middle - voxel), 0.0, None)
    else:
        weights = overlap
    covered = overlap.sum(axis=1, keepdims=True) >= 0.5 * VOXEL_MM / step_mm
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return np.where(covered, weights / total, 0.0).astype(np.float32)


def chest_box(anatomy: AnatomyMap, coarse: NDArray[np.bool_], affine: Affine) -> ChestBox:
    """Return the box of the lungs, or a guess from the body where there are none.

    Parameters
    ----------
    anatomy : AnatomyMap
        Gives the lungs.
    coarse : ndarray, shape (i, p, l), bool
        The body on the token grid.
    affine : ndarray, shape (4, 4)
        Of the token grid.
    """
    lungs = on_grid(anatomy, ("lung_left", "lung_right"), coarse.shape, affine)
    if lungs.sum() * np.prod(spacing(affine)) / 1000 >= LEAST_LUNG_ML:
        return box_of(lungs, affine)
    whole = box_of(coarse, affine) if coarse.any() else ChestBox(np.zeros(3), np.full(3, 150.0))
    return ChestBox(whole.centre, whole.half * np.array([1.0, 0.8, 0.75]))


def box_of(mask: NDArray[np.bool_], affine: Affine) -> ChestBox:
    """Return the box that holds 99 % of a mask along each axis."""
    where = np.argwhere(mask)
    low, high = np.percentile(where, [0.5, 99.5], axis=0)
    ends = ras_to_screen(np.stack([low, high]) @ affine[:3, :3].T + affine[:3, 3])
    return ChestBox(ends.mean(axis=0), np.maximum((ends[1] - ends[0]) / 2, 20.0))


def on_grid(
    anatomy: AnatomyMap, names: tuple[str, ...], shape: tuple[int, ...], affine: Affine
) -> NDArray[np.bool_]:
    """Return a union of organs on another grid (nearest voxel), shape ``shape``."""
    mask = anatomy.mask(names).astype(np.uint8)
    return resample(mask, anatomy.affine, shape, affine, order=0) > 0


def body_on_grid(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> NDArray[np.bool_]:
    """Return the body (any label) on another grid, shape ``shape``."""
    body = (anatomy.labels > 0).astype(np.uint8)
    return resample(body, anatomy.affine, shape, affine, order=0) > 0


def body_depth(body: NDArray[np.bool_], step_mm: float) -> Array:
    """Return the distance to the body surface in mm, 0 outside; the field's edge is no surface."""
    padded = np.pad(body, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=step_mm)
    return np.asarray(depth[1:-1, 1:-1, 1:-1], dtype=np.float32)


def place_channels(box: ChestBox, depth_mm: Array, shape: tuple[int, ...], affine: Affine) -> Array:
    """Return the four position channels, shape (4, i, p, l): I, P, L in the lung box, depth."""
    channels = np.empty((4, *shape), dtype=np.float32)
    screen = np.array([-affine[2, 0], -affine[1, 1], -affine[0, 2]])
    start = ras_to_screen(affine[:3, 3])
    for axis in range(3):
        along = start[axis] + screen[axis] * np.arange(shape[axis])
        relative = (along - box.centre[axis]) / box.half[axis]
        stretch = [1, 1, 1]
        stretch[axis] = -1
        channels[axis] = np.clip(relative, -CLIP, CLIP).reshape(stretch)
    channels[3] = np.clip(depth_mm / DEPTH_MM, 0.0, CLIP)
    return channels
