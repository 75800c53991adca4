"""Geometry the painters share: depth in an organ, tubes, displacement."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.synthesis.canvas import Canvas, Chance, offsets
from napari_ctvlp.training.synthesis.scanner import smooth

Box = tuple[slice, ...]
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


def depth(mask: Tensor, reach: float) -> Tensor:
    """Signed distance to the surface of a mask in voxels, positive inside.

    Taken from a blurred copy: right for smooth surfaces up to about twice ``reach``, clipped
    beyond, and soft at corners.

    Parameters
    ----------
    mask : Tensor, shape (i, p, l), bool
    reach : float
        SD of the blur in voxels.
    """
    width = max(1, round(reach / 2))
    spread: float = 2 * math.sqrt(((2 * width + 1) ** 2 - 1) / 4)
    share = _half_blur(mask, width).clamp(0.003, 0.997)
    distance: Tensor = torch.erfinv(2 * share - 1) * (spread * math.sqrt(2))
    return _full(distance, mask)


def blurred(mask: Tensor, reach: float) -> Tensor:
    """Return a mask blurred with an SD of about ``reach`` voxels (2 at least)."""
    return _full(_half_blur(mask, max(1, round(reach / 2))), mask)


def _half_blur(mask: Tensor, width: int) -> Tensor:
    """Blur at half resolution: three box filters of ``2 width + 1`` cells."""
    half: Tensor = functional.avg_pool3d(mask.float()[None, None], 2)
    for _ in range(3):
        half = boxed(half, width, beyond=False)
    return half


def boxed(field: Tensor, width: int, *, beyond: bool) -> Tensor:
    """Mean over cubes of ``2 width + 1`` voxels, one axis after the other.

    Parameters
    ----------
    field : Tensor, shape (1, 1, i, p, l)
    width : int
    beyond : bool
        What lies outside the field counts as 0; left out where False.
    """
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * width + 1, width
        field = functional.avg_pool3d(field, size, 1, pad, count_include_pad=beyond)
    return field


def _full(half: Tensor, like: Tensor) -> Tensor:
    full: Tensor = functional.interpolate(half, size=like.shape, mode="trilinear")[0, 0]
    return full


def edge(mask: Tensor) -> Tensor:
    """Return 1 on the surface of a mask falling to 0 one voxel away."""
    return (1 - ((smooth(mask.float(), 0.7) - 0.5) / 0.4) ** 2).clamp(min=0)


def capsule(where: Box, start: Tensor, end: Tensor, dice: Chance) -> Tensor:
    """Distance in voxels from the voxels of a box to a segment (points in canvas voxels)."""
    a, b, c = start.tolist()
    offset = offsets(where, (a, b, c), dice)
    way = end - start
    share = (offset @ way / (way @ way + 1e-6)).clamp(0, 1)
    away: Tensor = torch.linalg.vector_norm(offset - share[..., None] * way, dim=-1)
    return away


def point(spot: tuple[int, int, int], dice: Chance) -> Tensor:
    """Return a voxel as a float vector."""
    return torch.tensor(spot, device=dice.device).float()


def centroid(mask: Tensor) -> tuple[int, int, int] | None:
    """Return the middle voxel of a mask, or None when it is empty."""
    spots = torch.nonzero(mask)
    if not spots.numel():
        return None
    i, p, l = spots.float().mean(dim=0).round().int().tolist()  # noqa: E741 - the axis is called L
    return i, p, l


def warp(canvas: Canvas, where: Box, source: Tensor) -> None:
    """Move everything in a box of the canvas: each voxel takes what lay at ``source``.

    Parameters
    ----------
    canvas : Canvas
    where : tuple of slice
    source : Tensor, shape (box, 3)
        In canvas voxels.
    """
    size = torch.tensor(canvas.shape, device=source.device)
    grid = (2 * source / (size - 1) - 1).flip(-1)[None]
    fine = torch.stack([canvas.hu, canvas.lung_mm])[None]
    fine = functional.grid_sample(fine, grid, align_corners=True, padding_mode="border")[0]
    canvas.hu[where], canvas.lung_mm[where] = fine[0], fine[1]
    fields = [canvas.side, canvas.anatomy, canvas.found, canvas.free]
    fields += [] if canvas.ids is None else [canvas.ids]
    coarse = torch.stack([field.float() for field in fields])[None]
    coarse = functional.grid_sample(
        coarse, grid, mode="nearest", align_corners=True, padding_mode="border"
    )[0]
    for field, values in zip(fields, coarse, strict=True):
        field[where] = values.to(field.dtype)


def solid_bone(canvas: Canvas) -> Tensor:
    """Return 1 in bone falling to 0 within about two voxels: what does not give way."""
    bone = canvas.mask("bone", "vertebra", "rib").float()
    grown = functional.max_pool3d(bone[None, None], 3, 1, 1)[0, 0]
    return smooth(grown, 1.0)
