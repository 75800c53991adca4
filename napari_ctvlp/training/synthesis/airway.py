"""Findings of the airways: bronchiectasis."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import CODE, Canvas, Chance, Painted, around
from napari_ctvlp.training.synthesis.fields import capsule, point
from napari_ctvlp.training.synthesis.truth import tell


def bronchiectasis(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint three to ten wide airways with walls beside the vessels of one region.

    Airways are 4 to 14 mm wide, run along their vessel and touch it (signet ring); cystic ones
    end in a bubble.
    """
    vessel = canvas.mask("vessel") & (canvas.lung_mm > 7)
    first = canvas.spot(vessel & (canvas.lung_mm < 45), dice)
    if first is None:
        return None
    near = torch.zeros_like(vessel)
    near[around(canvas, first, 18)] = True
    vessel = vessel & near & (canvas.side == canvas.side[first])
    cystic, marks = dice.chance(0.3), torch.zeros_like(vessel)
    for _ in range(dice.integer(3, 10)):
        spot = canvas.spot(vessel, dice)
        if spot is not None:
            _airway(canvas, spot, marks, dice, cystic=cystic)
    trait = "cystic" if cystic else "cylindrical"
    return tell(canvas, "bronchiectasis", "lung", marks, diffuse=True, traits=(trait,))


def _airway(
    canvas: Canvas, spot: tuple[int, int, int], marks: Tensor, dice: Chance, *, cystic: bool
) -> None:
    """Paint one airway beside a vessel voxel."""
    outer, wall = dice.log_uniform(2.0, 7.0) / 2, dice.uniform(1.0, 2.2) / 2
    way = _run(canvas, spot, dice)
    aside = torch.linalg.cross(way, dice.direction())
    aside = aside / (aside.norm() + 1e-6)
    middle = point(spot, dice) + aside * (outer + 1.0)
    half = way * outer * dice.uniform(1.5, 4.0)
    where = around(canvas, spot, int(float(half.norm()) + 3 * outer) + 3)
    distance = capsule(where, middle - half, middle + half, dice)
    if cystic:
        bubble = capsule(where, middle + half, middle + half, dice) - outer * dice.uniform(0.4, 1.2)
        distance = torch.minimum(distance, bubble)
    lung = (canvas.lung_mm[where] > 1).float()
    alpha = torch.sigmoid((outer - distance) / 0.3) * lung
    lumen = torch.sigmoid((outer - wall - distance) / 0.3)
    value = dice.uniform(-250, 30) + lumen * (dice.uniform(-1000, -930) - dice.uniform(-150, 0))
    canvas.paint("bronchiectasis", where, alpha, value.clamp(min=-1000))
    marks[where] |= alpha > 0.5


def _run(canvas: Canvas, spot: tuple[int, int, int], dice: Chance) -> Tensor:
    """Direction of the vessel at a voxel, or a random one where it has none."""
    where = around(canvas, spot, 3)
    spots = torch.nonzero(canvas.anatomy[where] == CODE["vessel"]).float()
    if spots.shape[0] < 6:
        return dice.direction()
    centred = spots - spots.mean(dim=0)
    values, ways = torch.linalg.eigh(centred.T @ centred)
    return ways[:, 2] if float(values[2]) > 1.5 * float(values[1]) else dice.direction()
