"""Random crops of training chests with painted findings, in the tower's own input format."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.models.encoders.mini_grid import CLIP, DEPTH_MM
from napari_ctvlp.training.data import CLASSES, FLAG_SHIFT, SIDE_SHIFT, WEAK_MASS, Chest
from napari_ctvlp.training.synthesis import diffuse, focal, pleural
from napari_ctvlp.training.synthesis.canvas import FINDINGS, Canvas, Chance

Painter = Callable[[Canvas, Chance], bool]
#: Painters in painting order (diffuse first, focal last) with how often each is drawn.
PAINTERS: dict[str, tuple[Painter, float]] = {
    "emphysema": (diffuse.emphysema, 1.0),
    "fibrosis": (diffuse.fibrosis, 1.7),
    "ground_glass": (diffuse.ground_glass, 1.5),
    "effusion": (pleural.effusion, 1.4),
    "pneumothorax": (pleural.pneumothorax, 0.9),
    "consolidation": (diffuse.consolidation, 1.5),
    "atelectasis": (diffuse.atelectasis, 1.6),
    "pleural_thickening": (pleural.pleural_thickening, 1.8),
    "lymph_node": (focal.lymph_node, 1.8),
    "mass": (focal.mass, 2.1),
    "cavity": (focal.cavity, 1.8),
    "nodule": (focal.nodule, 2.4),
    "calcified_nodule": (focal.calcified_nodule, 1.3),
}
#: Chances of 0, 1, 2, 3 or 4 findings in one crop.
COUNTS = [0.12, 0.22, 0.28, 0.24, 0.14]
SIZE = 80
BONE = CLASSES.index("bone")


@dataclass
class Crop:
    """One crop at 2 mm, IPL order.

    Attributes
    ----------
    canvas : Canvas
        HU after painting and image noise, anatomy, painted findings.
    place : Tensor, shape (4, i/2, p/2, l/2)
        Position channels of the tower.
    flags : Tensor, shape (i, p, l), uint8
        Flags of ``data.py``.
    unknown_findings : bool
        As in the case the crop comes from.
    """

    canvas: Canvas
    place: Tensor
    flags: Tensor
    unknown_findings: bool


class CropMaker:
    """Draws crops; the same seed always gives the same crop.

    Parameters
    ----------
    chests : sequence of Chest
    mined : mapping of str to list of (i, p, l), optional
        By case name, 2 mm voxels where an earlier model saw findings that are not there: a
        quarter of the crops is centred on these, half of them without any finding.
    """

    def __init__(
        self, chests: Sequence[Chest], mined: Mapping[str, list[list[int]]] | None = None
    ) -> None:
        places = mined or {}
        self.sources = [_Source(chest, places.get(chest.case.name, [])) for chest in chests]

    def make(self, seed: int, strength: float = 1.0, findings: Sequence[str] | None = None) -> Crop:
        """Draw one crop.

        Parameters
        ----------
        seed : int
        strength : float
            Augmentation, 0 (none) to 1 (full).
        findings : sequence of str, optional
            Paint these instead of a random choice, and no hard negatives.
        """
        dice = Chance(seed)
        weights = [source.chest.case.weight for source in self.sources]
        if findings:
            lungs = [bool(source.spots["lung"].size) for source in self.sources]
            weights = [w * lung for w, lung in zip(weights, lungs, strict=True)]
        source = self.sources[dice.pick(weights)]
        crop = source.cut(dice, strength, bool(findings))
        if findings is None:
            quiet = source.at_mined and dice.chance(0.5)
            _hard_negatives(crop.canvas, dice)
            findings = [] if quiet else draw_findings(dice)
        paint(crop.canvas, findings, dice)
        image_noise(crop.canvas, dice, strength)
        return crop


def draw_findings(dice: Chance) -> list[str]:
    """Draw the findings of one crop."""
    names = list(PAINTERS)
    weights = [PAINTERS[name][1] for name in names]
    return [names[dice.pick(weights)] for _ in range(dice.pick(COUNTS))]


def paint(canvas: Canvas, findings: Sequence[str], dice: Chance) -> list[str]:
    """Paint findings in their fixed order; return those that found a place."""
    order = [name for name in PAINTERS for _ in range(list(findings).count(name))]
    return [name for name in order if PAINTERS[name][0](canvas, dice)]


def image_noise(canvas: Canvas, dice: Chance, strength: float) -> None:
    """Thicken slices or blur, then add noise, gain and offset."""
    hu = canvas.hu
    if dice.chance(0.3 * strength):
        pairs = functional.avg_pool3d(hu[None, None], (2, 1, 1))
        hu = functional.interpolate(pairs, size=hu.shape, mode="trilinear")[0, 0]
    elif dice.chance(0.3 * strength):
        hu = _blur(hu, dice.uniform(0.3, 0.7))
    level = dice.uniform(0, 28) * strength
    smooth = dice.chance(0.5)
    noise = dice.noise(canvas.shape, 3.0) if smooth else dice.normal(*canvas.shape)
    gain = 1 + dice.uniform(-0.015, 0.015) * strength
    canvas.hu = (hu + 1000) * gain - 1000 + level * noise + dice.uniform(-12, 12) * strength


class _Source:
    """One chest as float tensors, with lists of voxels to centre crops on."""

    def __init__(self, chest: Chest, mined: list[list[int]]) -> None:
        self.chest, self.at_mined = chest, False
        stack = [chest.hu + 1000.0, chest.lung_mm + 100.0, chest.body_mm * 1.0]
        self.volume = torch.from_numpy(np.stack(stack).astype(np.float32))[None]
        self.labels = torch.from_numpy(chest.labels.astype(np.float32))[None, None]
        labels = chest.labels
        side = (labels >> SIDE_SHIFT) & 3
        vessel = (labels & 31) == CLASSES.index("vessel")
        weak = ((labels >> FLAG_SHIFT) & WEAK_MASS) > 0
        root = np.abs(_across(chest))[None, None, :] < 0.45
        hard = (vessel & (chest.lung_mm > 10)) | ((np.abs(chest.lung_mm) < 8) & root & (side > 0))
        masks = {"lung": side > 0, "body": chest.body_mm > 0, "hard": hard, "weak": weak}
        self.spots = {name: _some(mask) for name, mask in masks.items()}
        flat = [int(np.ravel_multi_index(tuple(spot), chest.hu.shape)) for spot in mined]
        self.spots["mined"] = np.array(flat, dtype=np.int64)

    def cut(self, dice: Chance, strength: float, plain: bool) -> Crop:
        """Sample a turned, scaled, perhaps mirrored crop around a drawn voxel."""
        flip = dice.chance(0.35)
        turn = _geometry(dice, strength, flip)
        centre = self._centre(dice, plain)
        axis = torch.arange(SIZE) - (SIZE - 1) / 2
        offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        where = offsets @ turn.T + centre
        size = torch.tensor(self.volume.shape[2:])
        grid = (2 * where / (size - 1) - 1).flip(-1)[None]
        values = functional.grid_sample(self.volume, grid, align_corners=True)[0]
        labels = functional.grid_sample(self.labels, grid, mode="nearest", align_corners=True)
        packed = labels[0, 0].to(torch.int32)
        relative = self._relative(where, flip)
        side = ((packed >> SIDE_SHIFT) & 3).to(torch.uint8)
        if flip:
            side = torch.where(side > 0, 3 - side, side)
        flags = (packed >> FLAG_SHIFT).to(torch.uint8)
        canvas = Canvas(
            hu=values[0] - 1000,
            lung_mm=values[1] - 100,
            side=side,
            anatomy=(packed & 31).to(torch.uint8),
            across=relative[..., 2],
            found=torch.zeros_like(side),
            free=flags == 0,
        )
        if self.chest.case.enhanced and dice.chance(0.75):
            _weaken_contrast(canvas, dice.uniform())
        return Crop(
            canvas,
            self._place(relative, values[2], dice, strength),
            flags,
            self.chest.case.unknown_findings,
        )

    def _centre(self, dice: Chance, plain: bool) -> Tensor:
        names = ["lung", "body", "hard", "weak", "mined"]
        weights = [0.6, 0.12, 0.28, 0.6, 0.35] if not plain else [1.0, 0.0, 0.0, 0.0, 0.0]
        sizes = [self.spots[name].size for name in names]
        name = names[dice.pick([w * bool(n) for w, n in zip(weights, sizes, strict=True)])]
        self.at_mined = name == "mined"
        spots = self.spots[name]
        flat = int(spots[dice.integer(0, spots.size - 1)])
        index = np.unravel_index(flat, self.chest.hu.shape)
        jitter = torch.tensor([dice.uniform(-9, 9) for _ in range(3)])
        return torch.tensor([float(n) for n in index]) + jitter * (name != "body")

    def _relative(self, where: Tensor, flip: bool) -> Tensor:
        """Positions in the lung box, shape (..., 3), mirrored with the crop."""
        box, affine = self.chest.box, self.chest.affine
        start = torch.tensor((-affine[:3, 3][::-1]).copy())
        relative = (start + 2.0 * where - torch.tensor(box.centre)) / torch.tensor(box.half)
        if flip:
            relative = relative * torch.tensor([1.0, 1.0, -1.0])
        return relative.float()

    def _place(self, relative: Tensor, body_mm: Tensor, dice: Chance, strength: float) -> Tensor:
        """Position channels with a jittered box; sometimes as if the scan were a short slab."""
        channels = [relative[..., n] for n in range(3)] + [body_mm / DEPTH_MM]
        place = functional.avg_pool3d(torch.stack(channels)[None], 2)[0]
        for axis in range(3):
            scale = 1 + dice.uniform(-0.08, 0.08) * strength
            place[axis] = place[axis] * scale + dice.uniform(-0.07, 0.07) * strength
        if dice.chance(0.15 * strength):
            place[0] = place[0] * dice.uniform(1.3, 3.5) + dice.uniform(-0.7, 0.7)
        place[:3] = place[:3].clamp(-CLIP, CLIP)
        place[3] = place[3].clamp(0, CLIP)
        return place


def _geometry(dice: Chance, strength: float, flip: bool) -> Tensor:
    """Matrix from crop voxels to chest voxels, shape (3, 3)."""
    scale = [math.exp(dice.uniform(-0.16, 0.17) * strength) for _ in range(3)]
    about_i, about_l = (dice.uniform(-0.16, 0.16) * strength for _ in range(2))
    c, s = math.cos(about_i), math.sin(about_i)
    flat = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    c, s = math.cos(about_l), math.sin(about_l)
    tilt = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0 if flip else 1.0]))
    return flat @ tilt @ mirror @ torch.diag(torch.tensor(scale))


def _weaken_contrast(canvas: Canvas, share: float) -> None:
    """Take contrast medium out of soft tissue: above 50 HU only 6 % of the excess stays."""
    bone = (canvas.anatomy == BONE).float()[None, None]
    near_bone = functional.max_pool3d(bone, 3, 1, 1)[0, 0] > 0
    excess = (canvas.hu - 50).clamp(min=0) * ~near_bone
    canvas.hu = canvas.hu - share * 0.94 * excess


def _hard_negatives(canvas: Canvas, dice: Chance) -> None:
    if dice.chance(0.3):
        for _ in range(dice.integer(1, 3)):
            focal.healthy_patch(canvas, dice)
    if dice.chance(0.2):
        for _ in range(dice.integer(1, 3)):
            focal.tube(canvas, dice)


def _blur(hu: Tensor, sigma: float) -> Tensor:
    steps = torch.arange(-2, 3).float()
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    out = hu[None, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 5
        pad = [0, 0, 0, 0, 0, 0]
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = 2
        out = functional.conv3d(functional.pad(out, pad, mode="replicate"), kernel.view(shape))
    return out[0, 0]


def _across(chest: Chest) -> np.ndarray:
    screen = -chest.affine[0, 3] + 2.0 * np.arange(chest.hu.shape[2])
    return np.asarray((screen - chest.box.centre[2]) / chest.box.half[2])


def _some(mask: np.ndarray) -> np.ndarray:
    """Up to 30 000 flat indices of a mask, evenly spread."""
    where = np.flatnonzero(mask)
    return where[:: max(1, where.size // 30000)]


__all__ = ["COUNTS", "FINDINGS", "PAINTERS", "SIZE", "Crop", "CropMaker", "image_noise", "paint"]
