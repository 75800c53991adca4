"""Which blocks belong to the patient: not the couch, not the air around, lungs included."""

from __future__ import annotations

import numpy as np

from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import (
    IN_PLANE,
    Ids,
    Mask,
    Tick,
    components,
    grown,
    means,
    shrunk,
)

SOLID_HU = -350
#: Blocks below this are room air, gas or a bulla, hardly ever lung.
GAS_HU = -930
#: A couch shell or a blanket is thinner than this (radius in mm).
THIN_MM = 5.0
#: Parts beside the largest one (arms) must be at least this deep and large.
PART_DEPTH_MM, PART_ML = 15.0, 150.0


def find_body(coarse: Coarse, tick: Tick = lambda: None) -> Mask:
    """Return the patient with everything enclosed, shape of ``coarse.hu``.

    Lungs that reach the edge of the field of view are kept: they are brighter than room air.
    ``tick`` is called half-way.
    """
    solid = _solid(coarse)
    tick()
    return solid | _enclosed(coarse, solid) if solid.any() else solid


def _solid(coarse: Coarse) -> Mask:
    """Thick dense parts: the trunk, arms, but no couch shell and no blanket."""
    dense = coarse.hu > SOLID_HU
    block = float(coarse.step[1:].mean())
    core = dense
    for blocks in range(int(THIN_MM / block), -1, -1):
        core = shrunk(dense, blocks, IN_PLANE)
        if core.any():
            break
    labels, sizes = components(core)
    thick = shrunk(core, round((PART_DEPTH_MM - THIN_MM) / block), IN_PLANE)
    keep = np.bincount(labels[thick], minlength=sizes.size) > 0
    keep &= sizes * coarse.block_ml > PART_ML
    keep[int(sizes.argmax())] = True
    keep[0] = False
    return grown(keep[labels], blocks, IN_PLANE) & dense


def _enclosed(coarse: Coarse, solid: Mask) -> Mask:
    """Holes of the solid part, slice by slice, and cut lungs at the edge of the picture."""
    padding = _padding(coarse)
    labels, sizes = components(~solid & ~padding, IN_PLANE)
    outside = _touching_edge(padding | (coarse.hu < GAS_HU))
    room = np.bincount(labels.ravel(), weights=outside.ravel(), minlength=sizes.size)
    keep = room < 0.5 * sizes
    cut = _at_edge(labels, sizes.size)
    cut[np.unique(labels[grown(padding, 1, IN_PLANE)])] = True
    keep &= ~cut | (means(labels, coarse.hu, sizes.size) > GAS_HU) & (room < 0.1 * sizes)
    keep[0] = False
    return keep[labels]


def _padding(coarse: Coarse) -> Mask:
    """What lies outside a round field of view: noiseless, one value in most corners."""
    middle = coarse.hu[len(coarse.hu) // 2]
    values, counts = np.unique(middle[[0, 0, -1, -1], [0, -1, 0, -1]], return_counts=True)
    value, count = float(values[counts.argmax()]), int(counts.max())
    if count < 3 or value > GAS_HU:
        return np.zeros(coarse.hu.shape, dtype=bool)
    return _touching_edge(coarse.hu == value)


def _touching_edge(gas: Mask) -> Mask:
    """Return the parts of ``gas`` that reach an in-plane edge of the volume."""
    labels, sizes = components(gas)
    return _at_edge(labels, sizes.size)[labels] & gas


def _at_edge(labels: Ids, count: int) -> Mask:
    """Tell which labels reach an in-plane edge, shape (count,)."""
    out = np.zeros(count, dtype=bool)
    for axis in (1, 2):
        for end in (0, -1):
            out[np.unique(labels.take(end, axis=axis))] = True
    return out
