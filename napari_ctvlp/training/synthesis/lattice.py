"""Cells with shared walls: honeycombs and rows of cysts."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import VOXEL_MM, Chance


def cells(where: tuple[slice, ...], alpha: Tensor, cell_mm: float, dice: Chance) -> Tensor:
    """Return the walls between random cells, 1 on a wall and 0 in a cell.

    Walls lie where the nearest two of a set of random points are about as far away (Worley,
    SIGGRAPH 1996). Only worked out where ``alpha`` counts.

    Parameters
    ----------
    where : tuple of slice
        The box, for its shape.
    alpha : Tensor
        Opacity in the box; where it is below 0.1 the result is 0.
    cell_mm : float
        Mean width of a cell.
    """
    cell = cell_mm / VOXEL_MM
    counts = [int((s.stop - s.start) / cell) + 4 for s in where]
    seeds = 0.5 + 0.3 * dice.normal(*counts, 3).clamp(-2, 2)
    spots = torch.nonzero(alpha > 0.1)
    scaled = spots / cell + 1
    home = scaled.floor()
    distances = []
    for step in itertools.product((-1, 0, 1), repeat=3):
        around = home + torch.tensor(step, device=dice.device)
        i, p, l = around.long().unbind(dim=1)  # noqa: E741 - the axis is called L
        distances.append((around + seeds[i, p, l] - scaled).norm(dim=1))
    near = torch.stack(distances).topk(2, dim=0, largest=False).values * cell
    walls = torch.zeros_like(alpha)
    walls[tuple(spots.T)] = torch.sigmoid((0.9 - (near[1] - near[0])) / 0.3)
    return walls
