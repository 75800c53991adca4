"""Grain of painted tissue: a scan's own noise, so that smoothness does not give a painting away."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import Canvas, Chance
from napari_ctvlp.training.synthesis.fields import boxed

#: How often the grain is the scan's own, where it has a block of soft tissue to take it from.
OWN = 0.6
#: Half edges in voxels of the blocks that are tried, largest first; HU of soft tissue.
BLOCKS, SOFT = (9, 5), (-20.0, 140.0)


def texture(canvas: Canvas, size: tuple[int, ...], dice: Chance) -> Tensor:
    """Return what to add to a tissue's mean, in HU, zero on average, shape ``size``.

    The residual of a block of real soft tissue of the same crop, mirrored on to fill the box,
    or smooth noise of SD 5 to 25 HU.
    """
    own = _residual(canvas, dice) if dice.chance(OWN) else None
    if own is None:
        return dice.uniform(5, 25) * dice.noise(size, dice.uniform(3, 8))
    for axis, length in enumerate(size):
        edge = own.shape[axis]
        steps = torch.arange(length, device=own.device) + dice.integer(0, 2 * edge - 1)
        steps = steps % (2 * edge)
        own = own.index_select(axis, torch.minimum(steps, 2 * edge - 1 - steps))
    return own


def _residual(canvas: Canvas, dice: Chance) -> Tensor | None:
    """Return a block of unpainted soft tissue less its mean, None where there is none."""
    soft = (canvas.hu > SOFT[0]) & (canvas.hu < SOFT[1]) & (canvas.found == 0)
    for half in BLOCKS:
        share = boxed(soft.float()[None, None], half, beyond=True)
        centre = canvas.spot(share[0, 0] > 0.95, dice)
        if centre is not None:
            where = tuple(slice(c - half, c + half + 1) for c in centre)
            block = canvas.hu[where].clamp(*SOFT)
            return block - block.mean()
    return None
