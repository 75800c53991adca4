"""Findings of the lung tissue: consolidation, ground glass, emphysema, atelectasis, fibrosis."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import Blob, Canvas, Chance, Painted, blob
from napari_ctvlp.training.synthesis.grain import texture
from napari_ctvlp.training.synthesis.lattice import cells
from napari_ctvlp.training.synthesis.truth import tell


def consolidation(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint airspace filled to soft-tissue density: lobar, patchy or with air bronchograms.

    At least one of the three, since a plain round one would be a mass; vessels shine through.
    """
    region = _region(canvas, dice, dice.uniform(20, 60), 0.35)
    if region is None:
        return None
    lobar, patchy, tubes = (dice.chance(share) for share in (0.5, 0.5, 0.7))
    shape, lung = region
    size, traits = tuple(shape.distance.shape), []
    alpha = shape.soft(dice.uniform(0.8, 2.5)) * lung
    if lobar:
        alpha = alpha * _half_space(size, dice)
        traits.append("lobar")
    if patchy:
        traits.append("patchy")
        gate = dice.noise(size, dice.uniform(10, 24)) + dice.uniform(0.0, 0.9)
        alpha = alpha * torch.sigmoid(gate * 4)
    value = dice.uniform(10, 90) + texture(canvas, size, dice)
    if dice.chance(0.7):
        vessel = canvas.mask("vessel")[shape.where]
        value = torch.where(vessel, torch.maximum(value, canvas.hu[shape.where]), value)
    if tubes or not traits:
        traits.append("air bronchogram")
        value = _bronchograms(value, size, dice)
    canvas.paint("consolidation", shape.where, alpha, value)
    return _told(canvas, "consolidation", alpha, shape, *traits)


def ground_glass(canvas: Canvas, dice: Chance) -> Painted | None:
    """Add 110 to 420 HU to aerated lung in one to four soft blobs; vessels stay visible."""
    told = []
    for _ in range(dice.integer(1, 4)):
        region = _region(canvas, dice, dice.log_uniform(10, 52), 0.3)
        if region is None:
            continue
        shape, lung = region
        alpha = shape.soft(dice.uniform(1.0, 3.0)) * lung
        hu = canvas.hu[shape.where]
        texture = 1 + 0.15 * dice.noise(tuple(hu.shape), dice.uniform(4, 10))
        lifted = hu + dice.uniform(110, 420) * texture * ((-150 - hu) / 650).clamp(0, 1)
        canvas.paint("ground_glass", shape.where, alpha, lifted)
        told.append(_told(canvas, "ground_glass", alpha, shape))
    return _first(told)


def emphysema(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint destroyed lung: centrilobular, panlobular, paraseptal, or bullae."""
    kind = dice.pick([0.4, 0.2, 0.2, 0.2])
    if kind == 3:
        return _first([_bulla(canvas, dice) for _ in range(dice.integer(1, 3))])
    region = _region(canvas, dice, dice.uniform(24, 68), 0.3, rim=kind == 2)
    if region is None:
        return None
    shape, lung = region
    size = tuple(shape.distance.shape)
    alpha = shape.soft(2.0) * lung
    value = dice.uniform(-990, -945)
    if kind == 0:
        gate = dice.noise(size, dice.uniform(4, 8)) + dice.uniform(-0.1, 0.9)
        alpha = alpha * torch.sigmoid(gate * 4)
    elif kind == 2:
        depth = canvas.lung_mm[shape.where]
        alpha = alpha * torch.sigmoid((dice.uniform(7, 14) - depth) / 1.2)
        walls = cells(shape.where, alpha, dice.uniform(7, 14), dice)
        canvas.paint("", shape.where, alpha * walls, dice.uniform(-750, -500))
        alpha = alpha * (1 - walls)
    vessel = canvas.mask("vessel")[shape.where]
    alpha = torch.where(vessel, alpha * 0.5, alpha)
    canvas.paint("emphysema", shape.where, alpha, value)
    trait = ("centrilobular", "panlobular", "paraseptal")[kind]
    return _told(canvas, "emphysema", alpha, shape, trait)


def atelectasis(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint collapsed lung: bands, a dependent rim, or a lobe against the mediastinum."""
    kind = dice.pick([0.4, 0.3, 0.3])
    if kind == 0:
        return _first([_band(canvas, dice) for _ in range(dice.integer(1, 3))])
    region = _region(canvas, dice, dice.uniform(35, 65), 0.2, back=kind == 1, middle=kind == 2)
    if region is None:
        return None
    shape, lung = region
    size = tuple(shape.distance.shape)
    depth = canvas.lung_mm[shape.where]
    if kind == 1:
        alpha = shape.soft(2.0) * lung * torch.sigmoid((dice.uniform(6, 18) - depth) / 2)
    else:
        near = torch.sigmoid((dice.uniform(14, 40) - depth) / 2)
        alpha = shape.soft(1.2) * lung * near * _half_space(size, dice)
    value = dice.uniform(-20, 95) + dice.uniform(5, 20) * dice.noise(size, 5.0)
    if kind == 2 and dice.chance(0.5):
        value = _bronchograms(value, size, dice)
    canvas.paint("atelectasis", shape.where, alpha, value)
    return _told(canvas, "atelectasis", alpha, shape, ("", "dependent", "lobar")[kind])


def fibrosis(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint a subpleural network of ridges, or layers of cysts with shared walls."""
    region = _region(canvas, dice, dice.uniform(28, 72), 0.25, rim=True)
    if region is None:
        return None
    shape, lung = region
    size = tuple(shape.distance.shape)
    rim = torch.sigmoid((dice.uniform(10, 32) - canvas.lung_mm[shape.where]) / 3)
    alpha, hu = shape.soft(2.0) * lung * rim, canvas.hu[shape.where]
    if dice.chance(0.45):
        walls = cells(shape.where, alpha, dice.uniform(6, 12), dice)
        value = dice.uniform(-960, -880) + walls * dice.uniform(600, 900)
        trait = "honeycombing"
    else:
        width, cell = dice.uniform(0.18, 0.4), dice.uniform(7, 14)
        ridges = torch.maximum(
            (1 - dice.noise(size, cell).abs() / width).clamp(0, 1),
            (1 - dice.noise(size, cell).abs() / width).clamp(0, 1),
        )
        value = hu + (dice.uniform(250, 650) * ridges + dice.uniform(0, 90)) * (hu < -150)
        trait = "reticulation"
    canvas.paint("fibrosis", shape.where, alpha, value)
    return _told(canvas, "fibrosis", alpha, shape, trait)


def _told(canvas: Canvas, finding: str, alpha: Tensor, shape: Blob, *traits: str) -> Painted | None:
    kept = tuple(trait for trait in traits if trait)
    return tell(canvas, finding, "lung", alpha > 0.5, shape.where, diffuse=True, traits=kept)


def _first(told: list[Painted | None]) -> Painted | None:
    """Return the first painting that left a mark."""
    return next((painted for painted in told if painted is not None), None)


def _region(
    canvas: Canvas,
    dice: Chance,
    radius_mm: float,
    rough: float,
    *,
    rim: bool = False,
    back: bool = False,
    middle: bool = False,
) -> tuple[Blob, Tensor] | None:
    """Draw a blob in one lung; return it and that lung (0 or 1) inside its box."""
    place = canvas.lung_mm > 3
    if rim or back or middle:
        place = place & (canvas.lung_mm < 12)
    if middle:
        place = place & (canvas.across.abs() < 0.5)
    centre = canvas.spot(place, dice)
    if centre is None:
        return None
    if back:
        lower = canvas.spot(place & (_along(canvas.shape, 1, dice.device) > centre[1]), dice)
        centre = lower or centre
    shape = blob(canvas, centre, radius_mm, dice, axes=(0.7, 1.3), irregular=rough)
    return shape, canvas.to_wall(canvas.side == canvas.side[centre])[shape.where].float()


def _band(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint one plate of 2 to 5 mm."""
    region = _region(canvas, dice, dice.uniform(14, 40), 0.2)
    if region is None:
        return None
    shape, lung = region
    size = tuple(shape.distance.shape)
    normal = dice.direction(1.6, 0.8, 0.6)
    wave = dice.uniform(0.2, 1.2) * dice.noise(size, 40.0)
    plate = (_middle_offsets(size, dice) @ normal + wave).abs() - dice.uniform(1.0, 2.5) / 2
    alpha = torch.sigmoid(-plate / 0.35) * shape.soft(1.2) * lung
    canvas.paint("atelectasis", shape.where, alpha, dice.uniform(-250, 95))
    return _told(canvas, "atelectasis", alpha, shape, "linear")


def _bulla(canvas: Canvas, dice: Chance) -> Painted | None:
    """Paint one thin-walled air space under the pleura."""
    centre = canvas.spot((canvas.lung_mm > 3) & (canvas.lung_mm < 14), dice)
    if centre is None:
        return None
    shape = blob(canvas, centre, dice.uniform(8, 30), dice, irregular=0.12)
    lung = (canvas.lung_mm[shape.where] > 1).float()
    wall = torch.exp(-(((shape.distance - 1) * shape.radius / 0.6) ** 2)) * lung
    alpha = shape.soft(0.6) * lung
    canvas.paint("emphysema", shape.where, alpha, dice.uniform(-1000, -965))
    canvas.paint("", shape.where, wall * 0.6, dice.uniform(-700, -350))
    return _told(canvas, "emphysema", alpha, shape, "bullous")


def _bronchograms(value: Tensor, size: tuple[int, ...], dice: Chance) -> Tensor:
    """Leave air tubes where two smooth noises are near zero."""
    cell = dice.uniform(16, 30)
    first, second = dice.noise(size, cell).abs(), dice.noise(size, cell).abs()
    tubes = torch.sigmoid((dice.uniform(0.10, 0.2) - torch.maximum(first, second)) * 40)
    return value + tubes * (dice.uniform(-950, -700) - value)


def _half_space(size: tuple[int, ...], dice: Chance) -> Tensor:
    """Return 1 on one side of a random plane near the middle."""
    normal = dice.direction()
    return torch.sigmoid((_middle_offsets(size, dice) @ normal + dice.uniform(-3, 6)) / 0.6)


def _middle_offsets(size: tuple[int, ...], dice: Chance) -> Tensor:
    """Voxel positions from the middle of a box, shape (..., 3)."""
    ranges = [torch.arange(n, device=dice.device) - (n - 1) / 2 for n in size]
    return torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1)


def _along(shape: tuple[int, ...], axis: int, device: torch.device) -> Tensor:
    view = [1, 1, 1]
    view[axis] = -1
    return torch.arange(shape[axis], device=device).view(view).expand(shape)
