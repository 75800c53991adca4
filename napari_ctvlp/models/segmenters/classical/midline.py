"""Where the patient's middle is: the spine, else the middle of the body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.models.segmenters.classical.coarse import Coarse
from napari_ctvlp.models.segmenters.classical.morphology import Mask

BONE_HU = 170
#: Vertebrae stay dense when averaged over this width in mm, ribs do not.
THICK_MM = 15.0
SPINE_MM = 40.0
#: How far from the body's middle the spine may lie (one standard deviation, in mm): with both
#: flanks in the picture, and with one cut off.
WHOLE_MM, CUT_MM = 50.0, 120.0


def find_midline(coarse: Coarse, body: Mask) -> float:
    """Return the patient's midline as an index along L.

    Parameters
    ----------
    coarse : Coarse
    body : ndarray of bool, shape of ``coarse.hu``
    """
    weight = body.sum(axis=(0, 1)).astype(np.float64)
    across = np.arange(weight.size)
    if not weight.any():
        return float(across.mean())
    middle = float((across * weight).sum() / weight.sum())
    flanks = body[:, :, [0, -1]].mean() > 0.02
    off = (across - middle) * coarse.step[2] / (CUT_MM if flanks else WHOLE_MM)
    smooth = SPINE_MM / 2 / coarse.step[2]
    spine = ndimage.gaussian_filter1d(_thick_bone(coarse, body), smooth, mode="reflect")
    return float(np.argmax(spine * np.exp(-0.5 * off**2))) if spine.any() else middle


def _thick_bone(coarse: Coarse, body: Mask) -> NDArray[np.float64]:
    """Count thick dense blocks in the back half of the body per column, shape (l,)."""
    rows = body.any(axis=2)
    place = np.arange(rows.shape[1])
    centre = (rows * place).sum(axis=1) / np.maximum(rows.sum(axis=1), 1)
    dense = ((coarse.hu > BONE_HU) & body).astype(np.float32)
    width = [1, *(max(1, round(THICK_MM / size)) for size in coarse.step[1:])]
    thick = ndimage.uniform_filter(dense, width) > 0.5
    return np.asarray((thick & (place > centre[:, None])[:, :, None]).sum(axis=(0, 1)), np.float64)
