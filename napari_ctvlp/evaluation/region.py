"""The frozen lung region: one field of comparison for every model and every baseline.

Slice-wise convex hull of both lungs as thresholds find them at 4 mm, mediastinum included. It
uses no segmenter, so that no later segmenter moves it; ``VERSION`` is printed with every number
and a test pins the region of a phantom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.geometry import Affine, bounding_ipl_grid, resample, spacing
from napari_ctvlp.core.hull import convex_slices
from napari_ctvlp.core.scan import AIR_HU, Scan

Mask = NDArray[np.bool_]

VERSION = "1"
STEP_MM = 4.0
#: A lung is darker than this, HU at 4 mm; air outside the body lies below the second number.
LUNG_HU = (-960.0, -400.0)
#: Whatever of the body is not lung or gas.
TISSUE_HU = -350.0
#: Smaller dark components are bowel gas, airways or noise, in ml.
SMALLEST_ML = 60.0


def lung_region(scan: Scan) -> tuple[Mask, Affine]:
    """Return the frozen region of a chest CT on its own 4 mm grid.

    Parameters
    ----------
    scan : Scan
        In HU.

    Returns
    -------
    tuple
        Mask, shape (i, p, l), all false when no lung is found, and its index-to-RAS affine.
    """
    hu, affine = coarse_hu(scan, STEP_MM)
    dark = (hu > LUNG_HU[0]) & (hu < LUNG_HU[1]) & _body_hull(hu)
    opened = ndimage.binary_opening(dark, iterations=1)
    return convex_slices(_large(opened, SMALLEST_ML / (STEP_MM**3 / 1000))), affine


def on_grid(mask: Mask, affine: Affine, shape: tuple[int, ...], target: Affine) -> Mask:
    """Bring a mask onto another grid by nearest neighbour (the region goes up, never down)."""
    return resample(mask.astype(np.uint8), affine, shape, target, order=0) > 0


def coarse_hu(scan: Scan, step_mm: float) -> tuple[NDArray[np.float32], Affine]:
    """Return HU on an isotropic grid, shape (i, p, l): low-pass, then linear interpolation."""
    shape, affine = bounding_ipl_grid(scan.shape, scan.affine, (step_mm,) * 3)
    ratio = np.maximum(step_mm / spacing(scan.affine), 1.0)
    smooth = ndimage.gaussian_filter(
        np.asarray(scan.hu, dtype=np.float32), 0.42 * np.sqrt(ratio**2 - 1), mode="nearest"
    )
    return resample(smooth, scan.affine, shape, affine, order=1, fill=AIR_HU), affine


def _body_hull(hu: NDArray[np.float32]) -> Mask:
    """Convex slices of the largest dense component: lungs cut by the field stay inside."""
    dense = ndimage.binary_opening(hu > TISSUE_HU, iterations=1)
    labels, count = ndimage.label(dense)
    if not count:
        return np.zeros(hu.shape, dtype=np.bool_)
    sizes = np.bincount(labels.ravel())[1:]
    return convex_slices(np.asarray(labels == int(sizes.argmax()) + 1))


def _large(mask: Mask, voxels: float) -> Mask:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= voxels)[labels], dtype=np.bool_)
