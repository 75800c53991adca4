"""Which masks may be believed: one connected organ, on its side, in its place, of its size."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Volume = NDArray[np.float32]
#: How far an organ's centre may lie on the wrong side of the midline, in mm.
SIDE_MM = 15.0
#: Organs that are one piece; of the others every piece above ``least`` is kept.
SCATTERED = ("colon", "small_bowel", "oesophagus", "stomach", "aorta")


@dataclass(frozen=True)
class Range:
    """One table of ``plausible.toml``.

    Attributes
    ----------
    ml : (low, high)
        Volume of a complete organ.
    least : float
        A smaller piece is a crumb, in ml.
    hu : (low, high)
        Mean HU.
    side : {"left", "right", ""}
    under : str
        Organ whose centre lies higher.
    least_chance : float
        Mean chance over the mask below which it is left out.
    """

    ml: tuple[float, float]
    least: float
    hu: tuple[float, float]
    side: str = ""
    under: str = ""
    least_chance: float = 0.5


@dataclass(frozen=True)
class Judged:
    """Masks that are kept, on the 4 mm grid, and what is to be said of them.

    Attributes
    ----------
    masks : mapping of organ name to ndarray of bool, shape (i, p, l)
    left_out, doubtful : mapping of organ name to reason
    """

    masks: Mapping[str, Mask]
    left_out: Mapping[str, str]
    doubtful: Mapping[str, str]


@cache
def ranges() -> Mapping[str, Range]:
    """Return what is plausible, by organ."""
    text = Path(__file__).with_name("plausible.toml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {
        name: Range(**row | {"ml": tuple(row["ml"]), "hu": tuple(row["hu"])})
        for name, row in rows.items()
    }


def judge(
    found: Mapping[str, Mask],
    chances: Mapping[str, Volume],
    hu: Volume,
    midline: NDArray[np.float64],
    voxel_ml: float,
) -> Judged:
    """Keep of each organ what can be that organ.

    Parameters
    ----------
    found : mapping of organ name to ndarray of bool, shape (i, p, l)
        Where the network said so.
    chances : mapping of organ name to ndarray, same shape
    hu : ndarray, same shape
    midline : ndarray, shape (i,)
        Index along L of the patient's middle per slice.
    voxel_ml : float
    """
    step = (voxel_ml * 1000) ** (1 / 3)
    masks: dict[str, Mask] = {}
    left_out: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for name, rule in ranges().items():
        if name not in found:
            continue
        mask = _pieces(found[name], chances[name], name in SCATTERED, rule.least / voxel_ml)
        if not mask.any():
            continue
        above = masks.get(rule.under)
        why = _misplaced(mask, midline, rule, above, step) or _other_tissue(mask, hu, rule)
        if why:
            left_out[name] = why
        elif float(chances[name][mask].mean()) < rule.least_chance:
            left_out[name] = "the network is not sure of it"
        else:
            masks[name] = mask
            if doubt := _odd(mask, rule, voxel_ml):
                doubtful[name] = doubt
    return Judged(masks, left_out, doubtful)


def touches_edge(mask: Mask) -> bool:
    """Tell whether an organ reaches the edge of the field of view."""
    return any(bool(np.take(mask, end, axis=axis).any()) for axis in range(3) for end in (0, -1))


def _pieces(mask: Mask, chance: Volume, scattered: bool, least: float) -> Mask:
    """Return the piece with the most chance in it, or all that are no crumbs."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3), bool))
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), weights=chance.ravel())
    sizes[0], sums[0] = 0, 0
    keep = sizes >= least
    if not scattered:
        keep &= np.arange(count + 1) == sums.argmax()
    return np.asarray(keep[labels])


def _misplaced(
    mask: Mask, midline: NDArray[np.float64], rule: Range, above: Mask | None, step: float
) -> str:
    levels, _, columns = np.nonzero(mask)
    left = float((columns - midline[levels]).mean()) * step
    wrong = {"left": -left, "right": left}.get(rule.side, 0.0)
    if wrong > SIDE_MM:
        return f"it was found on the other side, {abs(left):.0f} mm from the midline"
    if above is not None and levels.mean() <= np.nonzero(above)[0].mean():
        return f"it was found above the {rule.under}"
    return ""


def _other_tissue(mask: Mask, hu: Volume, rule: Range) -> str:
    mean = float(hu[mask].mean())
    if rule.hu[0] <= mean <= rule.hu[1]:
        return ""
    return f"mean {mean:.0f} HU, expected {rule.hu[0]:.0f} to {rule.hu[1]:.0f}"


def _odd(mask: Mask, rule: Range, voxel_ml: float) -> str:
    ml = float(mask.sum() * voxel_ml)
    if rule.ml[0] <= ml <= rule.ml[1] or (ml < rule.ml[0] and touches_edge(mask)):
        return ""
    return f"{ml:.0f} ml, expected {rule.ml[0]:.0f} to {rule.ml[1]:.0f}"
