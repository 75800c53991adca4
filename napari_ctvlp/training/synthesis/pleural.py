"""Findings of the pleural space: effusion, pneumothorax, thickening."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import Canvas, Chance, Painted, blob
from napari_ctvlp.training.synthesis.truth import tell

EVERYWHERE = (slice(None), slice(None), slice(None))


def effusion(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint fluid that lies at the back of one lung or clings to its surface."""
    lung = _one_side(canvas, dice)
    if lung is None:
        return None
    wraps = dice.chance(0.2)
    level = _crescent(canvas, dice, 1) if wraps else _level(canvas, lung, dice, back=True)
    if level is None:
        return None
    alpha = torch.sigmoid(level / 0.7) * lung
    traits: tuple[str, ...] = ("loculated",) if wraps else ("layering",)
    if dice.chance(0.5):
        traits = (*traits, "with atelectasis")
        rim = torch.sigmoid((level + dice.uniform(4, 14) / 2) / 0.8) * lung * (1 - alpha)
        canvas.paint("atelectasis", EVERYWHERE, rim, dice.uniform(20, 80))
    value = dice.uniform(-5, 28) + dice.uniform(5, 18) * dice.noise(canvas.shape, 5.0)
    canvas.paint("effusion", EVERYWHERE, alpha, value)
    return tell(canvas, "effusion", "lung", alpha > 0.5, diffuse=True, traits=traits)


def pneumothorax(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint free air at the front of one lung, the pleural line and denser lung behind."""
    lung = _one_side(canvas, dice, air=True)
    if lung is None:
        return None
    level = (
        _crescent(canvas, dice, -1) if dice.chance(0.4) else _level(canvas, lung, dice, back=False)
    )
    if level is None:
        return None
    alpha = torch.sigmoid(level / 0.5) * lung
    line = torch.exp(-(((level + 0.6) / 0.6) ** 2)) * lung
    canvas.hu += dice.uniform(0, 90) * lung * (1 - alpha)
    canvas.paint("", EVERYWHERE, line * dice.uniform(0.3, 0.8), dice.uniform(-350, 0))
    canvas.paint("pneumothorax", EVERYWHERE, alpha, dice.uniform(-1005, -985))
    return tell(canvas, "pneumothorax", "lung", alpha > 0.5, diffuse=True)


def pleural_thickening(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a plaque of 2.4 to 8 mm on the lateral wall, some calcified."""
    depth = canvas.lung_mm
    centre = canvas.spot((depth > 0) & (depth < 4) & (canvas.across.abs() > 0.55), dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, dice.uniform(20, 60) / 1.5, dice, axes=(0.7, 1.3), irregular=0.25)
    lateral = canvas.across[shape.where].abs() > 0.5
    thick = dice.uniform(2.4, 8.0) * (1 + 0.25 * dice.noise(tuple(shape.distance.shape), 14.0))
    inside = depth[shape.where]
    sheet = torch.sigmoid((thick - inside) / 1.2) * torch.sigmoid((inside + 1.5) / 0.6)
    alpha = sheet * shape.soft(1.0) * lateral
    calcified = dice.chance(0.3)
    value = dice.uniform(150, 500) if calcified else dice.uniform(30, 80)
    canvas.paint("pleural_thickening", shape.where, alpha, value)
    traits = ("calcified",) if calcified else ()
    return tell(canvas, "pleural_thickening", "lung", alpha > 0.5, shape.where, traits=traits)


def _one_side(canvas: Canvas, dice: Chance, *, air: bool = False) -> Tensor | None:
    """Return one lung of the canvas as 0 or 1, for fluid up to the wall; None when it is small."""
    sizes = [float((canvas.side == number).sum()) for number in (1, 2)]
    if max(sizes) < 4000:
        return None
    number = 1 + dice.pick([s if s > 4000 else 0.0 for s in sizes])
    lung = canvas.side == number
    return (lung if air else canvas.to_wall(lung)).float()


def _level(canvas: Canvas, lung: Tensor, dice: Chance, *, back: bool) -> Tensor | None:
    """Height in voxels above a fluid or air level; None when the crop cuts the lung there."""
    rows = torch.arange(canvas.shape[1], device=dice.device).view(1, -1, 1)
    inside = lung > 0
    if back:
        edge = torch.where(inside, rows, -1).amax(dim=(1, 2))
        cut = edge == canvas.shape[1] - 1
    else:
        edge = torch.where(inside, rows, canvas.shape[1]).amin(dim=(1, 2))
        cut = edge == 0
    occupied = inside.any(dim=2).any(dim=1)
    if float((cut & occupied).sum()) > 0.3 * float(occupied.sum()):
        return None
    thick = dice.log_uniform(8, 76) / 2
    height = torch.arange(canvas.shape[0], device=dice.device).float() / canvas.shape[0]
    if back:
        height = 1 - height
    depth = thick * (1 - dice.uniform(0.0, 1.4) * height).view(-1, 1, 1)
    far = edge.view(-1, 1, 1) - rows if back else rows - edge.view(-1, 1, 1)
    meniscus = dice.uniform(0, 6) * torch.exp(-canvas.lung_mm.clamp(min=0) / 8)
    level = depth - far + meniscus * (depth > 0) + 0.5 * dice.noise(canvas.shape, 24.0)
    return torch.where((occupied & ~cut).view(-1, 1, 1), level, torch.full_like(level, -50.0))


def _crescent(canvas: Canvas, dice: Chance, down: int) -> Tensor:
    """Depth of a layer along the lung's surface in voxels; fluid (1) sinks, air (-1) rises."""
    thick = dice.log_uniform(6, 30) / 2
    fall = torch.tensor([0.5 * down, 1.0 * down, 0.0], device=dice.device)
    lean = torch.nn.functional.normalize(fall + 0.7 * dice.direction(), dim=0)
    ranges = [torch.linspace(-1, 1, n, device=dice.device) for n in canvas.shape]
    along = torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1) @ lean
    return thick * (0.35 + along) - canvas.lung_mm / 2
