"""Trachea and main bronchi: a seed between the lungs, grown with a leak control."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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
#: In slices with at least this much lung, gas in the front share of the body is bowel.
WIDE_MM2, FRONT_SHARE = 10000.0, 0.36
#: Mean HU of what surrounds a trachea; a patch of emphysema is surrounded by lung.
RIM_HU = -450
LADDER_HU = (-850, -880, -900, -920, -940)
LARGEST_ML = 90.0
#: Mean HU of airways at most; a part of a lung is brighter.
GAS_HU = -900
#: A trachea starts at most this far below the top of the lungs, in mm.
BELOW_TOP_MM = 60.0


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
        grown = np.isin(labels, inside)
        if sizes[inside].sum() * coarse.block_ml < LARGEST_ML and coarse.hu[grown].mean() < GAS_HU:
            return grown
    return seed if coarse.hu[seed].mean() < GAS_HU else np.zeros_like(seed)


def airways_above(airways: Mask, lungs: Mask, step: float) -> Mask:
    """Return ``airways`` if they start at the lungs' top or above, else nothing (it was bowel).

    Parameters
    ----------
    airways, lungs : ndarray of bool, shape (i, p, l)
    step : float
        Slice distance in mm.
    """
    tops = [int(mask.any(axis=(1, 2)).argmax()) for mask in (airways, lungs)]
    if lungs.any() and (tops[0] - tops[1]) * step < BELOW_TOP_MM:
        return airways
    return np.zeros_like(airways)


def _seed(coarse: Coarse, body: Mask, midline: float) -> Mask:
    """Find the largest stack of tube-like patches."""
    labels, sizes = components(_tube_slices(coarse, body, midline))
    return np.asarray((labels == int(sizes.argmax())) & (labels > 0))


def _tube_slices(coarse: Coarse, body: Mask, midline: float) -> Mask:
    """Find dark patches of axial slices that have the size, place and rim of a trachea."""
    dark = (coarse.hu < SEED_HU) & body
    labels, sizes = components(dark, IN_PLANE)
    area = sizes * coarse.step[1] * coarse.step[2]
    across = np.broadcast_to(np.arange(dark.shape[2], dtype=np.float32), dark.shape)
    off = np.abs(means(labels, across, sizes.size) - midline) * coarse.step[2]
    fits = (area > AREA_MM2[0]) & (area < AREA_MM2[1]) & (off < OFF_MIDLINE_MM)
    front = _front_limit(coarse, body)
    boxes = ndimage.find_objects(labels)
    keep = np.zeros(sizes.size, dtype=bool)
    for number in np.flatnonzero(fits):
        box = boxes[number - 1]
        middle = (box[1].start + box[1].stop) / 2
        inner = middle > front[box[0].start]
        keep[number] = inner and _walled(coarse, labels, int(number), box)
    return keep[labels]


def _front_limit(coarse: Coarse, body: Mask) -> NDArray[np.float64]:
    """Index along P in front of which gas is stomach or colon, per slice, shape (i,).

    Only where the lungs are wide; above them the trachea itself lies in front.
    """
    rows = np.asarray(body.any(axis=2))
    first = rows.argmax(axis=1)
    last = rows.shape[1] - np.argmax(rows[:, ::-1], axis=1)
    lung = ((coarse.hu < RIM_HU) & body).sum(axis=(1, 2)) * coarse.step[1] * coarse.step[2]
    return np.where(lung > WIDE_MM2, first + FRONT_SHARE * (last - first), 0.0)


def _walled(coarse: Coarse, labels: Ids, number: int, box: tuple[slice, ...]) -> bool:
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
