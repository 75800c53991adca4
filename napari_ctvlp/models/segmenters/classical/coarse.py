"""The coarse grid the classical segmenter thinks on: whole blocks of scan voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, coarse_affine, spacing, transform
from napari_ctvlp.core.scan import Scan

#: Aimed edge of a block in mm.
BLOCK_MM = 2.8
LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True)
class Coarse:
    """Block means of a scan.

    Attributes
    ----------
    hu : ndarray, shape (i, p, l), float32
        Mean HU per block, clipped to what a scanner stores.
    factor : tuple of int
        Scan voxels per block along (I, P, L).
    affine : ndarray, shape (4, 4)
        Block index to RAS mm.
    """

    hu: NDArray[np.float32]
    factor: tuple[int, int, int]
    affine: Affine

    @property
    def step(self) -> NDArray[np.float64]:
        """Block size in mm along (I, P, L)."""
        return spacing(self.affine)

    @property
    def block_ml(self) -> float:
        """Volume of a block in ml."""
        return float(self.step.prod() / 1000)

    def part(self, box: tuple[slice, ...]) -> Coarse:
        """Return the blocks in ``box``."""
        affine = self.affine.copy()
        affine[:3, 3] = transform(affine, [edge.start for edge in box])
        return Coarse(self.hu[box], self.factor, affine)


def coarse_scan(scan: Scan) -> Coarse:
    """Average a scan over blocks of about ``BLOCK_MM``; NaN counts as air."""
    i, *in_plane = (max(1, int(np.floor(BLOCK_MM / size + 0.5))) for size in scan.spacing)
    starts = range(0, scan.shape[0], i)
    planes = [_block_means(scan.hu[start : start + i], in_plane) for start in starts]
    factor = (i, in_plane[0], in_plane[1])
    return Coarse(np.stack(planes), factor, coarse_affine(scan.affine, factor))


def _block_means(
    slab: NDArray[np.int16] | NDArray[np.float32], blocks: Sequence[int]
) -> NDArray[np.float32]:
    values = np.nan_to_num(slab.astype(np.float32), nan=LOWEST_HU)
    plane = np.clip(values, LOWEST_HU, HIGHEST_HU).mean(axis=0)
    edges = [(0, -size % block) for size, block in zip(plane.shape, blocks, strict=True)]
    padded = np.pad(plane, edges, mode="edge")
    tiles = padded.reshape(
        padded.shape[0] // blocks[0], blocks[0], padded.shape[1] // blocks[1], blocks[1]
    )
    return np.asarray(tiles.mean(axis=(1, 3)), dtype=np.float32)


def to_scan_grid(
    blocks: NDArray[np.uint16],
    factor: tuple[int, int, int],
    start: int,
    stop: int,
    shape: tuple[int, ...],
) -> NDArray[np.uint16]:
    """Repeat block values on scan slices ``start`` to ``stop``, shape (stop - start, p, l)."""
    planes = blocks[np.arange(start, stop) // factor[0]]
    return planes.repeat(factor[1], axis=1).repeat(factor[2], axis=2)[:, : shape[1], : shape[2]]
