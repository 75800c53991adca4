"""Findings of liver, gallbladder, spleen and the space around them."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import VOXEL_MM, Canvas, Chance, Painted, blob, offsets
from napari_ctvlp.training.synthesis.fields import (
    EVERYWHERE,
    blurred,
    centroid,
    depth,
    solid_bone,
    warp,
)
from napari_ctvlp.training.synthesis.scanner import smooth
from napari_ctvlp.training.synthesis.truth import tell

#: Fewest voxels of an organ that is painted on.
ENOUGH = 3000
#: Upper end of a normal spleen (Prassopoulos et al., Eur Radiol 1997: 314 ml), unless 12 cm long.
LARGE_SPLEEN_ML = 315.0


def liver_cyst(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint one to three sharp cysts of 6 to 60 mm and 0 to 15 HU; the largest is told."""
    told = []
    for _ in range(dice.pick([0.6, 0.25, 0.15]) + 1):
        radius = dice.log_uniform(3.2, 28)
        centre = _inside(canvas, "liver", radius, dice)
        if centre is None:
            continue
        shape = blob(canvas, centre, radius, dice, axes=(0.85, 1.2), irregular=0.05)
        alpha = shape.soft(min(0.5, 0.3 * shape.radius)) * canvas.mask("liver")[shape.where]
        value = dice.uniform(0, 15) + dice.uniform(2, 8) * dice.noise(tuple(alpha.shape), 4.0)
        canvas.paint("liver_cyst", shape.where, alpha, value)
        told.append(tell(canvas, "liver_cyst", "liver", alpha > 0.5, shape.where))
    return _largest(told)


def liver_metastasis(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint one to six nodules 20 to 70 HU darker than the liver, some with a bright rim."""
    told, drop, rim = [], dice.uniform(22, 70), dice.chance(0.35)
    many = dice.integer(1, 6)
    traits = (("multiple",) if many > 1 else ()) + (("rim enhancement",) if rim else ())
    for _ in range(many):
        radius = dice.log_uniform(4, 20)
        centre = _inside(canvas, "liver", radius, dice)
        if centre is None:
            continue
        shape = blob(canvas, centre, radius, dice, irregular=dice.uniform(0.05, 0.2))
        liver = canvas.mask("liver")[shape.where]
        alpha = shape.soft(dice.uniform(0.6, 1.3)) * liver
        size = tuple(alpha.shape)
        tissue = float(canvas.hu[shape.where][liver].median())
        core = torch.sigmoid((dice.uniform(0.3, 0.6) - shape.distance) * 6) * dice.uniform(0, 20)
        value = tissue - drop - core + dice.uniform(3, 12) * dice.noise(size, 5.0)
        if rim:
            ring = torch.exp(-(((shape.distance - 0.92) / 0.12) ** 2))
            value = value + ring * (drop + dice.uniform(8, 30))
        canvas.paint("liver_metastasis", shape.where, alpha, value)
        told.append(
            tell(canvas, "liver_metastasis", "liver", alpha > 0.5, shape.where, traits=traits)
        )
    return _largest(told)


def steatosis(canvas: Canvas, dice: Chance) -> Painted | None:
    """Lower the parenchyma of the liver to -10 to 40 HU; vessels keep theirs."""
    liver = canvas.mask("liver")
    if int(liver.sum()) < ENOUGH:
        return None
    before = float(canvas.hu[liver].median())
    target = min(dice.uniform(-10, 40), before - 12)
    cell = dice.uniform(22, 36)
    tubes = torch.maximum(
        dice.noise(canvas.shape, cell).abs(), dice.noise(canvas.shape, cell).abs()
    )
    vessels = torch.sigmoid((dice.uniform(0.1, 0.17) - tubes) * 50)
    bright = torch.sigmoid((smooth(canvas.hu, 0.7) - before - 35) / 8)
    parenchyma = smooth(liver.float(), 0.6) * (1 - torch.maximum(vessels, bright))
    patchy = 1 - dice.uniform(0, 0.15) * (1 + dice.noise(canvas.shape, 60)).clamp(min=0)
    canvas.hu += (target - before) * parenchyma * patchy
    canvas.label("steatosis", EVERYWHERE, liver)
    return tell(canvas, "steatosis", "liver", liver, diffuse=True)


def gallstone(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint one to five stones of 4 to 20 mm, calcified or with a rim, low in the gallbladder."""
    bag = canvas.mask("gallbladder")
    inside = depth(bag, 2.0)
    rows = torch.where(bag, offsets(canvas.box, (0, 0, 0), dice)[..., 1], -1.0)
    if not bag.any():
        return None
    back = bag & (rows > rows[bag].quantile(0.4)) & (inside > 0.3)
    told, rim = [], dice.chance(0.4)
    for _ in range(dice.integer(1, 5)):
        centre = canvas.spot(back, dice)
        if centre is None:
            continue
        room = max(1.2, float(inside[centre]))
        radius = 2 * min(room, dice.log_uniform(1.1, 5.0))
        shape = blob(canvas, centre, radius, dice, axes=(0.85, 1.15), irregular=0.06)
        alpha = shape.soft(0.35) * bag[shape.where]
        value = torch.full_like(alpha, dice.log_uniform(220, 900))
        if rim:
            hollow = torch.sigmoid((0.65 - shape.distance) * shape.radius / 0.4)
            value = value + hollow * (dice.uniform(20, 120) - value)
        canvas.paint("gallstone", shape.where, alpha, value)
        trait = "rim calcified" if rim else "calcified"
        mask = shape.distance < 1.4
        told.append(tell(canvas, "gallstone", "gallbladder", mask, shape.where, traits=(trait,)))
    return _largest(told)


def splenomegaly(canvas: Canvas, dice: Chance) -> Painted | None:
    """Let the spleen grow 1.25 to 1.7 times away from its outer edge; ribs stay."""
    spleen = canvas.mask("spleen")
    middle = centroid(spleen)
    if middle is None or int(spleen.sum()) < 4 * ENOUGH:
        return None
    spots = torch.nonzero(spleen).float()
    outward = spots[:, 2] * (1 if float(canvas.across[middle]) > 0 else -1)
    far = spots[outward >= outward.quantile(0.97)].mean(dim=0)
    anchor = 0.35 * far + 0.65 * spots.mean(dim=0)
    reach = 2.3 * float((spots - anchor).norm(dim=1).quantile(0.9))
    factor = dice.uniform(1.3, 1.9)
    here = offsets(canvas.box, (0, 0, 0), dice)
    away = here - anchor
    share = (away.norm(dim=-1) / reach).clamp(0, 1)
    outer = smooth((canvas.hu < -400).float(), 1.0) * ~canvas.lung
    wall = (8 * blurred(canvas.mask("bone", "rib", "vertebra"), 4.0)).clamp(max=1)
    give = (1 - torch.maximum(solid_bone(canvas), wall)) * (1 - outer)
    pull = (1 - 1 / factor) * (1 - share**2 * (3 - 2 * share)) * give
    warp(canvas, canvas.box, here - pull[..., None] * away)
    grown = canvas.mask("spleen")
    canvas.label("splenomegaly", canvas.box, grown)
    told = tell(canvas, "splenomegaly", "spleen", grown)
    volume_ml = float(grown.sum()) * VOXEL_MM**3 / 1000
    if told is None or (told.size_mm <= 120 and volume_ml <= LARGE_SPLEEN_ML):
        canvas.found[grown] = 0
        return None
    return told


def ascites(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint fluid of 0 to 20 HU around liver, spleen and bowel: the fat there, and a rim."""
    solid = canvas.mask("liver", "spleen")
    bowel = canvas.mask("colon", "small_bowel", "stomach")
    if int(solid.sum()) + int(bowel.sum()) < ENOUGH:
        return None
    thick = dice.log_uniform(5, 24) / 2
    outside = -depth(solid, max(3.0, thick / 1.8))
    beside = -depth(bowel, 3.0)
    others = canvas.lung | canvas.mask("bone", "vertebra", "rib", "kidney", "aorta", "heart")
    wavy = thick * (0.8 + 0.35 * dice.noise(canvas.shape, 40.0))
    layer = torch.sigmoid((wavy - outside) / 0.6) * (outside > -1)
    layer = torch.maximum(layer, torch.sigmoid((0.6 * wavy - beside) / 0.6) * (beside > -0.5))
    fat = torch.sigmoid((-15 - smooth(canvas.hu, 0.5)) / 15) * (canvas.hu > -200)
    rim = _outer_rim(canvas, solid, depth(solid, 2.0), min(0.5 * thick, 3.0))
    alpha = torch.maximum(layer * fat * _inner(canvas), rim) * ~others
    value = dice.uniform(0, 20) + dice.uniform(3, 10) * dice.noise(canvas.shape, 5.0)
    canvas.paint("ascites", EVERYWHERE, alpha, value)
    amount = "small" if thick < 5 else "large" if thick > 9 else "moderate"
    return tell(canvas, "ascites", "abdomen", alpha > 0.5, diffuse=True, traits=(amount,))


def _inner(canvas: Canvas) -> Tensor:
    """Keep the fat under the skin dry: only fat in front of or between organs counts, 0 to 1."""
    organs = canvas.mask("liver", "spleen", "colon", "small_bowel", "stomach", "kidney")
    level = organs.to(torch.int32)
    left, right = level.cumsum(dim=2), level.flip(2).cumsum(dim=2).flip(2)
    before = level.flip(1).cumsum(dim=1).flip(1)
    between = (before > 0) | ((left > 0) & (right > 0))
    return blurred(between if canvas.deep is None else between & canvas.deep, 2.0)


def _outer_rim(canvas: Canvas, solid: Tensor, inside: Tensor, thick: float) -> Tensor:
    """The layer of liver and spleen toward side, front and dome, as if pushed inward."""
    down, back, across = torch.gradient(inside)
    facing = 0.4 * down + 0.8 * back - across * canvas.across.sign()
    return torch.sigmoid((thick - inside) / 0.5) * solid * torch.sigmoid((facing - 0.2) / 0.1)


def _inside(
    canvas: Canvas, organ: str, radius_mm: float, dice: Chance
) -> tuple[int, int, int] | None:
    """Draw a voxel of an organ that leaves room for most of a lesion."""
    mask = canvas.mask(organ)
    if int(mask.sum()) < ENOUGH:
        return None
    return canvas.spot(mask & (depth(mask, 4.0) > min(0.35 * radius_mm, 6.0)), dice)


def _largest(told: list[Painted | None]) -> Painted | None:
    kept = [painted for painted in told if painted is not None]
    return max(kept, key=lambda painted: painted.size_mm) if kept else None
