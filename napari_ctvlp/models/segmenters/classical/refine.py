"""From coarse masks to labels on the scan's own grid, by HU, some slices at a time."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models.protocol import Progress
from napari_ctvlp.models.segmenters.classical.coarse import Coarse, to_scan_grid
from napari_ctvlp.models.segmenters.classical.morphology import Mask


class Organ(IntEnum):
    """Ids of the classical label map; names are the lower-case members."""

    SOFT_TISSUE = 1
    LUNG_LEFT = 2
    LUNG_RIGHT = 3
    AIRWAYS = 4
    BONES = 5
    MUSCLE = 6
    FAT = 7


SKIN_HU = -300
FAT_HU = (-200, -30)
MUSCLE_HU = (-30, 160)
BONE_HU, MARROW_HU = 160, 100
LUNG_HU = -400
AIRWAY_HU = (-700, -850)
SLAB = 8


NAMES = ("body", "left", "right", "airways", "bones", "near_body", "near_left", "near_right")
#: What is known of a block before its voxels are looked at: sure, or only possible ("near").
BITS = {name: 1 << n for n, name in enumerate((*NAMES, "near_airways", "near_bones", "cavity"))}
Packed = NDArray[np.uint16]


def packed(masks: Mapping[str, Mask]) -> Packed:
    """Put coarse masks, by the names of :data:`BITS`, into one number per block."""
    out = np.zeros(next(iter(masks.values())).shape, dtype=np.uint16)
    for name, mask in masks.items():
        out[mask] |= BITS[name]
    return out


def label_scan(scan: Scan, coarse: Coarse, known: Packed, progress: Progress) -> NDArray[np.uint8]:
    """Return labels on the scan grid, shape (i, p, l).

    Parameters
    ----------
    scan : Scan
    coarse : Coarse
    known : ndarray, shape of ``coarse.hu``, uint16
        From :func:`packed`.
    progress : Progress
        Called once per slab of slices.
    """
    labels = np.empty(scan.shape, dtype=np.uint8)
    for start in range(0, scan.shape[0], SLAB):
        stop = min(start + SLAB, scan.shape[0])
        fine = to_scan_grid(known, coarse.factor, start, stop, scan.shape)
        labels[start:stop] = _decide(scan.hu[start:stop], fine)
        progress(0.6 + 0.38 * stop / scan.shape[0], "labels")
    return labels


def _decide(hu: NDArray[np.int16] | NDArray[np.float32], known: Packed) -> NDArray[np.uint8]:
    def has(name: str) -> Mask:
        return (known & BITS[name]).astype(bool)

    body = has("body") | has("near_body") & (hu > SKIN_HU)
    labels = body.astype(np.uint8)
    labels[body & ~has("cavity") & (hu >= MUSCLE_HU[0]) & (hu < MUSCLE_HU[1])] = Organ.MUSCLE
    labels[body & (hu >= FAT_HU[0]) & (hu < FAT_HU[1])] = Organ.FAT
    bones = has("bones") & (hu >= MARROW_HU) | has("near_bones") & (hu >= BONE_HU)
    labels[body & bones] = Organ.BONES
    dark = hu < LUNG_HU
    labels[has("left") | has("near_left") & dark] = Organ.LUNG_LEFT
    labels[has("right") | has("near_right") & dark] = Organ.LUNG_RIGHT
    gas = has("airways") & (hu < AIRWAY_HU[0]) | has("near_airways") & (hu < AIRWAY_HU[1])
    labels[gas] = Organ.AIRWAYS
    return labels
