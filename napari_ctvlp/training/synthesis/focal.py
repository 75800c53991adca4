"""Findings with a place of their own in the chest: nodules, masses, cavities, nodes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.synthesis import graft
from napari_ctvlp.training.synthesis.canvas import (
    CODE,
    FINDINGS,
    Blob,
    Canvas,
    Chance,
    Painted,
    blob,
)
from napari_ctvlp.training.synthesis.grain import texture
from napari_ctvlp.training.synthesis.truth import tell

#: How often a mass lies in a consolidation that is there, as one that shuts its bronchus does.
OBSTRUCTING = 0.6
#: How often a mass is a real one set in, where there are any.
GRAFTED = 0.5


def nodule(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a nodule of 4 to 30 mm: solid, part-solid or ground glass, smooth or spiculated.

    Diameters are log-uniform, so that as many lie below 10 mm as above.
    """
    radius = dice.log_uniform(2.2, 13.0)
    centre = canvas.spot(_nodule_place(canvas, dice), dice)
    if centre is None:
        return None
    spiky = radius > 5 and dice.chance(0.35)
    rough = dice.uniform(0.03, 0.24)
    shape = blob(canvas, centre, radius, dice, irregular=rough, spikes=spiky)
    kind = dice.pick([0.74, 0.13, 0.13]) if radius > 3.5 else 0
    if kind == 0:
        _solid(canvas, "nodule", shape, dice.uniform(-10, 110), dice)
    else:
        _subsolid(canvas, shape, dice, core=kind == 1)
    margin = "spiculated" if spiky else "lobulated" if rough > 0.17 else "smooth"
    return _told(canvas, "nodule", shape, (("solid", "part-solid", "ground-glass")[kind], margin))


def calcified_nodule(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a nodule with calcium: 400 to 1000 HU before its edge mixes with lung."""
    centre = canvas.spot(_nodule_place(canvas, dice), dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, dice.log_uniform(3.2, 10.0), dice)
    _solid(canvas, "calcified_nodule", shape, dice.log_uniform(400, 1000), dice)
    return _told(canvas, "calcified_nodule", shape, ("calcified",))


def mass(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a mass of 32 to 100 mm, some with a necrotic core, a haze or spicules.

    Half of them are real tumours of other CTs, where the canvas has any.
    """
    centre = canvas.spot(_mass_place(canvas, dice), dice)
    if centre is None:
        return None
    if canvas.grafts and dice.chance(GRAFTED):
        real = canvas.grafts[dice.integer(0, len(canvas.grafts) - 1)]
        return tell(canvas, "mass", "lung", graft.place(canvas, real, centre, dice))
    radius, rough = dice.log_uniform(16, 46), dice.uniform(0.06, 0.22)
    spiky = dice.chance(0.5)
    shape = blob(canvas, centre, radius, dice, axes=(0.8, 1.2), irregular=rough, spikes=spiky)
    if dice.chance(0.25):
        _haze(canvas, shape, dice)
    alpha = spare_bone(canvas, shape, shape.soft(dice.uniform(0.6, 1.6)))
    value = dice.uniform(5, 85) + texture(canvas, tuple(shape.distance.shape), dice)
    traits = ["spiculated" if spiky else "lobulated" if rough > 0.17 else "smooth"]
    if dice.chance(0.4):
        core = torch.sigmoid((dice.uniform(0.45, 0.75) - shape.distance) * 8)
        value = value + core * (dice.uniform(0, 25) - value)
        traits.append("necrotic")
    canvas.paint("mass", shape.where, alpha, value)
    return _told(canvas, "mass", shape, tuple(traits))


def cavity(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a cavity: a soft wall around air, some with a fluid level."""
    radius = dice.log_uniform(8, 36)
    centre = canvas.spot(canvas.lung_mm > 4, dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, radius, dice, irregular=dice.uniform(0.05, 0.2))
    value = dice.uniform(0, 70) + texture(canvas, tuple(shape.distance.shape), dice)
    inner = dice.uniform(0.45, 0.85)
    shift = shape.distance + 0.12 * dice.noise(tuple(shape.distance.shape), radius)
    hollow = torch.sigmoid((inner - shift) * shape.radius / 0.6)
    inside = torch.full_like(hollow, dice.uniform(-1000, -850))
    traits = ["thin-walled" if inner > 0.75 else "thick-walled"]
    if dice.chance(0.3):
        level = dice.uniform(0.5, 0.65)
        rows = torch.arange(hollow.shape[1], device=hollow.device).view(1, -1, 1)
        back = rows > hollow.shape[1] * level
        inside = torch.where(back.expand_as(inside), dice.uniform(0, 30), inside)
        traits.append("fluid level")
    value = value + hollow * (inside - value)
    alpha = spare_bone(canvas, shape, shape.soft(dice.uniform(0.5, 1.0)))
    canvas.paint("cavity", shape.where, alpha, value)
    return _told(canvas, "cavity", shape, tuple(traits))


def lymph_node(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint an enlarged node of 10 to 30 mm into mediastinal fat or beside a hilum."""
    hilar = dice.chance(0.35)
    near_root = canvas.across.abs() < 0.5
    if hilar:
        large = functional.avg_pool3d(canvas.mask("vessel").float()[None, None], 5, 1, 2)[0, 0]
        place = (large > 0.5) & near_root & (canvas.lung_mm < 22)
    else:
        fat = (canvas.hu > -130) & (canvas.hu < -40) & ~canvas.lung
        place = fat & canvas.mask("soft_tissue", "unknown") & near_root & (canvas.lung_mm > -36)
    if canvas.up is not None:
        place = place & (canvas.up < 0.7) & (canvas.up > -1.1)
    if canvas.deep is not None:
        place = place & canvas.deep
    centre = canvas.spot(place, dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, dice.log_uniform(5, 14), dice, axes=(0.75, 1.3))
    alpha = spare_bone(canvas, shape, shape.soft(dice.uniform(0.5, 0.9)))
    if not hilar:
        alpha = alpha * ~canvas.lung[shape.where]
    canvas.paint(
        "lymph_node",
        shape.where,
        alpha,
        dice.uniform(20, 80) + texture(canvas, tuple(shape.distance.shape), dice),
    )
    place_name = "hilar" if hilar else "mediastinal"
    return tell(canvas, "lymph_node", "mediastinum", alpha > 0.5, shape.where, place=place_name)


def spare_bone(canvas: Canvas, shape: Blob, alpha: Tensor) -> Tensor:
    """Leave bone unpainted."""
    part = canvas.anatomy[shape.where]
    bone = (part == CODE["bone"]) | (part == CODE["rib"]) | (part == CODE["vertebra"])
    return alpha * ~bone


def _nodule_place(canvas: Canvas, dice: Chance) -> Tensor:
    """Anywhere in the lung, near the pleura, beside a vessel or near the hilum."""
    lung = canvas.lung_mm > 2
    kind = dice.pick([0.30, 0.25, 0.30, 0.15])
    if kind == 1:
        return lung & (canvas.lung_mm < 8)
    if kind == 2:
        vessel = canvas.mask("vessel")
        near = functional.max_pool3d(vessel.float()[None, None], 5, 1, 2)[0, 0] > 0
        return lung & near & ~vessel
    if kind == 3:
        return lung & (canvas.across.abs() < 0.5)
    return lung


def _mass_place(canvas: Canvas, dice: Chance) -> Tensor:
    """In consolidated lung where there is some, in the lung, on the pleura or at its root."""
    filled = canvas.found == FINDINGS.index("consolidation") + 1
    if bool(filled.any()) and dice.chance(OBSTRUCTING):
        return filled
    kind, depth = dice.pick([1.0, 1.0, 1.2]), canvas.lung_mm
    if kind == 0:
        place = depth > 6
    elif kind == 1:
        place = (depth > -6) & (depth < 8)
    else:
        place = (depth > -14) & (depth < 14) & (canvas.across.abs() < 0.5)
    return place & ~canvas.mask("bone", "rib", "vertebra")


def _solid(canvas: Canvas, name: str, shape: Blob, value: float, dice: Chance) -> None:
    edge = min(dice.uniform(0.4, 0.8), 0.4 * shape.radius)
    alpha = spare_bone(canvas, shape, shape.soft(edge))
    canvas.paint(
        name, shape.where, alpha, value + texture(canvas, tuple(shape.distance.shape), dice)
    )


def _subsolid(canvas: Canvas, shape: Blob, dice: Chance, *, core: bool) -> None:
    """Paint ground glass of -750 to -400 HU, with a solid core or without."""
    value = dice.uniform(-680, -420) + texture(canvas, tuple(shape.distance.shape), dice)
    hu = canvas.hu[shape.where]
    alpha = spare_bone(canvas, shape, shape.soft(dice.uniform(0.6, 1.0)))
    canvas.paint("nodule", shape.where, alpha, torch.maximum(value, hu))
    if core:
        share = dice.uniform(0.45, 0.75)
        inner = torch.sigmoid((share - shape.distance) * shape.radius / 0.6)
        canvas.paint("", shape.where, inner * alpha, dice.uniform(-50, 60))


def _told(canvas: Canvas, finding: str, shape: Blob, traits: tuple[str, ...]) -> Painted | None:
    mask = shape.distance < 1.5
    if float(canvas.lung_mm[shape.where][mask].amin()) < 0:
        traits = (*traits, "subpleural")
    return tell(canvas, finding, "lung", mask, shape.where, traits=traits)


def _haze(canvas: Canvas, shape: Blob, dice: Chance) -> None:
    """Ground glass around a mass."""
    rim = torch.sigmoid((1.5 - shape.distance) * 5) * (canvas.lung_mm[shape.where] > 0)
    hu = canvas.hu[shape.where]
    canvas.hu[shape.where] = hu + rim * dice.uniform(80, 250) * ((-150 - hu) / 650).clamp(0, 1)
