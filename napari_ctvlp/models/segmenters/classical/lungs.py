"""Left and right lung: air in the body that is not gas in the bowel, split by patient side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import (
    IN_PLANE,
    Ids,
    Mask,
    Tick,
    box_of,
    closed,
    components,
    depth_mm,
    dilate,
)

AIR_HU = -400
SMALLEST_ML = 60.0
#: A part smaller than this share of the largest needs ``SMALLEST_ML``; thin slabs hold little.
SMALLEST_SHARE = 0.1
#: Gas in stomach and bowel is darker than lung throughout.
GAS_HU, GAS_SHARE = -950, 0.7
#: The same for parts too small for a whole lung.
BOWEL_ML, BOWEL_SHARE = 300.0, 0.25
#: Two parts that only touch through a neck of this radius are judged apart.
NECK_MM = 3.0
#: Erosions tried, in mm, until the two lungs come apart.
APART_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 11.0, 14.0)
#: The smaller lung holds at least this share of the larger one, and their middles are apart.
COMPARABLE, BESIDE_MM = 0.12, 60.0
#: Share of a lung that lies on its own side of the midline.
ONE_SIDE = 0.8
#: Lungs that never come apart are cut at the midline if it leaves this share on both sides.
FUSED = 0.3
#: Gaps closed, as radius in mm, and holes filled in axial slices, up to a nodule of 35 mm; what
#: is larger is a mass and not called lung.
VESSEL_MM, HOLE_MM2 = 9.0, 1000.0


def find_lungs(
    coarse: Coarse, body: Mask, airways: Mask, midline: float, tick: Tick = lambda: None
) -> tuple[Mask, Mask]:
    """Return left and right lung with their vessels, shape of ``coarse.hu``.

    Parameters
    ----------
    coarse : Coarse
    body, airways : ndarray of bool, shape of ``coarse.hu``
    midline : float
        The patient's midline as an index along L.
    tick : callable
        Called between the steps.
    """
    air = _lung_air(coarse, body, airways)
    tick()
    empty = np.zeros_like(air)
    if not air.any():
        return empty, empty
    margin = np.ceil(2 * VESSEL_MM / coarse.step).astype(np.int64)
    box = box_of(air, margin)
    left, right = split_sides(air[box], coarse.step, midline - box[2].start)
    tick()
    allowed = (body & ~airways)[box]
    left, right = (_filled(side, coarse.step) & allowed for side in (left, right))
    overlap = left & right
    lungs = (empty.copy(), empty.copy())
    for lung, side in zip(lungs, (left, right), strict=True):
        lung[box] = side & ~overlap | side & air[box]
    return lungs


def _lung_air(coarse: Coarse, body: Mask, airways: Mask) -> Mask:
    """Air of the body without bowel gas and airways."""
    reach = 1.01 * float(coarse.step[1:].max())
    wall = dilate(airways, reach, coarse.step) if airways.any() else airways
    air = (coarse.hu < AIR_HU) & body & ~wall
    labels, sizes = _parts(air, coarse.step)
    ml = sizes * coarse.block_ml
    gas = np.bincount(labels.ravel(), (coarse.hu < GAS_HU).ravel(), sizes.size)
    lung = gas < np.where(ml < BOWEL_ML, BOWEL_SHARE, GAS_SHARE) * sizes
    largest = float(ml[lung].max(initial=0.0))
    keep = lung & (ml > min(SMALLEST_ML, SMALLEST_SHARE * largest)) & (ml > 1.0)
    keep[0] = False
    return (keep & _beside(labels, int(np.where(keep, sizes, 0).argmax())))[labels]


def _beside(labels: Ids, largest: int) -> Mask:
    """Tell which parts share a level of the body with the largest one, by label."""
    boxes = ndimage.find_objects(labels)
    out = np.zeros(len(boxes) + 1, dtype=bool)
    if largest:
        levels = boxes[largest - 1][0]
        for number, box in enumerate(boxes, 1):
            shares = box is not None and box[0].start < levels.stop and box[0].stop > levels.start
            out[number] = shares
    return out


def _parts(air: Mask, step: NDArray[np.float64]) -> tuple[Ids, NDArray[np.int64]]:
    """Label air by its nearest thick part, so that a lung and the bowel that touch come apart."""
    deep = depth_mm(air, step)
    labels, _ = components(deep > min(NECK_MM, 0.5 * float(deep.max(initial=0.0))))
    nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=step, return_distances=False, return_indices=True
    )
    whole, _ = components(air)
    reached = tuple(nearest)
    spread = np.where(air & (whole == whole[reached]), labels[reached], 0).astype(np.int32)
    sizes = np.bincount(spread.ravel(), minlength=int(labels.max()) + 1)
    sizes[0] = 0
    return spread, sizes


def split_sides(air: Mask, step: NDArray[np.float64], midline: float) -> tuple[Mask, Mask]:
    """Split lung air into patient left and right.

    The mask is eroded until two comparable parts lie on opposite sides of the midline, or at
    least side by side; every other voxel joins the nearer one. A single lung goes to the side
    it lies on; lungs that never come apart are cut at the midline.

    Parameters
    ----------
    air : ndarray of bool, shape (i, p, l)
    step : ndarray, shape (3,)
        Voxel size in mm.
    midline : float
        Index along L (index grows toward the patient's left).
    """
    deep = depth_mm(air, step)
    for limit in APART_MM:
        cores = _opposite(deep > limit, midline)
        if cores is not None:
            return _nearest(air, cores, step)
    for limit in APART_MM:
        cores = _side_by_side(deep > limit, step[2])
        if cores is not None:
            return _nearest(air, cores, step)
    across = np.arange(air.shape[2])
    share = float(air[:, :, across > midline].sum() / air.sum())
    if FUSED < share < 1 - FUSED:
        left = air & (across > midline)
    else:
        left = air if share > 0.5 else np.zeros_like(air)
    return left, air & ~left


def _opposite(mask: Mask, midline: float) -> tuple[Mask, Mask] | None:
    """Return the largest parts left and right of the midline, when they are comparable."""
    labels, sizes = components(mask)
    beyond = np.bincount(labels[:, :, int(midline) + 1 :].ravel(), minlength=sizes.size)
    share = beyond / np.maximum(sizes, 1)
    left = int(np.where(share > ONE_SIDE, sizes, 0).argmax())
    right = int(np.where(share < 1 - ONE_SIDE, sizes, 0).argmax())
    small, large = sorted((int(sizes[left]), int(sizes[right])))
    if small == 0 or small < COMPARABLE * max(large, int(sizes.max())):
        return None
    return labels == left, labels == right


def _side_by_side(mask: Mask, step: float) -> tuple[Mask, Mask] | None:
    """Return the two largest parts, left first, when comparable and beside each other."""
    labels, sizes = components(mask)
    if sizes.size < 3:
        return None
    pair = np.argsort(sizes, kind="stable")[-2:]
    masks = [labels == number for number in pair]
    place = [float(np.argwhere(part)[:, 2].mean()) for part in masks]
    if sizes[pair[0]] < COMPARABLE * sizes[pair[1]] or abs(place[0] - place[1]) * step < BESIDE_MM:
        return None
    return (masks[0], masks[1]) if place[0] > place[1] else (masks[1], masks[0])


def _nearest(air: Mask, cores: tuple[Mask, Mask], step: NDArray[np.float64]) -> tuple[Mask, Mask]:
    to_left, to_right = (ndimage.distance_transform_edt(~core, sampling=step) for core in cores)
    left = air & (to_left < to_right)
    return left, air & ~left


def _filled(side: Mask, step: NDArray[np.float64]) -> Mask:
    """Close over vessels and fill what a lung encloses, slice by slice."""
    if not side.any():
        return side
    hull = closed(side, VESSEL_MM, step)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in hull])
    labels, sizes = components(filled & ~hull, IN_PLANE)
    small = sizes * step[1] * step[2] < HOLE_MM2
    return np.asarray(hull | (small[labels] & (labels > 0)), dtype=bool)
