"""The inside of chest and belly: what is neither body wall nor spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ctvlp.core.hull import convex_slices
from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import (
    IN_PLANE,
    Mask,
    depth_mm,
    erode,
    shrunk,
)

#: The hull of the lungs is shrunk by this much in mm before anything in it is not bone.
RIM_MM = 7.0
#: How far below the lungs their outline is carried into the belly: for the inside, and for the
#: part that holds no bone (the pelvis does).
BELLY_MM, BONELESS_MM = 250.0, 120.0
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
    last = int(np.flatnonzero(hull.any(axis=(1, 2)))[-1])
    carried = np.logical_or.accumulate(hull, axis=0)
    carried[last + 1 + int(BELLY_MM / coarse.step[0]) :] = False
    deep = depth_mm(carried, coarse.step)
    inside = (deep > RIM_MM) & shrunk(body, round(SKIN_MM / coarse.step[1]), IN_PLANE)
    boneless = inside & (hull | (deep > RIM_MM + RIBS_MM))
    boneless[last + 1 + int(BONELESS_MM / coarse.step[0]) :] = False
    return Cavity(inside, boneless & ~_spine(inside, hull, coarse, midline))


def _spine(inside: Mask, hull: Mask, coarse: Coarse, midline: float) -> Mask:
    """Where vertebrae may lie."""
    rows = np.asarray(inside.any(axis=2))
    last = np.argmax(rows[:, ::-1], axis=1, keepdims=True)
    reach = SPINE_FRONT_MM - RIM_MM + np.where(hull.any(axis=(1, 2)), 0.0, LORDOSIS_MM)
    from_back = np.arange(rows.shape[1])[::-1] - last
    behind = from_back * coarse.step[1] < reach.reshape(-1, 1)
    off = np.abs(np.arange(inside.shape[2]) - midline) * coarse.step[2]
    return np.asarray(np.logical_and.outer(behind, off < SPINE_HALF_MM), dtype=bool)
