"""Bringing a CT to the field a hosted encoder was trained on, as two published libraries do it.

torchio resamples about the middle of a volume, MONAI from its first voxel on; both linearly, and
both hold a border voxel's value as far as that voxel reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.geometry import (
    Affine,
    in_order,
    lps_affine_to_ras,
    ras_to_lps,
    spacing,
    transform,
    voxel_of,
)
from napari_ctvlp.core.scan import AIR_HU, Scan
from napari_ctvlp.models.encoders.cells import moved


@dataclass(frozen=True)
class Field:
    """A volume on a grid.

    Attributes
    ----------
    image : ndarray, shape (a, b, c)
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    """

    image: NDArray[Any]
    affine: Affine


def oriented(scan: Scan, code: str) -> Field:
    """Return a scan's HU with axes growing toward the letters of ``code``; NaN becomes air."""
    view, affine = in_order(scan.hu, scan.affine, code)
    whole = view if view.dtype.kind == "i" else np.nan_to_num(view, nan=AIR_HU)
    return Field(whole, affine)


def about_the_middle(field: Field, step_mm: float) -> Field:
    """Resample as torchio does: same middle, never reaching beyond the old grid.

    Whole numbers stay whole, cut off toward 0, as ITK does; that is why ITK is asked.
    """
    import SimpleITK as sitk  # noqa: N813

    old = sitk.GetImageFromArray(np.ascontiguousarray(field.image.transpose(2, 1, 0)))
    steps = spacing(field.affine)
    lps = lps_affine_to_ras(field.affine)  # the same exchange of signs, back and forth
    direction = lps[:3, :3] / steps
    old.SetSpacing(steps.tolist())
    old.SetOrigin(lps[:3, 3].tolist())
    old.SetDirection(direction.ravel().tolist())
    size = np.array(old.GetSize())
    last = np.array(old.TransformIndexToPhysicalPoint((size - 1).tolist()))
    count = np.maximum(np.floor(size * steps / step_mm), 1)
    origin = (last + lps[:3, 3]) / 2 - direction @ ((count - 1) / 2 * step_mm)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in count])
    resampler.SetOutputSpacing([step_mm] * 3)
    resampler.SetOutputOrigin(origin.tolist())
    resampler.SetOutputDirection(old.GetDirection())
    resampler.SetInterpolator(sitk.sitkLinear)
    image = sitk.GetArrayFromImage(resampler.Execute(old)).transpose(2, 1, 0)
    affine = field.affine.copy()
    affine[:3, :3] = field.affine[:3, :3] / steps * step_mm
    affine[:3, 3] = ras_to_lps(origin)
    return Field(image, affine)


def from_the_first(field: Field, step_mm: Sequence[float]) -> Field:
    """Resample as MONAI does: same first voxel, the last one nearest to the old last one."""
    old, new = spacing(field.affine), np.asarray(step_mm, dtype=np.float64)
    count = np.round((np.array(field.image.shape) - 1) * old / new).astype(int) + 1
    shape = tuple(int(n) for n in count)
    image = ndimage.affine_transform(
        field.image, new / old, output_shape=shape, output=np.float32, order=1, mode="nearest",
        prefilter=False,
    )  # fmt: skip
    affine = field.affine.copy()
    affine[:3, :3] = field.affine[:3, :3] / old * new
    return Field(image, affine)


def cut_or_filled(field: Field, first: Sequence[int], shape: Sequence[int], fill: float) -> Field:
    """Return ``shape`` voxels from index ``first`` on, negative where something is filled in."""
    sides = []
    kept = []
    for start, count, size in zip(first, shape, field.image.shape, strict=True):
        before, after = max(0, -start), max(0, start + count - size)
        sides.append((before, after))
        kept.append(slice(start + before, start + count - after))
    image = np.pad(field.image[tuple(kept)], sides, constant_values=fill)
    return Field(image, moved(field.affine, tuple(first)))


def inside(scan: Scan, shape: Sequence[int], affine: Affine) -> NDArray[np.bool_]:
    """Return which cells of a grid have their centre in a scan, shape ``shape``."""
    index = np.moveaxis(np.indices(tuple(shape)), 0, -1)
    at = voxel_of(scan.affine, transform(affine, index))
    return np.asarray(((at > -0.5) & (at < np.array(scan.shape) - 0.5)).all(axis=-1))
