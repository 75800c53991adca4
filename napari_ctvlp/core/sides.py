"""Left and right from the body itself, to be held against what the header says.

Only what has no side of its own is taken from an anatomy map (both lungs together); where
heart, liver, aorta and stomach lie is then read from the HU, so that a segmenter that expects
organs on their usual side cannot hide a mirrored scan. Bounds are in mm and HU of an adult.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.scan import Scan

Verdict = Literal["agrees", "objects", "cannot tell"]
#: Grid of the check, mm: fine enough for an aorta.
_STEP_MM = 4.0
#: Lung volume in ml under which a chest is not seen.
_LEAST_LUNG_ML = 800.0
_SOFT, _ORGAN, _GAS_HU, _BONE_HU = (-20.0, 350.0), (20.0, 200.0), -300.0, 150.0
#: Soft tissue this deep in all directions is an organ, not muscle, mm.
_DEEP_MM = 10.0
#: Gas of less than this is a bubble anywhere in the bowel, ml.
_LEAST_GAS_ML = 8.0
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SideClue:
    """Where one organ lies.

    Attributes
    ----------
    organ : str
        ``"heart"``, ``"liver"``, ``"aorta"`` or ``"stomach gas"``.
    usual : {"left", "right"}
        Its usual side.
    offset_mm : float
        How far its middle lies from the midline, positive toward the patient's left as the
        header has it.
    least_mm : float
        Offsets within this say nothing.
    """

    organ: str
    usual: Literal["left", "right"]
    offset_mm: float
    least_mm: float

    @property
    def vote(self) -> int:
        """1 on its usual side, -1 on the other, 0 near the midline."""
        if abs(self.offset_mm) < self.least_mm:
            return 0
        return 1 if (self.offset_mm > 0) == (self.usual == "left") else -1


@dataclass(frozen=True)
class SideCheck:
    """What the body says about the header's left and right.

    Attributes
    ----------
    verdict : {"agrees", "objects", "cannot tell"}
    clues : tuple of SideClue
    words : str
        For the user. Nothing is ever corrected.
    """

    verdict: Verdict
    clues: tuple[SideClue, ...]
    words: str


@dataclass(frozen=True)
class _Chest:
    """The scan on a coarse grid, (i, p, l)."""

    hu: NDArray[np.float32]
    lungs: Mask
    left_mm: NDArray[np.float64]
    posterior_mm: NDArray[np.float64]
    middle: float
    base: int
    step_ml: float

    def offset(self, mask: Mask) -> float:
        """Mean distance of a mask from the midline, mm toward the left."""
        counts = mask.sum(axis=(0, 1))
        return float((counts * self.left_mm).sum() / counts.sum() - self.middle)


def check_sides(scan: Scan, anatomy: AnatomyMap) -> SideCheck:
    """Hold the header's left and right against heart, liver, aorta and stomach.

    Parameters
    ----------
    scan : Scan
        A CT in HU.
    anatomy : AnatomyMap
        Of the same grid; only its lungs are looked at, both as one.

    Returns
    -------
    SideCheck
        ``objects`` when at least two clues lie on the wrong side and they are the majority.
    """
    lungs = anatomy.mask(("lung_left", "lung_right"))
    chest = _coarse(scan, lungs)
    if scan.meta.unit != "HU" or chest is None:
        words = "Left and right cannot be checked: too little of the lungs is in the scan."
        return SideCheck("cannot tell", (), words)
    clues = tuple(_clues(chest))
    votes = [clue.vote for clue in clues]
    against, agreed = votes.count(-1), votes.count(1)
    verdict: Verdict = "cannot tell"
    if against >= 2 and against > agreed:
        verdict = "objects"
    elif agreed >= 2 and agreed > against:
        verdict = "agrees"
    return SideCheck(verdict, clues, _words(verdict, clues))


def _coarse(scan: Scan, lungs: Mask) -> _Chest | None:
    """Take every n-th voxel of a smoothed scan; None without a chest."""
    if lungs.sum() * scan.voxel_ml < _LEAST_LUNG_ML:
        return None
    steps = np.maximum(1, np.round(_STEP_MM / scan.spacing)).astype(int)
    every = tuple(slice(step // 2, None, step) for step in steps)
    hu = ndimage.uniform_filter(scan.hu.astype(np.float32), tuple(steps))[every]
    ras = [transform(scan.affine, np.eye(3)[axis]) - scan.affine[:3, 3] for axis in (1, 2)]
    places = [np.arange(scan.shape[axis])[every[axis]] for axis in (1, 2)]
    posterior = scan.affine[1, 3] + places[0] * ras[0][1]
    left = scan.affine[0, 3] + places[1] * ras[1][0]
    few = lungs[every]
    areas = few.sum(axis=(1, 2))
    base = int(np.flatnonzero(areas > 0.35 * areas.max())[-1])
    ml = float((steps * scan.spacing).prod() / 1000)
    return _Chest(hu, few, -left, -posterior, _midline(hu, few, -left), base, ml)


def _midline(hu: NDArray[np.float32], lungs: Mask, left_mm: NDArray[np.float64]) -> float:
    """Middle of the spine, mm toward the left; between the lungs' walls without bone."""
    columns = np.flatnonzero(lungs.any(axis=(0, 1)))
    rows = np.flatnonzero(lungs.any(axis=(0, 2)))
    middle = float((left_mm[columns[0]] + left_mm[columns[-1]]) / 2)
    levels = lungs.any(axis=(1, 2))
    bone = hu[levels, rows[0] + 6 * (rows[-1] - rows[0]) // 10 :] > _BONE_HU
    weights = bone.sum(axis=(0, 1)) * (np.abs(left_mm - middle) < 40)
    return float((weights * left_mm).sum() / weights.sum()) if weights.any() else middle


def _clues(chest: _Chest) -> Iterator[SideClue]:
    """Yield what can be seen."""
    heart = _between_lungs(chest)
    if heart.any():
        yield SideClue("heart", "left", chest.offset(heart), 4.0)
    beside = _beside_spine(chest)
    if beside.any():
        yield SideClue("aorta", "left", chest.offset(beside), 4.0)
    liver = _solid_below(chest)
    if liver.any():
        yield SideClue("liver", "right", chest.offset(liver), 8.0)
    gas = _gas_below(chest)
    if gas.sum() * chest.step_ml > _LEAST_GAS_ML:
        yield SideClue("stomach gas", "left", chest.offset(gas), 15.0)


def _levels(chest: _Chest) -> slice:
    """Where the heart is: between the middle of the lungs and the domes of the diaphragm."""
    top = int(np.flatnonzero(chest.lungs.any(axis=(1, 2)))[0])
    height = chest.base - top
    return slice(top + 45 * height // 100, top + 82 * height // 100)


def _between_lungs(chest: _Chest) -> Mask:
    """Soft tissue between the lungs, in front of their middle."""
    found = np.zeros_like(chest.lungs)
    for level in range(*_levels(chest).indices(len(found))):
        lungs = chest.lungs[level]
        rows = np.flatnonzero(lungs.any(axis=1))
        if not len(rows):
            continue
        inside = np.logical_and.accumulate(~lungs, axis=1)
        outside = inside | np.logical_and.accumulate(~lungs[:, ::-1], axis=1)[:, ::-1]
        between = ~lungs & ~outside
        between[rows[0] + int(0.6 * (rows[-1] - rows[0])) :] = False
        found[level] = between
    return found & _within(chest.hu, _SOFT)


def _beside_spine(chest: _Chest) -> Mask:
    """Soft tissue beside the front of the spine, where the descending aorta runs."""
    levels = _levels(chest)
    bone = chest.hu > _BONE_HU
    near = np.abs(chest.left_mm - chest.middle) < 40
    rows = np.flatnonzero(chest.lungs.any(axis=(0, 2)))
    back = bone[levels, rows[0] + (rows[-1] - rows[0]) // 2 :][..., near].sum(axis=(0, 2))
    if not back.any():
        return np.zeros_like(chest.lungs)
    spine = rows[0] + (rows[-1] - rows[0]) // 2 + int(np.flatnonzero(back > back.max() / 2)[0])
    depth = chest.posterior_mm - chest.posterior_mm[spine]
    across = np.abs(chest.left_mm - chest.middle)
    place = (np.abs(depth) < 16)[:, None] & ((across > 14) & (across < 46))[None]
    found = np.zeros_like(chest.lungs)
    found[levels] = place & _within(chest.hu[levels], _SOFT) & ~chest.lungs[levels]
    return found


def _solid_below(chest: _Chest) -> Mask:
    """Deep, even soft tissue under the lungs."""
    solid = _within(chest.hu, _ORGAN)
    solid[: chest.base] = False
    rounds = max(1, round(_DEEP_MM / _STEP_MM))
    return np.asarray(ndimage.binary_erosion(solid, iterations=rounds))


def _gas_below(chest: _Chest) -> Mask:
    """Gas inside the body under the lungs that is not lung."""
    body = chest.hu > _GAS_HU
    inside = np.array([ndimage.binary_fill_holes(plane) for plane in body])
    gas = inside & ~body & ~ndimage.binary_dilation(chest.lungs, iterations=2)
    gas[: chest.base] = False
    return np.asarray(gas)


def _within(values: NDArray[np.float32], bounds: tuple[float, float]) -> Mask:
    return np.asarray((values > bounds[0]) & (values < bounds[1]))


def _words(verdict: Verdict, clues: tuple[SideClue, ...]) -> str:
    """Say what was seen; an objection names both possible reasons."""
    seen = "; ".join(
        f"{clue.organ} {abs(clue.offset_mm):.0f} mm to the "
        f"{'left' if clue.offset_mm > 0 else 'right'}"
        for clue in clues
    )
    if verdict == "objects":
        return (
            f"By the header, this body is a mirror image ({seen}). Either the file's left and "
            "right are swapped, or the patient has situs inversus. Nothing was corrected: check "
            "it against the original before using any side."
        )
    if verdict == "agrees":
        return f"The body agrees with the header's left and right ({seen})."
    return f"The body does not tell left from right ({seen or 'nothing to go by'})."
