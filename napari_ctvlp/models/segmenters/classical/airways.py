"""Trachea and main bronchi: a seed between the lungs, grown with a leak control."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import (
    IN_PLANE,
    Ids,
    Mask,
    components,
    means,
)

SEED_HU = -850
AREA_MM2 = (50.0, 900.0)
WIDTH_MM = 38.0
OFF_MIDLINE_MM = 40.0
#: Mean HU of what surrounds a trachea; a patch of emphysema is surrounded by lung.
RIM_HU = -450
LADDER_HU = (-850, -880, -900, -920, -940)
LARGEST_ML = 90.0


def find_airways(coarse: Coarse, body: Mask, midline: float) -> Mask:
    """Return trachea and main bronchi, shape of ``coarse.hu``; empty when no seed is seen.

    Parameters
    ----------
    coarse : Coarse
    body : ndarray of bool, shape of ``coarse.hu``
    midline : float
        The patient's midline as an index along L.
    """
    seed = _seed(coarse, body, midline)
    if not seed.any():
        return seed
    for limit in LADDER_HU:
        labels, sizes = components((coarse.hu < limit) & body | seed)
        inside = np.unique(labels[seed])
        if sizes[inside].sum() * coarse.block_ml < LARGEST_ML:
            return np.isin(labels, inside)
    return seed


def _seed(coarse: Coarse, body: Mask, midline: float) -> Mask:
    """Find the largest stack of tube-like patches."""
    labels, sizes = components(_tube_slices(coarse, (coarse.hu < SEED_HU) & body, midline))
    return (labels == int(sizes.argmax())) & (labels > 0)


def _tube_slices(coarse: Coarse, dark: Mask, midline: float) -> Mask:
    """Dark patches of axial slices that have the size, place and rim of a trachea."""
    labels, sizes = components(dark, IN_PLANE)
    area = sizes * coarse.step[1] * coarse.step[2]
    across = np.broadcast_to(np.arange(dark.shape[2], dtype=np.float32), dark.shape)
    off = np.abs(means(labels, across, sizes.size) - midline) * coarse.step[2]
    fits = (area > AREA_MM2[0]) & (area < AREA_MM2[1]) & (off < OFF_MIDLINE_MM)
    boxes = ndimage.find_objects(labels)
    keep = np.zeros(sizes.size, dtype=bool)
    for number in np.flatnonzero(fits):
        keep[number] = _walled(coarse, labels, int(number), boxes[number - 1])
    return keep[labels]


def _walled(coarse: Coarse, labels: Ids, number: int, box: tuple[slice, slice, slice]) -> bool:
    """Tell whether a patch is compact, off the edge and rimmed by wall instead of lung."""
    rows, columns = box[1], box[2]
    height = (rows.stop - rows.start) * coarse.step[1]
    width = (columns.stop - columns.start) * coarse.step[2]
    at_edge = rows.start == 0 or columns.start == 0
    at_edge |= rows.stop == labels.shape[1] or columns.stop == labels.shape[2]
    if at_edge or max(height, width) > WIDTH_MM:
        return False
    around = (
        box[0].start,
        slice(max(rows.start - 2, 0), rows.stop + 2),
        slice(max(columns.start - 2, 0), columns.stop + 2),
    )
    patch = labels[around] == number
    rim = ndimage.binary_dilation(patch, iterations=2) & ~ndimage.binary_dilation(patch)
    return bool(coarse.hu[around][rim].mean() > RIM_HU)
