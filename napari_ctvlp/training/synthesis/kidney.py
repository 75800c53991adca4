"""Findings of the kidneys."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import Canvas, Chance, Painted, around, blob
from napari_ctvlp.training.synthesis.fields import capsule, centroid, depth, point
from napari_ctvlp.training.synthesis.truth import tell

#: Fewest voxels of a kidney that is painted on.
ENOUGH = 3000
#: What a cyst does not push away.
FIRM = ("bone", "vertebra", "rib", "aorta", "liver", "spleen")


def kidney_cyst(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a sharp cyst of 8 to 64 mm and 0 to 15 HU that stands out from a kidney."""
    kidney = canvas.mask("kidney")
    inside = depth(kidney, 3.0)
    radius = dice.log_uniform(4, 30)
    centre = canvas.spot(kidney & (inside < 2.5) if radius > 8 else kidney & (inside > 0.5), dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, radius, dice, axes=(0.88, 1.15), irregular=0.04)
    firm = canvas.mask(*FIRM)[shape.where] | canvas.lung[shape.where]
    alpha = shape.soft(min(0.5, 0.3 * shape.radius)) * ~firm
    value = dice.uniform(0, 15) + dice.uniform(2, 8) * dice.noise(tuple(alpha.shape), 4.0)
    canvas.paint("kidney_cyst", shape.where, alpha, value)
    return tell(canvas, "kidney_cyst", "kidney", alpha > 0.5, shape.where)


def kidney_stone(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a stone of 3 to 18 mm and 300 to 1200 HU in the middle of a kidney."""
    kidney = canvas.mask("kidney")
    centre = canvas.spot(kidney & (depth(kidney, 4.0) > 2.0), dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, dice.log_uniform(2.0, 8.0), dice, axes=(0.7, 1.3), irregular=0.15)
    alpha = shape.soft(min(0.4, 0.25 * shape.radius)) * kidney[shape.where]
    canvas.paint("kidney_stone", shape.where, alpha, dice.log_uniform(400, 1200))
    return tell(canvas, "kidney_stone", "kidney", alpha > 0.5, shape.where)


def hydronephrosis(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a wide pelvis and four to eight calices of 0 to 15 HU into one kidney."""
    picked = _one_kidney(canvas, dice)
    if picked is None:
        return None
    kidney, left = picked
    middle = centroid(kidney)
    if middle is None:
        return None
    inside, where = depth(kidney, 4.0), around(canvas, middle, 36)
    inward = torch.tensor([0.0, -0.15, -1.0 if left else 1.0], device=dice.device)
    pelvis = point(middle, dice) + inward * dice.uniform(1.0, 4.0)
    tall = torch.tensor([1.0, 0.0, 0.0], device=dice.device) * dice.uniform(3.0, 6.5)
    wide = dice.uniform(3.0, 6.0)
    pool = torch.sigmoid((wide - capsule(where, pelvis - tall, pelvis + tall, dice)) / 0.5)
    reachable = kidney & (inside > 2.5)
    for _ in range(dice.integer(4, 8)):
        spot = canvas.spot(reachable, dice)
        if spot is None:
            continue
        neck = capsule(where, pelvis, point(spot, dice), dice) - dice.uniform(1.0, 1.8)
        cup = capsule(where, point(spot, dice), point(spot, dice), dice) - dice.uniform(2.0, 4.0)
        pool = torch.maximum(pool, torch.sigmoid(-torch.minimum(neck, cup) / 0.5))
    rind = torch.sigmoid((inside[where] - 1.2) / 0.4)
    firm = canvas.mask(*FIRM)[where] | canvas.lung[where]
    near = depth(kidney, 4.0)[where] > -4
    alpha = pool * torch.where(kidney[where], rind, near.float()) * ~firm
    value = dice.uniform(0, 15) + dice.uniform(2, 8) * dice.noise(tuple(alpha.shape), 4.0)
    canvas.paint("hydronephrosis", where, alpha, value)
    return tell(canvas, "hydronephrosis", "kidney", alpha > 0.5, where, diffuse=True)


def _one_kidney(canvas: Canvas, dice: Chance) -> tuple[Tensor, bool] | None:
    """Return a kidney of which the crop holds enough, and whether it is the left one."""
    both = canvas.mask("kidney")
    halves = [both & (canvas.across > 0), both & (canvas.across <= 0)]
    sizes = [float(half.sum()) for half in halves]
    if max(sizes) < ENOUGH:
        return None
    number = dice.pick([size if size >= ENOUGH else 0.0 for size in sizes])
    return halves[number], number == 0
