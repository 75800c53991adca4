"""What a model must beat: random maps, the centre of the field, thick tissue, round tissue.

Each baseline gets the same region and the same gate as the model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.geometry import Affine, spacing
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.evaluation.region import coarse_hu, on_grid

Mask = NDArray[np.bool_]

#: Soft tissue of the heuristic, HU.
SOFT_HU = (-300.0, 250.0)
OPENING_MM = 5.0
#: Radii in mm at which local thickness is told apart.
RADII_MM = (5.0, 6.5, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 32.0, 40.0)
HEURISTIC_STEP_MM = 3.0
#: Radii in mm of the balls that the blob rule looks for.
BLOB_MM = (4.0, 6.0, 8.0, 11.0, 16.0, 22.0, 30.0)
#: A blob is a component above this share of the highest value.
BLOB_SHARE = 0.5


def random_map(
    shape: tuple[int, ...], affine: Affine, seed: int, sigma_mm: float
) -> NDArray[np.float32]:
    """White noise smoothed by a Gaussian of ``sigma_mm``, shape ``shape``."""
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return np.asarray(ndimage.gaussian_filter(noise, sigma_mm / spacing(affine)), dtype=np.float32)


def centre_prior(field: Mask) -> NDArray[np.float32]:
    """Minus the squared distance to the field's centroid, each axis by the field's own SD.

    Parameters
    ----------
    field : ndarray of bool, shape (i, p, l)
        Region and gate together.
    """
    where = np.argwhere(field)
    if not where.size:
        return np.zeros(field.shape, dtype=np.float32)
    spread = np.maximum(where.std(axis=0), 1.0)
    axes = [
        ((np.arange(n) - c) / s) ** 2
        for n, c, s in zip(field.shape, where.mean(axis=0), spread, strict=True)
    ]
    total = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
    return np.asarray(-total, dtype=np.float32)


def hu_heuristic(
    scan: Scan, region: Mask, region_affine: Affine
) -> tuple[NDArray[np.float32], Affine]:
    """Local thickness in mm of soft tissue inside the region, on a 3 mm grid.

    Tissue of -300..250 HU is opened by a ball of 5 mm; a voxel's value is the radius of the
    largest ball of :data:`RADII_MM` that holds it and fits the tissue (Hildebrand and
    Ruegsegger 1997, in steps).

    Returns
    -------
    tuple
        Values in mm, 0 outside the opened tissue, shape (i, p, l), and their affine.
    """
    hu, affine = coarse_hu(scan, HEURISTIC_STEP_MM)
    inside = on_grid(region, region_affine, hu.shape, affine)
    tissue = (hu > SOFT_HU[0]) & (hu < SOFT_HU[1]) & inside
    return _local_thickness(tissue), affine


def blobness(scan: Scan, region: Mask, region_affine: Affine) -> tuple[NDArray[np.float32], Affine]:
    """Roundness of soft tissue at the best of :data:`BLOB_MM`, 0..1, on a 3 mm grid.

    The share of soft tissue is smoothed by a Gaussian of R / sqrt(3), which fits a ball of radius
    R; with the eigenvalues of its Hessian all negative the value is (smallest)^2 / (largest) by
    size, else 0: the dot filter of Li, Sone and Doi (2003, the formula from memory), which is 0
    for vessels and for walls.

    Returns
    -------
    tuple
        Values, 0 outside soft tissue and region, shape (i, p, l), and their affine.
    """
    hu, affine = coarse_hu(scan, HEURISTIC_STEP_MM)
    tissue = (hu > SOFT_HU[0]) & (hu < SOFT_HU[1])
    inside = tissue & on_grid(region, region_affine, hu.shape, affine)
    best = np.zeros(hu.shape, dtype=np.float32)
    for radius in BLOB_MM:
        best[inside] = np.maximum(best[inside], _dots(tissue, inside, radius / np.sqrt(3.0)))
    return best, affine


def largest_blob(blobs: NDArray[np.float32], allowed: Mask) -> NDArray[np.float32]:
    """Return ``blobs`` with 1 added to the largest component in ``allowed``.

    Components (26 neighbours) are those above half of the highest allowed value, so that the
    map's peak lies in the largest round thing rather than in the roundest small one.
    """
    searched = np.where(allowed, blobs, np.float32(0))
    parts, count = ndimage.label(searched > BLOB_SHARE * searched.max(), np.ones((3, 3, 3)))
    if not count:
        return blobs
    largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    return np.asarray(blobs + (parts == largest), dtype=np.float32)


def _dots(tissue: Mask, inside: Mask, sigma_mm: float) -> NDArray[np.float32]:
    """Dot filter of the smoothed tissue at the voxels of ``inside``, scale-normalised."""
    sigma = sigma_mm / HEURISTIC_STEP_MM
    smooth = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
    hessian = np.empty((int(inside.sum()), 3, 3), dtype=np.float32)
    for first, slope in enumerate(np.gradient(smooth)):
        for second in range(first, 3):
            bend = np.gradient(slope, axis=second)[inside] * sigma**2
            hessian[:, first, second] = hessian[:, second, first] = bend
    values = np.linalg.eigvalsh(hessian)
    least, most = -values[:, 2], -values[:, 0]
    return np.where(least > 0, least**2 / np.maximum(most, 1e-6), 0).astype(np.float32)


def _local_thickness(tissue: Mask) -> NDArray[np.float32]:
    """Largest radius of :data:`RADII_MM` (at least the opening) whose ball covers each voxel."""
    step = HEURISTIC_STEP_MM
    thickness = np.zeros(tissue.shape, dtype=np.float32)
    depth = ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1, 1:-1] * step
    for radius in (r for r in RADII_MM if r >= OPENING_MM):
        centres = depth >= radius
        if not centres.any():
            break
        thickness[ndimage.distance_transform_edt(~centres) * step <= radius] = radius
    return thickness
