"""RTSTRUCT contours to masks on the stored grid of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, ras_to_lps, voxel_of
from napari_ctvlp.core.polygon import fill_polygon
from napari_ctvlp.io.dicom.frames import Frame
from napari_ctvlp.io.dicom.headers import Header, load_whole
from napari_ctvlp.io.dicom.objects import contour_reference
from napari_ctvlp.io.result import Notes, plain_text, refused

if TYPE_CHECKING:
    from pydicom import Dataset

Grid = tuple[tuple[int, int, int], Affine]


def read_rtstruct(
    header: Header, frames: Sequence[Frame], grid: Grid, notes: Notes
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield name and mask of each region with closed contours.

    Parameters
    ----------
    header : Header
        Of an RTSTRUCT.
    frames : sequence of Frame
        Slices of the scan, to compare references with; empty where they are unknown.
    grid : (shape, affine)
        Stored grid of the scan, index to RAS mm, to fill the contours on.
    notes : Notes

    Raises
    ------
    InputRefused
        ``reference-mismatch`` when they were drawn in another frame of reference.
    """
    data = load_whole(header.path)
    wrong = contour_reference(header, data, frames) if frames else None
    if wrong is not None:
        raise wrong
    names = {
        int(row.ROINumber): plain_text(row.get("ROIName"), 64)
        for row in data.get("StructureSetROISequence") or ()
    }
    for item in data.get("ROIContourSequence") or ():
        polygons = _polygons(item, grid[1])
        if polygons:
            name = names.get(int(item.ReferencedROINumber), "")
            yield name, _filled(header, polygons, grid[0], notes)


def _polygons(item: Dataset, affine: Affine) -> list[NDArray[np.float64]]:
    """Corners of each closed planar contour in voxel units, shape (n, 3)."""
    found = []
    for contour in item.get("ContourSequence") or ():
        if str(contour.get("ContourGeometricType", "")) != "CLOSED_PLANAR":
            continue
        points = np.array([float(x) for x in contour.ContourData]).reshape(-1, 3)
        if len(points) > 2 and np.isfinite(points).all():
            found.append(voxel_of(affine, ras_to_lps(points)))
    return found


def _filled(
    header: Header,
    polygons: list[NDArray[np.float64]],
    shape: tuple[int, int, int],
    notes: Notes,
) -> NDArray[np.bool_]:
    """Fill contours plane by plane; one that lies inside another is a hole."""
    spread = np.mean([np.ptp(points, axis=0) for points in polygons], axis=0)
    across = int(spread.argmin())
    if spread[across] > HALF_VOXEL:
        raise refused(
            "oblique-contours",
            "contours that lie in the slices of the scan.",
            f"Those of {header.name} cross {spread[across]:.1f} slices.",
            "Export the segmentation as a DICOM SEG or as a label map.",
        )
    rest = [axis for axis in range(3) if axis != across]
    depths = np.array([float(points[:, across].mean()) for points in polygons])
    planes: dict[float, NDArray[np.bool_]] = {}
    for depth, points in zip(depths, polygons, strict=True):
        own = fill_polygon(points[:, rest], (shape[rest[0]], shape[rest[1]]))
        key = round(float(depth), 2)
        planes[key] = planes[key] ^ own if key in planes else own
    mask = np.zeros(shape, dtype=bool)
    view = np.moveaxis(mask, across, 0)
    reach = _reach(np.array(sorted(planes)))
    for number in range(len(view)):
        nearest = min(planes, key=lambda depth, n=number: abs(depth - n))  # type: ignore[misc]
        if abs(nearest - number) <= reach:
            view[number] = planes[nearest]
    if reach > HALF_VOXEL + 0.01:
        notes.note("wide-contours", "Contours lie further apart than slices: each one is repeated.")
    return mask


#: A contour belongs to the slice whose centre is this near, in slices.
HALF_VOXEL = 0.5


def _reach(depths: NDArray[np.float64]) -> float:
    """How far a contour reaches, in slices: half of the usual distance to the next."""
    gaps = np.diff(depths)
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    return max(HALF_VOXEL, usual / 2) + 1e-6
