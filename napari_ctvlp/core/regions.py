"""Regions of the body that organ masks imply: thorax, mediastinum, sides.

They are worked out once per anatomy on a grid of about 4 mm and then sampled wherever they are
asked for. All of them work on partial scans: what is not in the scan is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap, with_parts
from napari_ctvlp.core.geometry import Affine, ras_to_screen, spacing, transform
from napari_ctvlp.core.hull import both_sides, convex_slices
from napari_ctvlp.core.keeping import keep
from napari_ctvlp.errors import CtvlpError

Mask = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)
#: Aimed spacing of the grid regions are worked out on, in mm.
STEP_MM = 4.0
LUNGS = ("lung_left", "lung_right")
#: Leftovers of the hull thinner than twice this are not mediastinum, in mm.
THIN_MM = 6.0
#: Half width of the band the spine is followed in, and smoothing along the body, in mm.
SPINE_MM, SMOOTH_MM = 30.0, 25.0
#: Rounds of following a spine that leans, and how far it may lean, in mm.
FOLLOW, LEAN_MM = 3, 40.0
#: How far from the body's middle the spine is expected (one standard deviation), in mm.
SPREAD_MM = 50.0


@dataclass(frozen=True)
class Regions:
    """What one anatomy implies, on a grid of about 4 mm.

    Attributes
    ----------
    labels : ndarray, shape (i, p, l)
        The anatomy's labels at the grid's points.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    ids : dict of str to int
        Id of each organ name.
    """

    labels: NDArray[np.uint8 | np.uint16]
    affine: Affine
    ids: dict[str, int]

    def organ(self, *names: str) -> Mask:
        """Return the union of organs; absent names add nothing."""
        wanted = with_parts(names)
        return np.isin(self.labels, [self.ids[name] for name in wanted if name in self.ids])

    @cached_property
    def body(self) -> Mask:
        """Everything labelled."""
        return self.labels > 0

    @cached_property
    def lungs(self) -> Mask:
        """Both lungs."""
        return self.organ(*LUNGS)

    @cached_property
    def thorax(self) -> Mask:
        """Convex hull of both lungs in each axial slice; a missing lung is mirrored."""
        columns = (self.midline - self.across[0]) / spacing(self.affine)[2]
        left, right = (self.organ(name) for name in LUNGS)
        return convex_slices(both_sides(left, right, columns))

    @cached_property
    def mediastinum(self) -> Mask:
        """The largest thick part of the thorax that is not lung, the diaphragm's dome included."""
        step = spacing(self.affine)
        rest = self.thorax & ~self.lungs
        deep = ndimage.distance_transform_edt(rest, sampling=step)
        parts, count = ndimage.label(deep > THIN_MM)
        if not count:
            return np.zeros_like(rest)
        core = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
        reach = ndimage.distance_transform_edt(~core, sampling=step)
        return np.asarray(rest & (reach <= THIN_MM + step.max()))

    @cached_property
    def across(self) -> NDArray[np.float64]:
        """Screen L coordinate in mm of the grid's columns, shape (l,)."""
        first, step = ras_to_screen(self.affine[:3, 3])[2], spacing(self.affine)[2]
        return np.asarray(first + step * np.arange(self.labels.shape[2]), dtype=np.float64)

    @cached_property
    def midline(self) -> NDArray[np.float64]:
        """Screen L coordinate in mm of the mid-sagittal surface in each slice, shape (i,).

        It follows the spine; without bones it stands midway between the outer edges of the
        lungs, without a pair of lungs in the middle of the body, and in the middle of the
        picture when there is nothing at all.
        """
        bones = self.organ("bones").sum(axis=1).astype(np.float64)
        start = self._middle(bones.sum(axis=0))
        middle = np.full(len(bones), start)
        for _ in range(FOLLOW):
            middle = np.clip(self._followed(bones, middle), start - LEAN_MM, start + LEAN_MM)
        return middle

    def _followed(
        self, bones: NDArray[np.float64], middle: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Move a midline to the middle of the bones around it, smoothed along the body."""
        near = np.where(np.abs(self.across - middle[:, None]) < SPINE_MM, bones, 0.0)
        if not near.any():
            return middle
        sigma = SMOOTH_MM / spacing(self.affine)[0]
        weight = ndimage.gaussian_filter1d(near.sum(axis=1), sigma, mode="nearest")
        moment = ndimage.gaussian_filter1d(near @ self.across, sigma, mode="nearest")
        seen = weight > 1e-6 * weight.max()
        levels = np.arange(len(bones))
        moved = np.interp(levels, levels[seen], moment[seen] / weight[seen])
        return np.asarray(moved, dtype=np.float64)

    def _middle(self, bones: NDArray[np.float64]) -> float:
        """One L coordinate for the whole scan; ``bones`` are counts per column."""
        if bones.any():
            smooth = ndimage.gaussian_filter1d(bones, 20.0 / spacing(self.affine)[2])
            off = (self.across - self._mean_column(self.body)) / SPREAD_MM
            return float(self.across[int((smooth * np.exp(-0.5 * off**2)).argmax())])
        left, right = (self.organ(name).any(axis=(0, 1)) for name in LUNGS)
        if left.any() and right.any():
            return float((self.across[left].max() + self.across[right].min()) / 2)
        return self._mean_column(self.body)

    def _mean_column(self, mask: Mask) -> float:
        weight = mask.sum(axis=(0, 1)) if mask.any() else None
        return float(np.average(self.across, weights=weight))


def regions(anatomy: AnatomyMap) -> Regions:
    """Return the regions of an anatomy; the same object each time."""
    return keep(anatomy, "_regions", lambda: _regions(anatomy))


def _regions(anatomy: AnatomyMap) -> Regions:
    factor = np.maximum(1, np.floor(STEP_MM / spacing(anatomy.affine) + 0.5)).astype(int)
    first = np.minimum((factor - 1) // 2, np.array(anatomy.labels.shape) - 1)
    picks = tuple(slice(a, None, b) for a, b in zip(first, factor, strict=True))
    affine = anatomy.affine.copy()
    affine[:3, 3] = transform(affine, first)
    affine[:3, :3] *= factor
    ids = {organ.name: organ.id for organ in anatomy.organs}
    return Regions(np.ascontiguousarray(anatomy.labels[picks]), affine, ids)


def region(
    anatomy: AnatomyMap,
    name: str,
    shape: tuple[int, ...] | None = None,
    affine: Affine | None = None,
) -> Mask:
    """Return a named region on any IPL grid.

    Parameters
    ----------
    anatomy : AnatomyMap
    name : str
        ``"body"``, ``"thorax"``, ``"mediastinum"``, ``"lungs"`` or an organ of the anatomy.
    shape, affine : optional
        Grid to answer on, such as a token grid; by default that of :func:`regions`.

    Returns
    -------
    ndarray of bool, shape (i, p, l)
        Empty when the scan does not hold the region.

    Raises
    ------
    CtvlpError
        When neither the house nor the anatomy knows the name.
    """
    kept = regions(anatomy)
    if shape is None or affine is None:
        shape, affine = kept.labels.shape, kept.affine
    if name in ("thorax", "mediastinum"):
        mask: Mask = getattr(kept, name)
        return _nearest(mask, kept.affine, shape, affine)
    labels = _labels_on(anatomy, shape, affine)
    if name == "body":
        return np.asarray(labels != 0)
    names = LUNGS if name == "lungs" else with_parts((name,))
    ids = [organ.id for organ in anatomy.organs if organ.name in names]
    if not ids and name != "lungs":
        known = ", ".join(sorted({"body", "thorax", "mediastinum", "lungs", *anatomy.by_name}))
        raise CtvlpError(
            "unknown-region",
            f"one of {known}.",
            f"There is no region {name!r} in this anatomy.",
            "Choose one of those names, or segment with a model that finds this organ.",
        )
    return np.isin(labels, ids)


def _labels_on(
    anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine
) -> NDArray[np.uint8 | np.uint16]:
    """Return the anatomy's labels on a grid; those of the last grid are kept with it."""
    key = (tuple(shape), np.asarray(affine).tobytes())
    labels = anatomy.labels
    return keep(anatomy, "_labels_on", lambda: _nearest(labels, anatomy.affine, shape, affine), key)


def sampled(mask: Mask, anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> Mask:
    """Return a mask on the grid of :func:`regions` on another axis-aligned IPL grid."""
    return _nearest(mask, regions(anatomy).affine, shape, affine)


def thorax(
    anatomy: AnatomyMap, shape: tuple[int, ...] | None = None, affine: Affine | None = None
) -> Mask:
    """Return the convex hull of both lungs, slice by slice; see :func:`region`."""
    return region(anatomy, "thorax", shape, affine)


def mediastinum(
    anatomy: AnatomyMap, shape: tuple[int, ...] | None = None, affine: Affine | None = None
) -> Mask:
    """Return what lies between the lungs; see :func:`region`."""
    return region(anatomy, "mediastinum", shape, affine)


def side_mm(anatomy: AnatomyMap, points_ras: ArrayLike) -> NDArray[np.float64]:
    """Return how far points lie left of the mid-sagittal surface.

    Parameters
    ----------
    anatomy : AnatomyMap
    points_ras : array_like, shape (..., 3)
        RAS mm.

    Returns
    -------
    ndarray, shape (...)
        mm, positive on the patient's left.
    """
    kept = regions(anatomy)
    points = ras_to_screen(points_ras)
    first, step = ras_to_screen(kept.affine[:3, 3])[0], spacing(kept.affine)[0]
    levels = first + step * np.arange(len(kept.midline))
    return np.asarray(points[..., 2] - np.interp(points[..., 0], levels, kept.midline))


def side_of(
    anatomy: AnatomyMap, shape: tuple[int, ...] | None = None, affine: Affine | None = None
) -> NDArray[np.float32]:
    """Return :func:`side_mm` of every voxel of an axis-aligned IPL grid.

    Parameters
    ----------
    anatomy : AnatomyMap
    shape, affine : optional
        By default the grid of :func:`regions`.

    Returns
    -------
    ndarray, shape (i, p, l), float32, read-only
        mm, positive on the patient's left; a view that repeats along P.
    """
    if shape is None or affine is None:
        shape, affine = regions(anatomy).labels.shape, regions(anatomy).affine
    i, l = np.ogrid[: shape[0], : shape[2]]  # noqa: E741 - the axis is called L
    index = np.stack(np.broadcast_arrays(i, 0, l), axis=-1)
    plane = side_mm(anatomy, transform(affine, index)).astype(np.float32)
    return np.broadcast_to(plane[:, None, :], shape)


def _nearest(
    values: NDArray[Scalar], affine: Affine, shape: tuple[int, ...], target: Affine
) -> NDArray[Scalar]:
    """Sample one axis-aligned IPL grid on another; zero outside, edges reach one cell out."""
    step = np.linalg.inv(affine) @ target
    picks, inside = [], []
    for axis, size in enumerate(shape):
        place = step[axis, axis] * np.arange(size) + step[axis, 3]
        last = values.shape[axis] - 1
        inside.append((place > -1) & (place < last + 1))
        picks.append(np.clip(np.rint(place), 0, last).astype(np.intp))
    out = values[np.ix_(*picks)]
    for axis, good in enumerate(inside):
        out[(slice(None),) * axis + (~good,)] = 0
    return out
