"""Whole prepared CTs with a painted finding: peaks, thresholds and organ bags come from here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.geometry import coarse_affine, ras_to_screen
from napari_ctvlp.models.encoders.mini_grid import place_channels
from napari_ctvlp.models.encoders.mini_tower import NORM, Tower
from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.training.data import FLAG_SHIFT, IGNORE, SIDE_SHIFT, Chest
from napari_ctvlp.training.synthesis.canvas import FINDINGS, Canvas, Chance
from napari_ctvlp.training.synthesis.canvas import Painted as Made
from napari_ctvlp.training.synthesis.crops import PAINTERS, paint
from napari_ctvlp.training.synthesis.source import Source

#: Edge in voxels of the box a finding is painted in, cut out of the whole chest.
BOX = 96
#: Deeper than this in the body is not skin or muscle, in mm.
DEEP_MM = 30
#: Image noise added to a painted chest, in HU.
NOISE_HU = 6.0


@dataclass(frozen=True)
class Painted:
    """A whole CT, perhaps with one painted finding.

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
    voxels : ndarray, shape (i, p, l), bool
        What was painted, on the grid of ``hu``.
    made : canvas.Painted or None
        What the painter says of it.
    """

    name: str
    finding: str
    hu: torch.Tensor
    truth: NDArray[np.bool_]
    near: NDArray[np.bool_]
    voxels: NDArray[np.bool_]
    made: Made | None = None


def painted_chest(
    chest: Chest, finding: str, seed: int, spots: Mapping[str, NDArray[np.int64]] | None = None
) -> Painted | None:
    """Paint one finding (or none) into a copy of a CT; None when it found no place.

    ``spots`` are the CT's ``Source.spots``, worked out when left out.
    """
    dice = Chance(seed)
    hu = torch.from_numpy(chest.hu.astype(np.float32))
    found = torch.zeros(hu.shape, dtype=torch.uint8)
    made: Made | None = None
    if finding:
        places = (spots or spots_of(chest))[PAINTERS[finding].around]
        if not places.size:
            return None
        where = _box(chest.hu.shape, places, dice)
        canvas = _canvas(chest, hu, found, where)
        made = next(iter(paint(canvas, [finding], dice)), None)
        if made is None:
            return None
        hu[where], found[where] = canvas.hu, canvas.found
    hu = hu + NOISE_HU * dice.normal(*hu.shape)
    number = FINDINGS.index(finding) + 1 if finding else -1
    voxels = found == number
    share = torch.nn.functional.avg_pool3d(voxels.float()[None, None], 2)[0, 0].numpy()
    truth = share >= 0.4
    if finding and truth.sum() < 3:
        return None
    near = ndimage.distance_transform_edt(~truth, sampling=4.0) <= 8.0 if finding else truth
    name = chest.case.name
    return Painted(name, finding, hu, truth, np.asarray(near), voxels.numpy(), made)


def spots_of(chest: Chest) -> dict[str, NDArray[np.int64]]:
    """Return the voxels a finding may be painted around, by what lies there."""
    return Source(chest, [], "cpu").spots


def painted_chests(
    chests: Sequence[Chest],
    findings: Sequence[str],
    seed: int,
    each: int,
    size_mm: tuple[float, float] | None = None,
) -> Iterator[tuple[Chest, Painted]]:
    """Yield ``each`` painted CTs per finding, cycling through those that have a place for it.

    With ``size_mm`` only findings of that range are kept, out of ten times as many tries.
    """
    spots = [spots_of(chest) for chest in chests]
    for number, finding in enumerate(findings):
        around = PAINTERS[finding].around if finding else "body"
        able = [pair for pair in zip(chests, spots, strict=True) if pair[1][around].size]
        made = attempt = 0
        while able and made < each and attempt < (100 if size_mm else 10) * each:
            chest, places = able[(attempt + number) % len(able)]
            painted = painted_chest(chest, finding, seed + 1000 * number + attempt, places)
            attempt += 1
            if painted is not None and _in_range(painted.made, size_mm):
                made += 1
                yield chest, painted


def _in_range(made: Made | None, size_mm: tuple[float, float] | None) -> bool:
    if size_mm is None or made is None:
        return size_mm is None
    return size_mm[0] <= made.size_mm <= size_mm[1]


def token_place(chest: Chest) -> NDArray[np.float32]:
    """Position channels of a whole prepared chest, shape (4, i/2, p/2, l/2)."""
    affine = coarse_affine(chest.affine, 2)
    depth = _pooled(chest.body_mm.astype(np.float32))
    return place_channels(chest.box, depth, depth.shape, affine)


def encode_whole(tower: Tower, hu: torch.Tensor, place: NDArray[np.float32]) -> torch.Tensor:
    """Return tokens of a whole chest, shape (i/2, p/2, l/2, 64)."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
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


def _pooled(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    i, p, l = (n // 2 for n in volume.shape)  # noqa: E741 - the axis is called L
    return np.asarray(volume.reshape(i, 2, p, 2, l, 2).mean(axis=(1, 3, 5)), np.float32)


def _box(
    shape: tuple[int, ...], places: NDArray[np.int64], dice: Chance
) -> tuple[slice, slice, slice]:
    """Draw a box around one of ``places``, flat indices into ``shape``."""
    centre = np.unravel_index(int(places[dice.integer(0, places.size - 1)]), shape)
    i, p, l = (  # noqa: E741 - the axis is called L
        slice(start, start + BOX)
        for start in (
            int(np.clip(c - BOX // 2, 0, max(0, n - BOX)))
            for c, n in zip(centre, shape, strict=True)
        )
    )
    return i, p, l


def _canvas(
    chest: Chest, hu: torch.Tensor, found: torch.Tensor, where: tuple[slice, slice, slice]
) -> Canvas:
    labels = chest.labels[where]
    body_mm = torch.from_numpy(chest.body_mm[where])
    return Canvas(
        hu=hu[where].clone(),
        lung_mm=torch.from_numpy(chest.lung_mm[where].astype(np.float32)),
        side=torch.from_numpy(((labels >> SIDE_SHIFT) & 3).astype(np.uint8)),
        anatomy=torch.from_numpy((labels & 31).astype(np.uint8)),
        across=_relative(chest, where, 2),
        found=found[where].clone(),
        free=torch.from_numpy((labels >> FLAG_SHIFT) == 0),
        up=_relative(chest, where, 0),
        ids=None if chest.ids is None else torch.from_numpy(chest.ids[where].copy()),
        deep=body_mm > DEEP_MM,
    )


def _relative(chest: Chest, where: tuple[slice, slice, slice], axis: int) -> torch.Tensor:
    """Position of a box's voxels along one axis in half widths of the lung box."""
    screen = ras_to_screen(chest.affine[:3, 3])[axis] + 2.0 * np.arange(chest.hu.shape[axis])
    row = ((screen - chest.box.centre[axis]) / chest.box.half[axis])[where[axis]]
    shape = [1, 1, 1]
    shape[axis] = row.size
    full = np.broadcast_to(row.reshape(shape), chest.hu[where].shape)
    return torch.from_numpy(full.astype(np.float32))
