"""Findings of the skeleton: lytic and sclerotic lesions, fractures of a vertebra."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.synthesis.canvas import Canvas, Chance, Painted, around, blob, offsets
from napari_ctvlp.training.synthesis.fields import warp
from napari_ctvlp.training.synthesis.truth import tell

BONES = ("bone", "vertebra", "rib")
#: Organ ids of the vertebrae that are fractured: L5 up to T1.
SPINE = (27, 43)
#: Fewest voxels of a vertebra that the crop must hold.
ENOUGH = 1800


def lytic_lesion(canvas: Canvas, dice: Chance) -> Painted | None:
    """Replace bone of 8 to 36 mm by soft tissue of 20 to 80 HU, some beyond the cortex."""
    picked = _place(canvas, dice)
    if picked is None:
        return None
    bone, centre = picked
    shape = blob(canvas, centre, dice.log_uniform(4, 16), dice, irregular=dice.uniform(0.08, 0.25))
    alpha = shape.soft(dice.uniform(0.4, 0.8))
    spreads = dice.chance(0.35)
    if not spreads:
        alpha = alpha * bone[shape.where]
    alpha = alpha * ~canvas.lung[shape.where]
    size = tuple(alpha.shape)
    value = dice.uniform(20, 80) + dice.uniform(4, 14) * dice.noise(size, 5.0)
    canvas.paint("lytic_lesion", shape.where, alpha, value)
    traits = ("soft tissue component",) if spreads else ()
    return tell(canvas, "lytic_lesion", "bones", alpha > 0.5, shape.where, traits=traits)


def sclerotic_lesion(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint dense bone of 6 to 28 mm and 500 to 1200 HU into bone."""
    picked = _place(canvas, dice)
    if picked is None:
        return None
    bone, centre = picked
    shape = blob(canvas, centre, dice.log_uniform(3.2, 14), dice, irregular=dice.uniform(0.08, 0.3))
    alpha = shape.soft(dice.uniform(0.5, 1.0)) * bone[shape.where]
    value = dice.uniform(550, 1100) + dice.uniform(20, 90) * dice.noise(tuple(alpha.shape), 5.0)
    value = torch.maximum(value, canvas.hu[shape.where])
    canvas.paint("sclerotic_lesion", shape.where, alpha, value)
    return tell(canvas, "sclerotic_lesion", "bones", alpha > 0.5, shape.where)


def vertebral_fracture(canvas: Canvas, dice: Chance) -> Painted | None:
    """Press one vertebra down by 25 to 60 % at its front, less at its back.

    The tissue above sinks with it and is stretched over 16 mm; beside the vertebra the field
    dies out. HU rise where bone is pressed together.
    """
    picked = _vertebra(canvas, dice)
    if picked is None:
        return None
    mask, number = picked
    spots = torch.nonzero(mask).float()
    front = spots[:, 1] < spots[:, 1].quantile(0.45)
    body = spots[front]
    top, foot = body[:, 0].quantile(0.03), body[:, 0].quantile(0.97)
    height, loss = float(foot - top) + 1, dice.uniform(0.25, 0.6)
    wedge = dice.chance(0.6)
    low, high = body[:, 1:].amin(dim=0), body[:, 1:].amax(dim=0)
    middle, half = (low + high) / 2, (high - low) / 2 + 1
    i, p, l = body.mean(dim=0).round().int().tolist()  # noqa: E741 - the axis is called L
    where = around(canvas, (i, p, l), 26)
    here = offsets(where, (0, 0, 0), dice)
    share = ((here[..., 1:] - middle).abs() - half).clamp(min=0).norm(dim=-1) / 6
    local = loss * height * torch.exp(-(share**2))
    if wedge:
        local = local * (1 - 0.7 * ((here[..., 1] - low[0]) / (high[0] - low[0])).clamp(0, 1))
    source = torch.cat([_pressed(here[..., 0], float(top), float(foot), local)[..., None],
                        here[..., 1:]], dim=-1)  # fmt: skip
    warp(canvas, where, source)
    if canvas.ids is None:
        return None
    flat = (canvas.ids[where] == number) & canvas.mask("vertebra")[where]
    squeezed = (local / height).clamp(0, 0.7) * flat
    canvas.hu[where] += squeezed * dice.uniform(40, 180)
    canvas.label("vertebral_fracture", where, flat)
    traits = ("wedge",) if wedge else ("compression",)
    return tell(canvas, "vertebral_fracture", "bones", flat, where, diffuse=True, traits=traits)


def _pressed(rows: Tensor, top: float, foot: float, loss: Tensor) -> Tensor:
    """Where a row came from: bone between its new top and its foot, stretched tissue above."""
    margin = 8.0
    new_top = top + loss
    inside = foot - (foot - rows) * (foot - top) / (foot - new_top).clamp(min=1)
    above = top - (new_top - rows) * margin / (margin + loss)
    source = torch.where(rows >= new_top, inside, above)
    untouched = (rows >= foot) | (rows <= top - margin)
    return torch.where(untouched, rows, source)


def _place(canvas: Canvas, dice: Chance) -> tuple[Tensor, tuple[int, int, int]] | None:
    """Draw a voxel in bone, thick bone twice of three times; return the bone, marrow included."""
    bone = canvas.mask(*BONES)
    share = functional.avg_pool3d(bone.float()[None, None], 5, 1, 2)[0, 0]
    thick = bone & (share > 0.75)
    centre = canvas.spot(thick, dice) if dice.chance(0.7) else None
    centre = centre or canvas.spot(bone & (share > 0.35), dice)
    return None if centre is None else (share > 0.4, centre)


def _vertebra(canvas: Canvas, dice: Chance) -> tuple[Tensor, int] | None:
    """Return a vertebra that lies whole in the crop, and its organ id."""
    if canvas.ids is None:
        return None
    vertebra = canvas.mask("vertebra") & canvas.free
    numbers, counts = torch.unique(canvas.ids[vertebra], return_counts=True)
    whole = [
        int(n)
        for n, count in zip(numbers, counts, strict=True)
        if SPINE[0] <= int(n) <= SPINE[1] and int(count) > ENOUGH
    ]
    whole = [n for n in whole if not _cut(canvas.ids == n)]
    if not whole:
        return None
    number = whole[dice.integer(0, len(whole) - 1)]
    return vertebra & (canvas.ids == number), number


def _cut(mask: Tensor) -> bool:
    """Tell whether a mask reaches the upper or lower end of the crop."""
    return bool(mask[:6].any() or mask[-3:].any())
