"""Bone by HU, told from contrast-filled heart, vessels and kidneys by its unevenness."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import Mask, components, dilate, erode

BONE_HU = 170
SMALLEST_ML = 0.3
#: Width in mm of the spine when the midline is looked for.
SPINE_MM = 40.0


def find_midline(coarse: Coarse, body: Mask) -> float:
    """Return where the spine lies, as an index along L; the body's middle if no bone is seen."""
    columns = body.any(axis=(0, 1))
    if not columns.any():
        return (coarse.hu.shape[2] - 1) / 2
    across = np.arange(columns.size)
    weight = body.sum(axis=(0, 1)).astype(float)
    middle = float((across * weight).sum() / weight.sum())
    dense = ((coarse.hu > BONE_HU) & body).sum(axis=(0, 1)).astype(float)
    smooth = ndimage.gaussian_filter1d(dense, SPINE_MM / 2 / coarse.step[2], mode="constant")
    prior = np.exp(-0.5 * ((across - middle) * coarse.step[2] / 50.0) ** 2)
    score = smooth * prior
    return float(score.argmax()) if score.max() > 0 else middle


def find_bones(coarse: Coarse, body: Mask) -> Mask:
    """Return bone, shape of ``coarse.hu``."""
    dense = (coarse.hu > BONE_HU) & body
    labels, sizes = components(dense & ~blood_pool(coarse, dense))
    return (sizes * coarse.block_ml > SMALLEST_ML)[labels] & dense


def blood_pool(coarse: Coarse, dense: Mask) -> Mask:
    """Dense parts as even as contrast-filled blood."""
    mean = ndimage.uniform_filter(coarse.hu, 3)
    square = ndimage.uniform_filter(coarse.hu**2, 3)
    rough = np.sqrt(np.maximum(square - mean**2, 0))
    even = dense & (rough < 35)
    core = erode(even, 3.0, coarse.step)
    return dilate(core, 8.0, coarse.step) & dense
