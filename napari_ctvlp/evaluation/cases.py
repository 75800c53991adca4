"""A case brought to the grid its metrics are computed on: the reference's own voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_ctvlp.core.geometry import Affine, spacing, to_ipl, transform, voxel_of
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
        total = raised(np.where(known, values, np.float32(0)), affine, *self._grid)
        weight = self._weight(known, affine)
        return np.where(weight > 0.5, total / np.maximum(weight, 1e-6), np.float32(np.nan))

    def gate(self, allowed: Mask, affine: Affine) -> Mask:
        """Bring a gate up by nearest neighbour and cut it with the region."""
        return on_grid(allowed, affine, *self._grid) & self.region

    @property
    def length_mm(self) -> float:
        """Longest edge of the reference's box in mm."""
        where = np.argwhere(self.whole)
        extent = (where.max(axis=0) - where.min(axis=0) + 1) * spacing(self.whole_affine)
        return float(extent.max())

    def near(self, shape: tuple[int, ...], affine: Affine, within_mm: float) -> tuple[Mask, Mask]:
        """Return a grid's cells in the reference and near it; see :func:`near_cells`."""
        return near_cells(self.whole, self.whole_affine, shape, affine, within_mm)

    @property
    def _grid(self) -> tuple[tuple[int, ...], Affine]:
        return self.region.shape, self.affine

    def _weight(self, known: Mask, affine: Affine) -> Map:
        """Share of known values behind each voxel, kept: maps of one grid know the same cells."""
        kept = vars(self).get("_kept")
        same = kept is not None and kept[0].shape == known.shape
        if kept is None or not same or (kept[0] != known).any() or (kept[1] != affine).any():
            weight = raised(known.astype(np.float32), affine, *self._grid)
            kept = (known, affine, weight)
            object.__setattr__(self, "_kept", kept)
        weight_of: Map = kept[2]
        return weight_of


def near_cells(
    reference: Mask,
    reference_affine: Affine,
    shape: tuple[int, ...],
    affine: Affine,
    within_mm: float,
) -> tuple[Mask, Mask]:
    """Return the cells of a grid whose centre lies in a reference, and those near it.

    The nearest cell counts as inside when no centre lies in the reference, as with cells larger
    than it; both are empty when the reference is, or lies outside the grid.
    """
    masks = np.zeros((2, *shape), dtype=np.bool_)
    points = transform(reference_affine, np.argwhere(reference))
    if not points.size:
        return masks[0], masks[1]
    index = voxel_of(affine, points)
    furthest = max(within_mm, 0.5 * float(np.linalg.norm(spacing(affine))))
    reach = furthest / spacing(affine)
    low = np.maximum(np.floor(index.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + reach) + 1, shape).astype(int)
    cells = np.argwhere(np.ones(np.maximum(high - low, 0), dtype=np.bool_)) + low
    if not cells.size:
        return masks[0], masks[1]
    tree = cKDTree(points)
    away = np.asarray(tree.query(transform(affine, cells), distance_upper_bound=furthest)[0])
    half, least = 0.5 * float(np.linalg.norm(spacing(reference_affine))), float(away.min())
    for mask, limit in zip(masks, (max(half, least), max(within_mm, least)), strict=True):
        mask[tuple(cells[np.isfinite(away) & (away <= limit)].T)] = True
    return masks[0], masks[1]


def raised(values: Map, affine: Affine, shape: tuple[int, ...], target: Affine) -> Map:
    """Interpolate linearly onto another axis-aligned IPL grid, axis by axis, 0 outside.

    The same numbers as :func:`napari_ctvlp.core.geometry.resample` gives, several times faster
    on grids much finer than the map.
    """
    step = np.linalg.inv(affine) @ target
    for axis, count in enumerate(shape):
        place = step[axis, axis] * np.arange(count) + step[axis, 3]
        cells = np.arange(values.shape[axis])
        weights = np.clip(1 - np.abs(place[:, None] - cells), 0, None).astype(np.float32)
        values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


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
