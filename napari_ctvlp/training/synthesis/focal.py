"""Findings with a place of their own: nodules, masses, cavities, calcifications, nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import Blob, Canvas, Chance, blob

BONE, VESSEL = 11, 2
#: Classes where mediastinal fat may lie: soft tissue and unknown.
SOFT = (12, 13)


def nodule(canvas: Canvas, dice: Chance) -> bool:
    """Paint a nodule of 3 to 15 mm radius: solid or part-solid, smooth or spiculated."""
    radius = dice.log_uniform(3.2, 15.0)
    centre = canvas.spot(_nodule_place(canvas, dice), dice)
    if centre is None:
        return False
    spiky = radius > 6 and dice.chance(0.35)
    shape = blob(canvas, centre, radius, dice, irregular=dice.uniform(0.03, 0.22), spikes=spiky)
    value = dice.uniform(-250, 0) if dice.chance(0.15) else dice.uniform(-10, 110)
    _solid(canvas, "nodule", shape, value, dice, dice.uniform(0.45, 0.9))
    return True


def calcified_nodule(canvas: Canvas, dice: Chance) -> bool:
    """Paint a nodule with calcium: 220 to 900 HU."""
    centre = canvas.spot(_nodule_place(canvas, dice), dice)
    if centre is None:
        return False
    shape = blob(canvas, centre, dice.log_uniform(3.4, 10.0), dice)
    value = dice.log_uniform(280, 950)
    _solid(canvas, "calcified_nodule", shape, value, dice, dice.uniform(0.45, 0.7))
    return True


def mass(canvas: Canvas, dice: Chance) -> bool:
    """Paint a mass of 16 to 44 mm radius, some with a necrotic core, a haze or spicules."""
    kind = dice.pick([1.0, 1.0, 1.2])
    depth = canvas.lung_mm
    if kind == 0:
        place = depth > 6
    elif kind == 1:
        place = (depth > -6) & (depth < 8)
    else:
        place = (depth > -14) & (depth < 14) & (canvas.across.abs() < 0.5)
    centre = canvas.spot(place & (canvas.anatomy != BONE), dice)
    if centre is None:
        return False
    radius, rough = dice.log_uniform(16, 44), dice.uniform(0.08, 0.3)
    spiky = dice.chance(0.5)
    shape = blob(canvas, centre, radius, dice, axes=(0.7, 1.35), irregular=rough, spikes=spiky)
    if dice.chance(0.25):
        _haze(canvas, shape, dice)
    alpha = _spare_bone(canvas, shape, shape.soft(dice.uniform(0.6, 1.6)))
    value = dice.uniform(5, 85) + _texture(shape, dice)
    if dice.chance(0.4):
        core = torch.sigmoid((dice.uniform(0.45, 0.75) - shape.distance) * 8)
        value = value + core * (dice.uniform(0, 25) - value)
    canvas.paint("mass", shape.where, alpha, value)
    return True


def cavity(canvas: Canvas, dice: Chance) -> bool:
    """Paint a cavity: a soft wall around air, some with a fluid level."""
    radius = dice.log_uniform(10, 36)
    centre = canvas.spot(canvas.lung_mm > 4, dice)
    if centre is None:
        return False
    shape = blob(canvas, centre, radius, dice, irregular=dice.uniform(0.05, 0.2))
    value = dice.uniform(0, 70) + _texture(shape, dice)
    inner = dice.uniform(0.45, 0.85)
    shift = shape.distance + 0.12 * dice.noise(tuple(shape.distance.shape), radius)
    hollow = torch.sigmoid((inner - shift) * shape.radius / 0.6)
    inside = torch.full_like(hollow, dice.uniform(-1000, -850))
    if dice.chance(0.3):
        rows = torch.arange(hollow.shape[1]).view(1, -1, 1)
        back = rows > hollow.shape[1] * dice.uniform(0.5, 0.65)
        inside = torch.where(back.expand_as(inside), dice.uniform(0, 30), inside)
    value = value + hollow * (inside - value)
    alpha = _spare_bone(canvas, shape, shape.soft(dice.uniform(0.5, 1.0)))
    canvas.paint("cavity", shape.where, alpha, value)
    return True


def lymph_node(canvas: Canvas, dice: Chance) -> bool:
    """Paint an enlarged node of 5 to 14 mm radius into mediastinal fat."""
    fat = (canvas.hu > -130) & (canvas.hu < -40) & (canvas.side == 0)
    soft = (canvas.anatomy == SOFT[0]) | (canvas.anatomy == SOFT[1])
    place = fat & soft & (canvas.across.abs() < 0.42) & (canvas.lung_mm > -36)
    centre = canvas.spot(place, dice)
    if centre is None:
        return False
    shape = blob(canvas, centre, dice.log_uniform(5, 14), dice, axes=(0.75, 1.3))
    alpha = shape.soft(dice.uniform(0.5, 0.9)) * (canvas.side[shape.where] == 0)
    alpha = alpha * (canvas.anatomy[shape.where] != BONE)
    canvas.paint("lymph_node", shape.where, alpha, dice.uniform(20, 80) + _texture(shape, dice))
    return True


def healthy_patch(canvas: Canvas, dice: Chance) -> bool:
    """Copy healthy lung over healthy lung with the soft edge of a nodule: no finding."""
    centre = canvas.spot(canvas.lung_mm > 8, dice)
    other = canvas.spot((canvas.lung_mm > 8) & (canvas.anatomy != VESSEL), dice)
    if centre is None or other is None:
        return False
    shape = blob(canvas, centre, dice.log_uniform(3.6, 24), dice)
    source = tuple(
        slice(o - c + s.start, o - c + s.stop)
        for o, c, s in zip(other, centre, shape.where, strict=True)
    )
    fits = all(s.start >= 0 and s.stop <= n for s, n in zip(source, canvas.shape, strict=True))
    if not fits or bool(canvas.found[shape.where].any() or canvas.found[source].any()):
        return False
    healthy = canvas.lung_mm[source] > 3
    alpha = shape.soft(dice.uniform(0.45, 0.9)) * healthy * (canvas.lung_mm[shape.where] > 3)
    canvas.paint("", shape.where, alpha, canvas.hu[source].clone())
    return True


def tube(canvas: Canvas, dice: Chance) -> bool:
    """Paint a vessel-like tube into a lung: a hard negative for nodules."""
    centre = canvas.spot(canvas.lung_mm > 5, dice)
    if centre is None:
        return False
    radius = dice.uniform(2.0, 5.6)
    shape = blob(canvas, centre, radius * dice.uniform(4.5, 9.0) / 2, dice, axes=(1.0, 1.0))
    ranges = [torch.arange(s.start, s.stop) - c for s, c in zip(shape.where, centre, strict=True)]
    offset = torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1).float()
    axis = dice.rotation()
    bend = dice.uniform(-0.03, 0.03)
    along = offset @ axis[0]
    across = torch.stack([offset @ axis[1] + bend * along**2, offset @ axis[2]]).norm(dim=0)
    alpha = torch.sigmoid((radius / 2 - across) / 0.5) * shape.soft(0.8)
    alpha = alpha * (canvas.lung_mm[shape.where] > 0)
    canvas.paint("", shape.where, alpha, dice.uniform(10, 80))
    canvas.anatomy[shape.where][alpha > 0.5] = VESSEL
    return True


def _nodule_place(canvas: Canvas, dice: Chance) -> Tensor:
    """Anywhere in the lung, near the pleura, beside a vessel or near the hilum."""
    lung = canvas.lung_mm > 2
    kind = dice.pick([0.30, 0.25, 0.30, 0.15])
    if kind == 1:
        return lung & (canvas.lung_mm < 8)
    if kind == 2:
        vessel = (canvas.anatomy == VESSEL).float()[None, None]
        near = torch.nn.functional.max_pool3d(vessel, 5, 1, 2)[0, 0] > 0
        return lung & near & (canvas.anatomy != VESSEL)
    if kind == 3:
        return lung & (canvas.across.abs() < 0.5)
    return lung


def _solid(canvas: Canvas, name: str, shape: Blob, value: float, dice: Chance, edge: float) -> None:
    alpha = _spare_bone(canvas, shape, shape.soft(edge))
    canvas.paint(name, shape.where, alpha, value + _texture(shape, dice))


def _texture(shape: Blob, dice: Chance) -> Tensor:
    """Noise of SD 5 to 25 HU."""
    return dice.uniform(5, 25) * dice.noise(tuple(shape.distance.shape), dice.uniform(3, 8))


def _spare_bone(canvas: Canvas, shape: Blob, alpha: Tensor) -> Tensor:
    return alpha * (canvas.anatomy[shape.where] != BONE)


def _haze(canvas: Canvas, shape: Blob, dice: Chance) -> None:
    """Ground glass around a mass."""
    rim = torch.sigmoid((1.5 - shape.distance) * 5) * (canvas.lung_mm[shape.where] > 0)
    hu = canvas.hu[shape.where]
    canvas.hu[shape.where] = hu + rim * dice.uniform(80, 250) * ((-150 - hu) / 650).clamp(0, 1)
