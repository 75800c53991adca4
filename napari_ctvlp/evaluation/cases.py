"""A case brought to the grid its metrics are computed on: the reference's own voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, resample, to_ipl, transform
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation.region import lung_region, on_grid

Mask = NDArray[np.bool_]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Field:
    """The part of a scan's grid that holds the region.

    Attributes
    ----------
    reference : ndarray of bool, shape (i, p, l)
        The finding, on the scan's voxels.
    region : ndarray of bool, same shape
        The frozen region, brought up to them.
    affine : ndarray, shape (4, 4)
        Of the cut-out.
    whole, whole_affine
        The reference on the whole scan, for distances.
    covered : float
        Share of the reference inside the region.
    coarse, coarse_affine
        The region on its own 4 mm grid.
    """

    reference: Mask
    region: Mask
    affine: Affine
    whole: Mask
    whole_affine: Affine
    covered: float
    coarse: Mask
    coarse_affine: Affine

    def bring(self, values: Map, affine: Affine) -> Map:
        """Bring a map up to the field's voxels by linear interpolation; NaN where unknown."""
        known = np.isfinite(values)
        grid = (self.region.shape, self.affine)
        total = resample(np.where(known, values, np.float32(0)), affine, *grid)
        if known.all():
            return total
        weight = resample(known.astype(np.float32), affine, *grid)
        return np.where(weight > 0.5, total / np.maximum(weight, 1e-6), np.float32(np.nan))

    def gate(self, allowed: Mask, affine: Affine) -> Mask:
        """Bring a gate up by nearest neighbour and cut it with the region."""
        return on_grid(allowed, affine, self.region.shape, self.affine) & self.region


def field_of(scan: Scan, reference: Mask) -> Field:
    """Cut a scan's grid to its frozen region.

    Raises
    ------
    InputRefused
        When no lung is found, so that there is no region.
    """
    coarse, coarse_affine = lung_region(scan)
    region = on_grid(coarse, coarse_affine, scan.shape, scan.affine)
    if not region.any():
        raise InputRefused(
            "no-lungs",
            "a chest CT whose lungs can be told from air.",
            "The frozen region of this scan is empty.",
            "Leave this case out.",
        )
    cut = tuple(slice(int(c.min()), int(c.max()) + 1) for c in np.nonzero(region))
    affine = scan.affine.copy()
    affine[:3, 3] = transform(scan.affine, [part.start for part in cut])
    covered = float(region[reference].mean()) if reference.any() else float("nan")
    return Field(
        reference[cut],
        region[cut],
        affine,
        reference,
        scan.affine,
        covered,
        coarse,
        coarse_affine,
    )


def read_labels(path: Path, scan: Scan) -> NDArray[np.uint8]:
    """Read a label file on the scan's grid as an IPL array, shape (i, p, l).

    Raises
    ------
    InputRefused
        If the file is missing or lies on another grid.
    """
    import nibabel

    if not path.is_file():
        raise _refused(path, "There is no such file.")
    image = nibabel.Nifti1Image.from_filename(path)
    if image.affine is None:
        raise _refused(path, "It has no affine.")
    labels, affine = to_ipl(np.asarray(image.dataobj), np.asarray(image.affine, np.float64))
    same = labels.shape == scan.shape and np.allclose(affine, scan.affine, atol=1e-2)
    if not same:
        raise _refused(path, f"Its grid is {labels.shape}, the scan's {scan.shape}, or elsewhere.")
    return np.ascontiguousarray(labels).astype(np.uint8)


def _refused(path: Path, found: str) -> InputRefused:
    return InputRefused(
        "bad-labels",
        "a label map on the grid of the case's ct.nii.gz.",
        f"{path}: {found}",
        "Put the evaluation folder back as it was delivered.",
    )
