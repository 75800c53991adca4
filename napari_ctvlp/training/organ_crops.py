"""Crops for the organ network: geometry, contrast phase, field of view and noise, all drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.models.segmenters.mini_net import CLASSES
from napari_ctvlp.training.organ_data import IGNORE, OrganCase

AIR_HU = -1000.0
#: Crops centred on a voxel of a drawn class; the others on the body.
ON_CLASS = 0.75
#: Share of crops that show a part cut out of the body, and of crops that are not told their place.
CUT, UNPLACED = 0.25, 0.15
MIRRORED = 0.12
#: Enhancement that a scan without contrast medium may be given, in HU (lowest, highest).
PHASES = {
    "heart": (40, 220), "aorta": (50, 320), "kidney_left": (40, 180), "kidney_right": (40, 180),
    "spleen": (20, 90), "liver": (10, 70), "pancreas": (10, 60), "vessels": (20, 160),
}  # fmt: skip
#: Organs whose size is changed on its own, and the most by which their wall moves, in voxels.
GROWN = {"aorta": (-0.8, 3.5), "heart": (-1.5, 3.0)}
#: A dissected or unevenly filled aorta: part of its lumen may be less bright by up to this.
UNEVEN_HU = 260.0
LEFT_RIGHT = [("lung_left", "lung_right"), ("kidney_left", "kidney_right")]


@dataclass(frozen=True)
class Crop:
    """One crop: HU (1, n, n, n), place (3, n, n, n), labels (n, n, n)."""

    hu: Tensor
    place: Tensor
    labels: Tensor


class Loaded:
    """A case as tensors, with the places of its classes.

    Parameters
    ----------
    case : OrganCase
    """

    def __init__(self, case: OrganCase) -> None:
        self.case, self.name, self.weight = case, case.name, case.weight
        stack = np.stack([case.hu, case.plain]) - AIR_HU
        self.volume = torch.from_numpy(stack.astype(np.float32))[None]
        self.labels = torch.from_numpy(case.labels.astype(np.float32))[None, None]
        drawn = [n for n in range(1, len(CLASSES)) if (case.labels == n).sum() > 8]
        self.places = {n: np.argwhere(case.labels == n) for n in drawn}
        self.body = np.argwhere(case.body)
        self.low, self.high = np.percentile(self.body[:, 1:], [0.5, 99.5], axis=0)
        self.full = bool((case.labels != IGNORE).all())
        self.enhanced = float(np.mean((case.hu - case.plain)[case.body] > 30)) > 0.01
        self.walls = {n: self._wall(n) for n in GROWN if CLASSES.index(n) in drawn}

    def _wall(self, name: str) -> Tensor:
        """Unit vectors away from an organ, fading within 16 mm of its wall, (1, 3, i, p, l)."""
        mask = self.case.labels == CLASSES.index(name)
        away = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
        slope = np.stack(np.gradient(ndimage.gaussian_filter(away, 1.5)))
        slope /= np.maximum(np.sqrt((slope**2).sum(axis=0)), 0.3)
        return torch.from_numpy((slope * np.exp(-((away / 4) ** 2))).astype(np.float32))[None]


class Dice:
    """Draws numbers from one seeded generator."""

    def __init__(self, *seed: int) -> None:
        self.numpy = np.random.default_rng(seed)
        self.torch = torch.Generator().manual_seed(int(self.numpy.integers(2**31)))

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self.numpy.uniform(low, high))

    def happens(self, chance: float) -> bool:
        """Throw once."""
        return bool(self.numpy.random() < chance)

    def normal(self, *shape: int) -> Tensor:
        """Draw normal numbers."""
        return torch.randn(shape, generator=self.torch)

    def smooth(self, cells: int, size: int, channels: int = 1) -> Tensor:
        """Draw a smooth field of SD about 1, shape (1, channels, size, size, size)."""
        knots = self.normal(1, channels, cells, cells, cells)
        return functional.interpolate(knots, size=(size,) * 3, mode="trilinear", align_corners=True)


def draw(cases: Sequence[Loaded], size: int, strength: float, dice: Dice) -> Crop:
    """Draw one crop of ``size`` voxels a side; ``strength`` 0 to 1 is that of augmentation."""
    weights = np.array([case.weight for case in cases])
    case = cases[int(dice.numpy.choice(len(cases), p=weights / weights.sum()))]
    where = _coordinates(case, size, strength, dice)
    mirrored = dice.happens(MIRRORED * strength)
    volume = _sample(case.volume, where, "bilinear")[0]
    labels = _sample(case.labels, where, "nearest")[0, 0].long()
    place = _place(case, where, strength, dice)
    hu = _phase(case, volume, labels, strength, dice)
    if mirrored:
        hu, place, labels = hu.flip(-1), place.flip(-1), _swapped(labels.flip(-1))
        place[1] = -place[1]
    hu = _scanner(hu, strength, dice)
    if dice.happens(CUT * strength):
        hu, place, labels = _cut(hu, place, labels, dice)
    return Crop(hu, place, labels)


def _coordinates(case: Loaded, size: int, strength: float, dice: Dice) -> Tensor:
    """Voxel coordinates to sample at, shape (size, size, size, 3), order (i, p, l)."""
    if dice.happens(ON_CLASS):
        number = int(dice.numpy.choice(list(case.places)))
        rows = case.places[number]
    else:
        rows = case.body
    centre = rows[int(dice.numpy.integers(len(rows)))] + dice.numpy.uniform(-9, 9, 3)
    line = torch.arange(size) - (size - 1) / 2
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)
    turn = _matrix(strength, dice)
    where = grid @ torch.from_numpy(turn.T.astype(np.float32)) + torch.from_numpy(
        centre.astype(np.float32)
    )
    if dice.happens(0.5 * strength):
        bend = dice.smooth(5, size, 3)[0].permute(1, 2, 3, 0)
        where = where + bend * dice.between(0, 1.1)
    for name, wall in case.walls.items():
        if dice.happens(0.4 * strength):
            moved = _sample(wall, where, "bilinear")[0].permute(1, 2, 3, 0)
            where = where - moved * dice.between(*GROWN[name])
    return where


def _matrix(strength: float, dice: Dice) -> NDArray[np.float64]:
    """Scale and rotation of a crop."""
    whole = np.exp(dice.between(-0.15, 0.15) * strength)
    scale = whole * np.exp(dice.numpy.uniform(-0.07, 0.07, 3) * strength)
    a, b, c = dice.numpy.uniform(-0.14, 0.14, 3) * strength
    turns = [
        np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]),
        np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]]),
        np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]),
    ]
    return np.asarray(turns[0] @ turns[1] @ turns[2] @ np.diag(scale), np.float64)


def _sample(volume: Tensor, where: Tensor, mode: str) -> Tensor:
    """Sample (1, c, i, p, l) at voxel coordinates; 0 outside."""
    edges = torch.tensor(volume.shape[2:], dtype=torch.float32)
    unit = (2 * where + 1) / edges - 1
    return functional.grid_sample(
        volume, unit.flip(-1)[None], mode=mode, padding_mode="zeros", align_corners=False
    )


def _place(case: Loaded, where: Tensor, strength: float, dice: Dice) -> Tensor:
    """Place in the body's box with some play, and that it is known."""
    if dice.happens(UNPLACED * strength):
        return torch.zeros(3, *where.shape[:3])
    low, high = (torch.tensor(v, dtype=torch.float32) for v in (case.low, case.high))
    middle, half = (low + high) / 2, (high - low) / 2
    play = torch.from_numpy(dice.numpy.uniform(-0.1, 0.1, (2, 2)).astype(np.float32)) * strength
    relative = ((where[..., 1:] - middle) / half) * (1 + play[0]) + play[1]
    known = torch.ones(1, *where.shape[:3])
    return torch.cat([relative.permute(3, 0, 1, 2).clamp(-1.5, 1.5), known])


def _phase(case: Loaded, volume: Tensor, labels: Tensor, strength: float, dice: Dice) -> Tensor:
    """Change the contrast phase and single organs; HU, shape (1, n, n, n)."""
    hu, plain = volume[:1] + AIR_HU, volume[1:] + AIR_HU
    if strength == 0:
        return hu
    if case.enhanced and dice.happens(0.75):
        share = dice.between(0, 0.5) if dice.happens(0.5) else dice.between(0.5, 1.5)
        hu = plain + (hu - plain) * share
    if not case.full and " as " not in case.name:
        return hu
    table = torch.zeros(IGNORE + 1)
    table[: len(CLASSES)] = 12 * strength * dice.normal(len(CLASSES)) * float(dice.happens(0.6))
    table[:4] = 0
    if not case.enhanced and dice.happens(0.5):
        amount = dice.between(0.3, 1)
        for name, ends in PHASES.items():
            table[CLASSES.index(name)] += amount * dice.between(*ends)
    elif dice.happens(0.4):
        for name in ("heart", "aorta", "vessels"):
            table[CLASSES.index(name)] += dice.between(-90, 90)
    shift = table[labels][None, None]
    if dice.happens(0.35):
        part = (dice.smooth(8, labels.shape[0])[0, 0] > 0) & (labels == CLASSES.index("aorta"))
        shift = shift - part * dice.between(0, UNEVEN_HU)
    soft = functional.avg_pool3d(shift, 3, 1, 1, count_include_pad=False)[0]
    return torch.where((hu > -200) & (hu < 600), (hu + soft).clamp(min=-120), hu)


def _scanner(hu: Tensor, strength: float, dice: Dice) -> Tensor:
    """Slice thickness, blur, noise and calibration."""
    if dice.happens(0.3 * strength):
        hu = functional.avg_pool3d(hu[None], (3, 1, 1), 1, (1, 0, 0), count_include_pad=False)[0]
    elif dice.happens(0.15 * strength):
        hu = functional.avg_pool3d(hu[None], 3, 1, 1, count_include_pad=False)[0]
    if dice.happens(0.7 * strength):
        hu = hu + dice.normal(*hu.shape) * dice.between(0, 24)
    gain = 1 + strength * dice.between(-0.012, 0.012)
    return (hu - AIR_HU) * gain + AIR_HU + strength * dice.between(-8, 8)


def _cut(hu: Tensor, place: Tensor, labels: Tensor, dice: Dice) -> tuple[Tensor, Tensor, Tensor]:
    """Blank all but a box, as where a scan was cropped; its place is then unknown."""
    size = labels.shape[0]
    keep = torch.zeros(labels.shape, dtype=torch.bool)
    box = []
    for least in (0.5, 0.55, 0.55):
        length = int(size * dice.between(least, 1.0))
        start = int(dice.numpy.integers(size - length + 1))
        box.append(slice(start, start + length))
    keep[tuple(box)] = True
    hu = torch.where(keep, hu, torch.full_like(hu, AIR_HU))
    return hu, torch.zeros_like(place), torch.where(keep, labels, torch.zeros_like(labels))


def _swapped(labels: Tensor) -> Tensor:
    """Exchange the classes of the two sides."""
    table = torch.arange(IGNORE + 1)
    for left, right in LEFT_RIGHT:
        a, b = CLASSES.index(left), CLASSES.index(right)
        table[a], table[b] = b, a
    return table[labels]
