"""How a scanner changes the picture: contrast, slices, kernel, noise, table, field of view."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.data import Case
from napari_ctvlp.training.synthesis.canvas import CODE, VOXEL_MM, Canvas, Chance

#: HU that contrast medium adds at most, and at least half of it, by class.
ENHANCED = {
    "aorta": 260.0, "heart": 220.0, "kidney": 140.0, "spleen": 90.0, "liver": 60.0,
    "pancreas": 55.0,
}  # fmt: skip


def contrast(canvas: Canvas, dice: Chance, strength: float, case: Case) -> None:
    """Take contrast medium out where there is some, or add it where organs are known."""
    if case.enhanced:
        if dice.chance(0.75):
            _weaken_contrast(canvas, dice.uniform())
    elif dice.chance(0.4 * strength):
        phase = dice.uniform(0.2, 1.0)
        for name, most in ENHANCED.items():
            mask = canvas.mask(name)
            if mask.any():
                canvas.hu += phase * most * dice.uniform(0.5, 1.0) * smooth(mask.float(), 0.7)


def cut_field(
    canvas: Canvas, organs: Tensor, body_mm: Tensor, place: Tensor, dice: Chance, strength: float
) -> None:
    """Now and then draw the edge of a table behind the body, or end the field of view."""
    if dice.chance(0.1 * strength):
        _table(canvas, body_mm, dice)
    if not dice.chance(0.06 * strength):
        return
    round_mid = (place[1] ** 2 + place[2] ** 2).sqrt() > dice.uniform(1.15, 1.5)
    outside = round_mid.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    if not (canvas.found[outside] > 0).any():
        canvas.hu[outside] = -1000.0
        canvas.anatomy[outside] = CODE["air"]
        organs[outside[1::2, 1::2, 1::2]] = 0


def image_noise(canvas: Canvas, dice: Chance, strength: float) -> None:
    """Thicken slices, sharpen or blur, then add noise, gain and offset."""
    hu = canvas.hu
    if dice.chance(0.45 * strength):
        hu = thicken(hu, dice.log_uniform(2.0, 8.0), dice)
    if dice.chance(0.3 * strength):
        hu = smooth(hu, dice.uniform(0.3, 0.7))
    elif dice.chance(0.3 * strength):
        hu = hu + dice.uniform(0.2, 1.0) * (hu - smooth(hu, 0.7))
    level = dice.uniform(0, 28) * strength
    noise = dice.noise(canvas.shape, 3.0) if dice.chance(0.5) else dice.normal(*canvas.shape)
    if dice.chance(0.25 * strength):
        noise = noise + dice.uniform(0.3, 1.0) * _streaks(canvas, dice)
    gain = 1 + dice.uniform(-0.015, 0.015) * strength
    canvas.hu = (hu + 1000) * gain - 1000 + level * noise + dice.uniform(-12, 12) * strength


def thicken(hu: Tensor, thickness_mm: float, dice: Chance) -> Tensor:
    """See the volume through slices of a thickness, then bring it back to 2 mm.

    Parameters
    ----------
    hu : Tensor, shape (i, p, l)
    thickness_mm : float
        Each slice averages over this much; the distance of slices is 0.6 to 1 times that.
    """
    count = hu.shape[0]
    width = thickness_mm / VOXEL_MM
    gap = max(1.0, width * dice.uniform(0.6, 1.0))
    middles = torch.arange(dice.uniform(0, gap), count + gap, gap, device=hu.device)
    voxel = torch.arange(count, device=hu.device).float()
    reach = (middles[:, None] - voxel).abs()
    box = ((width + 1) / 2 - reach).clamp(0, min(1.0, width)) + 1e-9
    slices = box / box.sum(dim=1, keepdim=True)
    back = (1 - reach.T / gap).clamp(min=0) + 1e-9
    back = back / back.sum(dim=1, keepdim=True)
    seen: Tensor = torch.einsum("ij,jpl->ipl", back @ slices, hu)
    return seen


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian of ``sigma`` voxels (up to 1), shape kept."""
    steps = torch.arange(-2, 3, device=field.device).float()
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    for axis in range(3):
        n = field.shape[axis]
        padded = torch.cat(
            [field.narrow(axis, 0, 1)] * 2 + [field] + [field.narrow(axis, n - 1, 1)] * 2, axis
        )
        field = sum(
            (k * padded.narrow(axis, j, n) for j, k in enumerate(kernel.tolist())),
            torch.zeros((), device=field.device),
        )
    return field


def _streaks(canvas: Canvas, dice: Chance) -> Tensor:
    """Noise that runs from side to side, as between the shoulders."""
    i, p, l = canvas.shape  # noqa: E741 - the axis is called L
    coarse = dice.normal(1, 1, i, p, max(2, l // 20))
    return functional.interpolate(coarse, size=(i, p, l), mode="trilinear")[0, 0]


def _table(canvas: Canvas, body_mm: Tensor, dice: Chance) -> None:
    """Paint a thin curved plate into the air behind the body."""
    _, p, l = canvas.shape  # noqa: E741 - the axis is called L
    inside = (body_mm > 0).any(dim=0).any(dim=1)
    back = int(torch.nonzero(inside).max()) if inside.any() else p
    rows = torch.arange(p, device=canvas.hu.device).view(1, -1, 1) - back - dice.uniform(1, 4)
    curve = dice.uniform(-0.004, 0.0) * (torch.arange(l, device=canvas.hu.device) - l / 2) ** 2
    plate = torch.exp(-(((rows - curve) / dice.uniform(0.5, 1.2)) ** 2)) * (body_mm <= 0)
    canvas.hu += plate * (dice.uniform(-300, 150) - canvas.hu)


def _weaken_contrast(canvas: Canvas, share: float) -> None:
    """Take contrast medium out of soft tissue: above 50 HU only 6 % of the excess stays."""
    bone = canvas.mask("bone", "vertebra", "rib").float()
    near_bone = smooth(bone, 0.8) > 0.05
    excess = (canvas.hu - 50).clamp(min=0) * ~near_bone
    canvas.hu = canvas.hu - share * 0.94 * excess
