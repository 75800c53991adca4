"""The inside of chest and belly: what is neither body wall nor spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ctvlp.core.hull import convex_slices
from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import Mask, depth_mm, erode

#: The hull of the lungs is shrunk by this much in mm before anything in it is not bone.
RIM_MM = 7.0
#: The lungs' outline is carried down at most this far below them, into the upper belly.
BELOW_MM = 120.0
#: Without lungs, how deep under the skin the inside begins, in mm.
WALL_MM = 40.0
SKIN_MM = 15.0
#: Half width of the spine, and how far it reaches in front of the lungs' hindmost point, in mm.
SPINE_HALF_MM, SPINE_FRONT_MM = 34.0, 62.0
#: Below the lungs the spine bends forward and the last ribs lie within the lungs' outline.
LORDOSIS_MM, RIBS_MM = 30.0, 18.0


@dataclass(frozen=True)
class Cavity:
    """Inside, and its part without bone.

    Attributes
    ----------
    inside : ndarray of bool, shape (i, p, l)
        Chest and upper belly within their wall.
    boneless : ndarray of bool, shape (i, p, l)
        The part of ``inside`` that holds neither vertebra nor rib.
    """

    inside: Mask
    boneless: Mask


def find_cavity(coarse: Coarse, body: Mask, lungs: Mask, midline: float) -> Cavity:
    """Return the inside of the trunk from the lungs' outline; from the skin if there are none.

    Parameters
    ----------
    coarse : Coarse
    body, lungs : ndarray of bool, shape of ``coarse.hu``
    midline : float
        Index along L.
    """
    if not lungs.any():
        inside = erode(body, WALL_MM, coarse.step)
        return Cavity(inside, inside & ~_spine(inside, inside, coarse, midline))
    hull = convex_slices(lungs)
    deep = depth_mm(_carried_down(hull, coarse.step[0]), coarse.step)
    inside = (deep > RIM_MM) & erode(body, SKIN_MM, coarse.step)
    boneless = inside & (hull | (deep > RIM_MM + RIBS_MM))
    return Cavity(inside, boneless & ~_spine(inside, hull, coarse, midline))


def _spine(inside: Mask, hull: Mask, coarse: Coarse, midline: float) -> Mask:
    """Where vertebrae may lie."""
    rows = inside.any(axis=2)
    hindmost = rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    reach = SPINE_FRONT_MM - RIM_MM + np.where(hull.any(axis=(1, 2)), 0.0, LORDOSIS_MM)
    front = hindmost - reach / coarse.step[1]
    behind = np.arange(rows.shape[1])[None, :] > front[:, None]
    across = np.abs(np.arange(inside.shape[2]) - midline) * coarse.step[2] < SPINE_HALF_MM
    return np.asarray(behind[:, :, None] & across, dtype=bool)


def _carried_down(hull: Mask, step: float) -> Mask:
    """Let each slice keep the outline of the slices above it, down to ``BELOW_MM`` below."""
    out = np.logical_or.accumulate(hull, axis=0)
    last = int(np.flatnonzero(hull.any(axis=(1, 2)))[-1])
    out[last + 1 + int(BELOW_MM / step) :] = False
    return out
