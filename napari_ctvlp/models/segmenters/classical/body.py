"""Which blocks belong to the patient: not the couch, not the air around, lungs included."""

from __future__ import annotations

import numpy as np

from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import (
    IN_PLANE,
    Mask,
    components,
    depth_mm,
    dilate,
    means,
)

SOLID_HU = -350
#: Blocks below this are room air, gas or a bulla, hardly ever lung.
GAS_HU = -930
#: A couch shell or a blanket is thinner than this (radius in mm).
THIN_MM = 5.0
#: Parts beside the largest one (arms) must be at least this deep and large.
PART_DEPTH_MM, PART_ML = 15.0, 150.0


def find_body(coarse: Coarse) -> Mask:
    """Return the patient with everything enclosed, shape of ``coarse.hu``.

    Lungs that reach the edge of the field of view are kept: they are brighter than room air.
    """
    solid = _solid(coarse)
    return solid | _enclosed(coarse, solid) if solid.any() else solid


def _solid(coarse: Coarse) -> Mask:
    deep = depth_mm(coarse.hu > SOLID_HU, coarse.step)
    core = deep > min(THIN_MM, 0.5 * float(deep.max(initial=0.0)))
    if not core.any():
        return core
    labels, sizes = components(core)
    keep = sizes * coarse.block_ml > PART_ML
    depths = np.zeros(sizes.size)
    np.maximum.at(depths, labels.ravel(), deep.ravel())
    keep &= depths > PART_DEPTH_MM
    keep[int(sizes.argmax())] = True
    keep[0] = False
    return dilate(keep[labels], THIN_MM, coarse.step) & (coarse.hu > SOLID_HU)


def _enclosed(coarse: Coarse, solid: Mask) -> Mask:
    """Holes of the solid part, slice by slice, and cut lungs at the edge of the picture."""
    labels, sizes = components(~solid, IN_PLANE)
    outside = _touching_edge(coarse.hu < GAS_HU)
    room = np.bincount(labels.ravel(), weights=outside.ravel(), minlength=sizes.size)
    keep = room < 0.5 * sizes
    cut = np.zeros(sizes.size, dtype=bool)
    for axis in (1, 2):
        for end in (0, -1):
            cut[np.unique(labels.take(end, axis=axis))] = True
    keep &= ~cut | (means(labels, coarse.hu, sizes.size) > GAS_HU) & (room < 0.1 * sizes)
    keep[0] = False
    return keep[labels]


def _touching_edge(gas: Mask) -> Mask:
    """Parts of ``gas`` that reach an in-plane edge of the volume."""
    labels, sizes = components(gas)
    keep = np.zeros(sizes.size, dtype=bool)
    for axis in (1, 2):
        for end in (0, -1):
            keep[np.unique(labels.take(end, axis=axis))] = True
    keep[0] = False
    return keep[labels]
