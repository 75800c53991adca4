"""Whole training chests with a painted finding: peaks, thresholds and organ bags come from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.geometry import coarse_affine, ras_to_screen
from napari_ctvlp.models.encoders.mini_grid import place_channels
from napari_ctvlp.models.encoders.mini_tower import NORM, Tower
from napari_ctvlp.training.data import FLAG_SHIFT, IGNORE, SIDE_SHIFT, Chest
from napari_ctvlp.training.synthesis.canvas import FINDINGS, Canvas, Chance
from napari_ctvlp.training.synthesis.crops import paint

#: Edge in voxels of the box a finding is painted in, cut out of the whole chest.
BOX = 96
#: Image noise added to a painted chest, in HU.
NOISE_HU = 6.0


@dataclass(frozen=True)
class Painted:
    """A whole chest, perhaps with one painted finding.

    Attributes
    ----------
    name : str
        The training CT.
    finding : str
        The painted finding, or ``""``.
    hu : Tensor, shape (i, p, l)
    truth : ndarray, shape (i/2, p/2, l/2), bool
        Tokens at least 40 % covered by it.
    near : ndarray, bool
        Tokens within 8 mm of it.
    """

    name: str
    finding: str
    hu: torch.Tensor
    truth: NDArray[np.bool_]
    near: NDArray[np.bool_]


def painted_chest(chest: Chest, finding: str, seed: int) -> Painted | None:
    """Paint one finding (or none) into a copy of a chest; None when it found no place."""
    dice = Chance(seed)
    hu = torch.from_numpy(chest.hu.astype(np.float32))
    found = torch.zeros(hu.shape, dtype=torch.uint8)
    if finding:
        where = _box(chest, dice)
        canvas = _canvas(chest, hu, found, where)
        if not paint(canvas, [finding], dice):
            return None
        hu[where], found[where] = canvas.hu, canvas.found
    hu = hu + NOISE_HU * dice.normal(*hu.shape)
    number = FINDINGS.index(finding) + 1 if finding else -1
    share = torch.nn.functional.avg_pool3d((found == number).float()[None, None], 2)[0, 0].numpy()
    truth = share >= 0.4
    if finding and truth.sum() < 3:
        return None
    near = ndimage.distance_transform_edt(~truth, sampling=4.0) <= 8.0 if finding else truth
    return Painted(chest.case.name, finding, hu, truth, np.asarray(near))


def painted_chests(
    chests: Sequence[Chest], findings: Sequence[str], seed: int, each: int
) -> Iterator[tuple[Chest, Painted]]:
    """Yield ``each`` painted chests per finding, cycling through the chests."""
    for number, finding in enumerate(findings):
        made = attempt = 0
        while made < each and attempt < 10 * each:
            chest = chests[(attempt + number) % len(chests)]
            painted = painted_chest(chest, finding, seed + 1000 * number + attempt)
            attempt += 1
            if painted is not None:
                made += 1
                yield chest, painted


def token_place(chest: Chest) -> NDArray[np.float32]:
    """Position channels of a whole prepared chest, shape (4, i/2, p/2, l/2)."""
    affine = coarse_affine(chest.affine, 2)
    depth = _pooled(chest.body_mm.astype(np.float32))
    return place_channels(chest.box, depth, depth.shape, affine)


def encode_whole(tower: Tower, hu: torch.Tensor, place: NDArray[np.float32]) -> torch.Tensor:
    """Return tokens of a whole chest, shape (i/2, p/2, l/2, 64)."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        tokens = tower(hu[None, None], torch.from_numpy(place)[None])[0]
    rows: torch.Tensor = tokens.permute(1, 2, 3, 0).float()
    return rows


def concept_logits(
    tower: Tower, tokens: torch.Tensor, weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the logits of a concept mixture, shape (i/2, p/2, l/2)."""
    w = torch.from_numpy(weights)
    with torch.inference_mode():
        return np.asarray((tokens @ (w @ tower.table) / NORM + w @ tower.bias).numpy())


def thorax_of(chest: Chest) -> NDArray[np.bool_]:
    """Slice-wise convex hull of the lungs on the token grid."""
    from napari_ctvlp.core.hull import convex_slices

    return np.asarray(convex_slices(lung_tokens(chest)))


def lung_tokens(chest: Chest, side: int = 0) -> NDArray[np.bool_]:
    """Tokens of the filled lungs; side 1 left, 2 right, 0 both."""
    codes = (chest.labels >> SIDE_SHIFT) & 3
    mask = codes > 0 if side == 0 else codes == side
    return _pooled(mask.astype(np.float32)) >= 0.5


def unknown_tokens(chest: Chest) -> NDArray[np.bool_]:
    """Tokens near a real finding, about which nothing can be said."""
    ignored = ((chest.labels >> FLAG_SHIFT) & IGNORE) > 0
    return ndimage.binary_dilation(_pooled(ignored.astype(np.float32)) > 0, iterations=2)


def without_abdomen(chests: Sequence[Chest]) -> list[Chest]:
    """Return the chests with at least half a litre of lung."""
    least = 500_000 / 8
    return [c for c in chests if int((((c.labels >> SIDE_SHIFT) & 3) > 0).sum()) > least]


def _pooled(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    i, p, l = (n // 2 for n in volume.shape)  # noqa: E741 - the axis is called L
    return np.asarray(volume.reshape(i, 2, p, 2, l, 2).mean(axis=(1, 3, 5)), np.float32)


def _box(chest: Chest, dice: Chance) -> tuple[slice, ...]:
    """Draw a box around a lung voxel."""
    lung = np.flatnonzero((chest.labels >> SIDE_SHIFT) & 3)
    flat = int(lung[dice.integer(0, lung.size - 1)])
    centre = np.unravel_index(flat, chest.hu.shape)
    starts = [
        int(np.clip(c - BOX // 2, 0, max(0, n - BOX)))
        for c, n in zip(centre, chest.hu.shape, strict=True)
    ]
    return tuple(slice(a, a + BOX) for a in starts)


def _canvas(
    chest: Chest, hu: torch.Tensor, found: torch.Tensor, where: tuple[slice, ...]
) -> Canvas:
    labels = chest.labels[where]
    screen = ras_to_screen(chest.affine[:3, 3])[2] + 2.0 * np.arange(chest.hu.shape[2])
    across = ((screen - chest.box.centre[2]) / chest.box.half[2])[where[2]]
    shape = labels.shape
    return Canvas(
        hu=hu[where].clone(),
        lung_mm=torch.from_numpy(chest.lung_mm[where].astype(np.float32)),
        side=torch.from_numpy(((labels >> SIDE_SHIFT) & 3).astype(np.uint8)),
        anatomy=torch.from_numpy((labels & 31).astype(np.uint8)),
        across=torch.from_numpy(np.broadcast_to(across, shape).astype(np.float32)),
        found=found[where].clone(),
        free=torch.from_numpy((labels >> FLAG_SHIFT) == 0),
    )
