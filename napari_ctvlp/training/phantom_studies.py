"""Labelled phantom studies with signs that the embedded tower was never taught.

Every study is a part of the procedural chest with one round lesion in the right lung. The label
is no finding of the catalogue but how the lesion is built:

* ``halo``: a soft nodule with (1) or without (0) a rim of faint haze;
* ``atoll``: a haze with a dense ring (1) or with a dense core of the same volume (0).

A plain nodule and a plain haze lie in every study beside it, wherever they fall: neither says
anything about the label.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import oriented_affine, ras_to_screen
from napari_ctvlp.core.phantom import chest_hu
from napari_ctvlp.models.encoders.mini_grid import ChestBox, place_channels
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.training.trunks import Example, tower_cells

#: Edge of a study in voxels, voxel in mm, middle of the right lung in RAS mm.
EDGE, VOXEL, MIDDLE = 40, 2.0, (74.0, 0.0, 10.0)
#: Lung box of the phantom: middle and half widths along I, P, L in mm.
BOX = ChestBox(np.asarray(ras_to_screen(np.array([0.0, 0.0, 5.0]))), np.array([115.0, 78.0, 125.0]))
Field = NDArray[np.float64]


def study_hu(task: str, label: int, seed: int) -> tuple[NDArray[np.float32], Field]:
    """Return HU (40, 40, 40) at 2 mm and the affine of one study."""
    dice = np.random.default_rng(seed)
    x, y, z = np.add(MIDDLE, dice.uniform(-8, 8, 3)).tolist()
    affine = oriented_affine("IPL", (EDGE,) * 3, (VOXEL,) * 3, (x, y, z))
    noise = float(dice.uniform(8, 25))
    hu = chest_hu((EDGE,) * 3, affine, seed=seed, noise_hu=noise).astype(np.float64)
    for value in (dice.uniform(10, 60), dice.uniform(-650, -500)):
        plain = _soft(dice.uniform(7, 12) - _distance(hu.shape, dice))
        hu += plain * (value - hu)
    SIGNS[task](hu, _distance(hu.shape, dice), dice, label)
    return hu.astype(np.float32), affine


def studies(tower: Tower, task: str, count: int, first: int = 0) -> list[Example]:
    """Return ``count`` studies run through the trunk, labels 0 and 1 in turn.

    Parameters
    ----------
    tower : Tower
    task : {"halo", "atoll"}
    count, first : int
        Seeds ``first`` to ``first + count - 1``.
    """
    made = []
    for seed in range(first, first + count):
        hu, affine = study_hu(task, seed % 2, seed)
        half = (EDGE // 2,) * 3
        coarse = affine.copy()
        coarse[:3, :3] *= 2
        coarse[:3, 3] += affine[:3, :3].sum(axis=1) / 2
        place = place_channels(BOX, np.full(half, 60.0, np.float32), half, coarse)
        cells = tower_cells(tower, torch.from_numpy(hu), torch.from_numpy(place))
        inside = torch.ones(half, dtype=torch.bool)
        labels = torch.tensor([float(seed % 2)])
        made.append(Example(f"{task}-{seed}", str(seed), cells, inside, labels))
    return made


def _distance(shape: tuple[int, ...], dice: np.random.Generator) -> Field:
    """Distance in mm from a random middle, stretched a little along each axis."""
    at = VOXEL * np.moveaxis(np.indices(shape), 0, -1) - dice.uniform(22, 56, 3)
    return np.asarray(np.sqrt(((at / dice.uniform(0.85, 1.15, 3)) ** 2).sum(axis=-1)))


def _halo(hu: Field, distance: Field, dice: np.random.Generator, label: int) -> None:
    radius, dense, added = dice.uniform(9, 14), dice.uniform(10, 60), dice.uniform(120, 220)
    if label:
        hu += _soft(1.5 * radius - distance) * np.clip((-150 - hu) / 650, 0, 1) * added
    hu += _soft(radius - distance) * (dense - hu)


def _atoll(hu: Field, distance: Field, dice: np.random.Generator, label: int) -> None:
    radius, dense, haze = dice.uniform(9, 14), dice.uniform(10, 60), dice.uniform(-650, -500)
    inner = radius * dice.uniform(0.55, 0.7)
    core = (radius**3 - inner**3) ** (1 / 3)
    share = 1 - _soft(inner - distance) if label else _soft(core - distance)
    hu += _soft(radius - distance) * (haze + share * (dense - haze) - hu)


def _soft(depth: Field) -> Field:
    """Opacity of an edge 2 mm wide."""
    return np.asarray(1 / (1 + np.exp(-depth)))


SIGNS: dict[str, Callable[[Field, Field, np.random.Generator, int], None]] = {
    "halo": _halo,
    "atoll": _atoll,
}
