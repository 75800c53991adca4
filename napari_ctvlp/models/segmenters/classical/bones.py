"""Bone by HU and place, told from contrast-filled heart, vessels and bowel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_ctvlp.models.segmenters.classical.cavity import Cavity
from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import (
    Mask,
    closed,
    components,
    dilate,
    erode,
)

BONE_HU = 170
SMALLEST_ML = 0.3
#: Gaps up to this radius, in mm, are marrow.
MARROW_MM = 5.0
#: Contrast-filled blood: HU spread within 8 mm, largest distance from its mean, least amount.
EVEN_HU, NEAR_HU, POOL_ML = 35.0, 60.0, 30.0


def find_bones(coarse: Coarse, body: Mask, cavity: Cavity) -> Mask:
    """Return bone with its marrow, shape of ``coarse.hu``.

    Inside chest and belly only the spine is bone; in the spine's zone, blood as bright as the
    heart is not.
    """
    dense = (coarse.hu > BONE_HU) & body
    bone = dense & ~cavity.boneless & ~_blood(coarse, dense, cavity)
    labels, sizes = components(bone)
    return closed((sizes * coarse.block_ml > SMALLEST_ML)[labels], MARROW_MM, coarse.step) & body


def _blood(coarse: Coarse, dense: Mask, cavity: Cavity) -> Mask:
    """Dense parts as even as contrast-filled blood and about as bright as the heart's."""
    mean = ndimage.uniform_filter(coarse.hu, 3)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(coarse.hu**2, 3) - mean**2, 0))
    even = dense & (spread < EVEN_HU)
    heart = coarse.hu[even & cavity.boneless]
    if heart.size * coarse.block_ml < POOL_ML:
        return np.zeros_like(dense)
    alike = even & (np.abs(coarse.hu - np.median(heart)) < NEAR_HU)
    return dilate(erode(alike, 3.0, coarse.step), 8.0, coarse.step) & dense
