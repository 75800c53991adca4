"""Crops cut out of a prepared CT: turned, scaled, perhaps mirrored; nothing painted yet."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.models.encoders.mini_grid import CLIP, DEPTH_MM
from napari_ctvlp.training.data import CLASSES, FLAG_SHIFT, SIDE_SHIFT, WEAK_MASS, Chest
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, CODE, Canvas, Chance

SIZE = 80
#: Organ ids start at this bit of the label volume that is sampled.
ID_SHIFT = 10
#: Organ ids that change places in a mirror: pairs of left and right.
PAIRS = (
    (3, 2), (9, 8), (10, 12), (11, 14), (69, 70), (71, 72), (73, 74), (75, 76), (77, 78),
    (80, 81), (82, 83), (84, 85), (86, 87), (88, 89), *((n, n + 12) for n in range(92, 104)),
)  # fmt: skip
#: Classes that one anatomy of the reports is made of.
MADE_OF = {
    **{n: (n,) for n in ("heart", "aorta", "oesophagus", "liver", "gallbladder", "spleen")},
    "pancreas": ("pancreas",), "stomach": ("stomach",), "bones": ("bone", "vertebra", "rib"),
    "mediastinum": ("trachea",), "abdomen": ("colon", "small_bowel", "bladder"),
}  # fmt: skip
#: A CT with fewer lung voxels has no room for findings of the chest.
LEAST_LUNG = 40_000
#: Deeper than this in the body, nameless tissue is mediastinum or abdomen.
INNER_MM = 25.0


class Source:
    """One CT as float tensors, with lists of voxels to centre crops on.

    Parameters
    ----------
    chest : Chest
    mined : list of (i, p, l)
        Voxels where an earlier model saw what is not there.
    device : torch.device or str
        Where crops are made.
    """

    def __init__(self, chest: Chest, mined: list[list[int]], device: torch.device | str) -> None:
        self.chest, self.device = chest, torch.device(device)
        stack = [chest.hu + 1000.0, chest.lung_mm + 100.0, chest.body_mm * 1.0]
        self.volume = torch.from_numpy(np.stack(stack).astype(np.float32))[None].to(device)
        ids = np.zeros(chest.hu.shape, np.uint8) if chest.ids is None else chest.ids
        packed = chest.labels.astype(np.int32) + (ids.astype(np.int32) << ID_SHIFT)
        self.labels = torch.from_numpy(packed.astype(np.float32))[None, None].to(device)
        self.spots = _spots(chest, ids)
        flat = [int(np.ravel_multi_index(tuple(spot), chest.hu.shape)) for spot in mined]
        self.spots["mined"] = np.array(flat, dtype=np.int64)
        self.swap = torch.arange(256, dtype=torch.uint8)
        for left, right in PAIRS:
            self.swap[left], self.swap[right] = right, left
        self.swap = self.swap.to(device)

    def cut(
        self, dice: Chance, strength: float, around: str, flip: bool
    ) -> tuple[Canvas, Tensor, Tensor, Tensor]:
        """Sample a crop around a voxel drawn from ``spots[around]``.

        Returns
        -------
        tuple
            The canvas; position channels, shape (4, t, t, t); flags, uint8, and the depth in
            the body in mm, both of the canvas's shape.
        """
        turn = geometry(dice, strength, flip)
        centre = self._centre(dice, around)
        axis = torch.arange(SIZE) - (SIZE - 1) / 2
        steps = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        where = (steps @ turn.T + centre).to(self.device)
        size = torch.tensor(self.volume.shape[2:], device=self.device)
        grid = (2 * where / (size - 1) - 1).flip(-1)[None]
        values = functional.grid_sample(self.volume, grid, align_corners=True)[0]
        labels = functional.grid_sample(self.labels, grid, mode="nearest", align_corners=True)
        packed = labels[0, 0].to(torch.int32)
        relative = self._relative(where, flip)
        canvas = self._canvas(values, packed, relative, flip)
        flags = ((packed >> FLAG_SHIFT) & 7).to(torch.uint8)
        return canvas, _place(relative, values[2], dice, strength), flags, values[2]

    def _canvas(self, values: Tensor, packed: Tensor, relative: Tensor, flip: bool) -> Canvas:
        side = ((packed >> SIDE_SHIFT) & 3).to(torch.uint8)
        ids = (packed >> ID_SHIFT).to(torch.uint8)
        if flip:
            side = torch.where(side > 0, 3 - side, side)
            ids = self.swap[ids.long()]
        return Canvas(
            hu=values[0] - 1000,
            lung_mm=values[1] - 100,
            side=side,
            anatomy=(packed & 31).to(torch.uint8),
            across=relative[..., 2],
            found=torch.zeros_like(side),
            deep=values[2] > 30,
            free=((packed >> FLAG_SHIFT) & 7) == 0,
            up=relative[..., 0],
            ids=ids,
        )

    def _centre(self, dice: Chance, around: str) -> Tensor:
        spots = self.spots[around]
        flat = int(spots[dice.integer(0, spots.size - 1)])
        index = np.unravel_index(flat, self.chest.hu.shape)
        jitter = torch.tensor([dice.uniform(-9, 9) for _ in range(3)])
        return torch.tensor([float(n) for n in index]) + jitter * (around != "body")

    def _relative(self, where: Tensor, flip: bool) -> Tensor:
        """Positions in the lung box, shape (..., 3), mirrored with the crop."""
        box, affine = self.chest.box, self.chest.affine
        start = (-affine[:3, 3][::-1] - box.centre) / box.half
        step = 2.0 / box.half
        if flip:
            start, step = start * [1, 1, -1], step * [1, 1, -1]
        return where * _row(step, self.device) + _row(start, self.device)


def organ_tokens(canvas: Canvas, body_mm: Tensor, *, chest: bool = True) -> Tensor:
    """Return which of the 15 anatomies a token lies in, shape (t, t, t), uint8; 0 for none.

    Nameless tissue deep in the body is mediastinum between the lungs and abdomen below them:
    that split is by position and rough. Without a chest all of it is abdomen.
    """
    table = torch.zeros(32, dtype=torch.uint8, device=canvas.hu.device)
    for number, name in enumerate(ANATOMIES):
        for part in MADE_OF.get(name, ()):
            table[CODE[part]] = number + 1
    step = (slice(1, None, 2),) * 3
    classes, side = canvas.anatomy[step].long(), canvas.side[step]
    across = canvas.across[step]
    organs = table[classes]
    organs = torch.where(side > 0, side, organs)
    kidney = classes == CODE["kidney"]
    left, right = (ANATOMIES.index(f"kidney_{s}") + 1 for s in ("left", "right"))
    organs[kidney & (across > 0)] = left
    organs[kidney & (across <= 0)] = right
    loose = (classes == CODE["soft_tissue"]) | (classes == CODE["unknown"])
    loose = loose & (body_mm[step] > INNER_MM) & (organs == 0)
    if canvas.up is not None:
        up = canvas.up[step] if chest else canvas.up[step] * 0 + 2
        organs[loose & (across.abs() < 0.5) & (up < 0.5)] = ANATOMIES.index("mediastinum") + 1
        organs[loose & (up > 1.0)] = ANATOMIES.index("abdomen") + 1
    return organs


def geometry(dice: Chance, strength: float, flip: bool) -> Tensor:
    """Matrix from crop voxels to chest voxels, shape (3, 3)."""
    scale = [math.exp(dice.uniform(-0.16, 0.17) * strength) for _ in range(3)]
    about_i, about_l = (dice.uniform(-0.16, 0.16) * strength for _ in range(2))
    c, s = math.cos(about_i), math.sin(about_i)
    flat = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    c, s = math.cos(about_l), math.sin(about_l)
    tilt = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0 if flip else 1.0]))
    return flat @ tilt @ mirror @ torch.diag(torch.tensor(scale))


def _place(relative: Tensor, body_mm: Tensor, dice: Chance, strength: float) -> Tensor:
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


def _spots(chest: Chest, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Voxels a crop may be centred on, by what should lie there."""
    labels = chest.labels
    classes, side = labels & 31, (labels >> SIDE_SHIFT) & 3
    vessel = classes == CLASSES.index("vessel")
    flags = labels >> FLAG_SHIFT
    up, rows, across = _relative_axes(chest)
    root = np.abs(across) < 0.45
    hard = (vessel & (chest.lung_mm > 10)) | ((np.abs(chest.lung_mm) < 8) & root & (side > 0))
    bone = np.isin(classes, [CLASSES.index(n) for n in ("bone", "vertebra", "rib")])
    masks = {
        "lung": side > 0,
        "back": (side > 0) & (rows > 0.15),
        "front": (side > 0) & (rows < -0.1),
        "body": chest.body_mm > 0,
        "hard": hard,
        "weak": (flags & WEAK_MASS) > 0,
        "bone": bone & (chest.body_mm > 10),
        "spine": (ids >= 26) & (ids <= 45),
    }
    for name in ("heart", "aorta", "oesophagus", "liver", "spleen", "kidney", "gallbladder"):
        masks[name] = classes == CLASSES.index(name)
    masks["hiatus"] = masks["oesophagus"] & (up > 0.25) & (up < 1.2)
    if masks["lung"].sum() < LEAST_LUNG:
        masks.update(dict.fromkeys(("lung", "back", "front", "hard"), side < 0))
    return {name: _some(mask if mask.sum() > 400 else mask & False) for name, mask in masks.items()}


def _relative_axes(chest: Chest) -> list[np.ndarray]:
    """Positions along I, P, L in half widths of the lung box, ready to broadcast."""
    out = []
    for axis, step in enumerate(np.eye(3, dtype=int)):
        screen = -chest.affine[2 - axis, 3] + 2.0 * np.arange(chest.hu.shape[axis])
        relative = (screen - chest.box.centre[axis]) / chest.box.half[axis]
        out.append(relative.reshape(np.where(step, -1, 1)))
    return out


def _some(mask: np.ndarray) -> np.ndarray:
    """Up to 30 000 flat indices of a mask, evenly spread."""
    where = np.flatnonzero(mask)
    return where[:: max(1, where.size // 30000)]


def _row(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(np.asarray(values, np.float32), device=device)
