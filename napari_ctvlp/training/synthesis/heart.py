"""Findings of heart, aorta and oesophagus."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import Canvas, Chance, Painted, around, blob, offsets
from napari_ctvlp.training.synthesis.fields import (
    EVERYWHERE,
    Box,
    capsule,
    centroid,
    depth,
    edge,
    point,
    solid_bone,
    warp,
)
from napari_ctvlp.training.synthesis.focal import spare_bone
from napari_ctvlp.training.synthesis.truth import tell

#: What fluid around the heart does not enter.
FIRM = ("bone", "vertebra", "rib", "aorta", "liver", "stomach", "oesophagus", "trachea", "spleen")
#: Fewest voxels of an organ that is painted on.
ENOUGH = 4000


def pericardial_effusion(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a layer of 5 to 18 mm and 0 to 25 HU around the heart, thicker at the back."""
    heart = canvas.mask("heart")
    if int(heart.sum()) < ENOUGH:
        return None
    thick = dice.log_uniform(5, 18) / 2
    outside = -depth(heart, max(4.0, thick / 1.6))
    middle = centroid(heart) or (0, 0, 0)
    rows = offsets(canvas.box, middle, dice)[..., 1]
    local = thick * (0.6 + 0.7 * torch.sigmoid(rows / 6)) * (1 + 0.2 * dice.noise(canvas.shape, 40))
    blocked = canvas.mask(*FIRM) | ((canvas.hu > 110) & ~heart)
    alpha = torch.sigmoid((outside - 0.8) / 0.4) * torch.sigmoid((local - outside) / 0.6)
    alpha = alpha * ~blocked * ~heart
    value = dice.uniform(0, 25) + dice.uniform(4, 12) * dice.noise(canvas.shape, 5.0)
    canvas.paint("pericardial_effusion", EVERYWHERE, alpha, value)
    size = "small" if thick < 5 else "large" if thick > 7 else "moderate"
    return tell(canvas, "pericardial_effusion", "heart", alpha > 0.5, diffuse=True, traits=(size,))


def coronary_calcification(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint one to five short tubes of 250 to 1200 HU into the fat on the heart."""
    heart = canvas.mask("heart")
    if int(heart.sum()) < ENOUGH:
        return None
    outside = -depth(heart, 3.0)
    near = (outside > -1) & (outside < 4) & ~canvas.lung & ~canvas.mask(*FIRM)
    middle = centroid(heart) or (0, 0, 0)
    rows = offsets(canvas.box, middle, dice)
    front = (rows[..., 1] < 8) & (rows[..., 0] < 12)
    fat = near & front & (canvas.hu < -20) & (canvas.hu > -140)
    count, marks = dice.integer(1, 5), torch.zeros_like(heart)
    chain = canvas.spot(fat if int(fat.sum()) > 60 else near & front & (outside.abs() < 1.5), dice)
    if chain is None:
        return None
    for _ in range(count):
        where = around(canvas, chain, 9)
        radius = dice.uniform(0.6, 1.25)
        start = point(chain, dice) + dice.uniform(-5, 5) * dice.direction()
        end = start + dice.uniform(0.5, 5.0) * dice.direction(0.7, 1.0, 1.0)
        alpha = torch.sigmoid((radius - capsule(where, start, end, dice)) / 0.25)
        alpha = alpha * (outside[where] > -1.5) * ~canvas.lung[where]
        canvas.paint("coronary_calcification", where, alpha, dice.log_uniform(350, 1200))
        marks[where] |= alpha > 0.5
    amount = "mild" if count < 3 else "severe" if count > 4 else "moderate"
    return tell(canvas, "coronary_calcification", "heart", marks, diffuse=True, traits=(amount,))


def aortic_calcification(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint one to four plaques of 350 to 1200 HU on the wall of the aorta."""
    aorta = canvas.mask("aorta")
    if int(aorta.sum()) < 600:
        return None
    wall, marks = edge(aorta), torch.zeros_like(aorta)
    for _ in range(dice.integer(1, 4)):
        centre = canvas.spot(aorta & (wall > 0.6), dice)
        if centre is None:
            continue
        shape = blob(canvas, centre, dice.log_uniform(3, 12), dice, axes=(0.6, 1.4), irregular=0.2)
        alpha = spare_bone(canvas, shape, wall[shape.where] * shape.soft(0.5))
        alpha = alpha * ~canvas.lung[shape.where]
        canvas.paint("aortic_calcification", shape.where, alpha, dice.log_uniform(350, 1200))
        marks[shape.where] |= alpha > 0.5
    return tell(canvas, "aortic_calcification", "aorta", marks, diffuse=True)


def aortic_aneurysm(canvas: Canvas, dice: Chance) -> Painted | None:
    """Widen a stretch of the aorta to 36 mm or more, some with thrombus on one wall."""
    aorta = canvas.mask("aorta")
    spot = canvas.spot(aorta, dice)
    if spot is None:
        return None
    line = _centreline(aorta, spot, dice)
    if line is None:
        return None
    centre, radius = line
    factor = min(max(dice.uniform(21, 38) / 2 / radius / 0.72, 1.6), 3.2)
    length = dice.uniform(10, 22)
    reach = 2.2 * factor * radius
    where = around(canvas, spot, int(max(reach, 2.2 * length)))
    offset = offsets(where, (0, 0, 0), dice)
    along = offset[..., 0] - spot[0]
    local = 1 + (factor - 1) * torch.exp(-((along / length) ** 2))
    away = offset[..., 1:] - centre[where[0], None, None]
    share = (away.norm(dim=-1) / reach).clamp(0, 1)
    pull = (1 - 1 / local) * (1 - share**2 * (3 - 2 * share)) * (1 - solid_bone(canvas)[where])
    source = torch.cat([offset[..., :1], offset[..., 1:] - pull[..., None] * away], dim=-1)
    warp(canvas, where, source)
    wide = canvas.mask("aorta")[where] & (local > 1.25) & (share < 0.8)
    canvas.label("aortic_aneurysm", where, wide)
    traits = _thrombus(canvas, where, away, wide, dice)
    return _measured(canvas, where, wide, traits)


def hiatal_hernia(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a pouch of 26 to 64 mm behind the heart: wall, air in front, fluid behind."""
    place = canvas.mask("oesophagus")
    if canvas.up is not None:
        place = place & (canvas.up > 0.25) & (canvas.up < 1.2)
    centre = canvas.spot(place, dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, dice.uniform(13, 30), dice, axes=(0.8, 1.2), irregular=0.08)
    size = tuple(shape.distance.shape)
    firm = canvas.mask("aorta", "heart", "liver", "trachea", "bone", "vertebra", "rib")[shape.where]
    alpha = shape.soft(0.6) * ~firm
    inner = torch.sigmoid((0.82 - shape.distance) * shape.radius / 0.4)
    rows = offsets(shape.where, centre, dice)[..., 1]
    level = dice.uniform(-0.6, 0.5) * shape.radius
    food = dice.uniform(0, 40) + dice.uniform(5, 45) * dice.noise(size, 6.0)
    air = torch.sigmoid((level - rows) / 0.4)
    content = food + air * (-950 - food)
    wall = dice.uniform(35, 70) + 8 * dice.noise(size, 4.0)
    canvas.paint("hiatal_hernia", shape.where, alpha, wall + inner * (content - wall))
    return tell(canvas, "hiatal_hernia", "oesophagus", shape.distance < 1.5, shape.where)


def _centreline(
    aorta: Tensor, spot: tuple[int, int, int], dice: Chance
) -> tuple[Tensor, float] | None:
    """Middle (p, l) of the aorta in each slice near a voxel, shape (i, 2), and its radius."""
    window = torch.zeros_like(aorta)
    window[:, max(0, spot[1] - 11) : spot[1] + 12, max(0, spot[2] - 11) : spot[2] + 12] = True
    part = (aorta & window).float()
    area = part.sum(dim=(1, 2))
    radius = float((area[spot[0]] / torch.pi).sqrt())
    if not 3.0 < radius < 10.0:
        return None
    rows = torch.arange(aorta.shape[1], device=dice.device).view(1, -1, 1)
    columns = torch.arange(aorta.shape[2], device=dice.device).view(1, 1, -1)
    sums = torch.stack([(part * rows).sum(dim=(1, 2)), (part * columns).sum(dim=(1, 2))], dim=1)
    middle = sums[spot[0]] / area[spot[0]]
    known = (area > 10)[:, None]
    line = torch.where(known, sums / area.clamp(min=1)[:, None], middle)
    smoothed = torch.nn.functional.avg_pool1d(line.T[None], 5, 1, 2, count_include_pad=False)
    return smoothed[0].T, radius


def _thrombus(
    canvas: Canvas, where: Box, away: Tensor, wide: Tensor, dice: Chance
) -> tuple[str, ...]:
    """Fill one side of a widened, enhanced aorta with clot of 30 to 50 HU."""
    if not wide.any() or float(canvas.hu[where][wide].mean()) < 100 or dice.chance(0.5):
        return ()
    lean = dice.direction()[1:]
    outer = away @ lean + 0.5 * away.norm(dim=-1)
    level = outer[wide].quantile(dice.uniform(0.5, 0.75))
    alpha = torch.sigmoid((outer - level) / 0.6) * wide
    canvas.paint("", where, alpha, dice.uniform(30, 50))
    return ("mural thrombus",)


def _measured(canvas: Canvas, where: Box, wide: Tensor, traits: tuple[str, ...]) -> Painted | None:
    """Describe an aneurysm by its widest slice across, not by its length."""
    told = tell(canvas, "aortic_aneurysm", "aorta", wide, where, traits=traits)
    if told is None:
        return None
    area = float(wide.sum(dim=(1, 2)).max())
    width = 2 * 2.0 * (area / torch.pi) ** 0.5
    if width < 36:
        canvas.found[where][wide] = 0
        return None
    return Painted(told.finding, told.organ, "", width, "", traits)
