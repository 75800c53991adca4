"""DICOM segmentations to one mask per segment, on the grid their frames span."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, lps_affine_to_ras
from napari_ctvlp.io.dicom.frames import Frame
from napari_ctvlp.io.dicom.headers import Header, load_whole
from napari_ctvlp.io.dicom.objects import (
    segment_of,
    segmentation_pixels,
    segmentation_reference,
)
from napari_ctvlp.io.result import Notes, plain_text, refused
from napari_ctvlp.io.stream import check_memory

if TYPE_CHECKING:
    from pydicom import Dataset

#: Fractions from here on belong to a segment.
HALF = 0.5
#: Planes closer than this are one, mm.
_SAME_MM = 0.01
_MOST_PLANES = 20_000
Segment = tuple[str, tuple[str, ...], NDArray[np.bool_], Affine]


def read_seg(header: Header, frames: Sequence[Frame], notes: Notes) -> Iterator[Segment]:
    """Yield label, codes, mask (column, row, plane) and affine of each segment.

    Parameters
    ----------
    header : Header
        Of a SEG file: binary, fractional or label map.
    frames : sequence of Frame
        Slices of the scan, to compare references with; empty where they are unknown.
    notes : Notes

    Raises
    ------
    InputRefused
        ``reference-mismatch`` when it is of another series and frame of reference.
    """
    data = load_whole(header.path)
    wrong = segmentation_reference(header, data, frames, notes) if frames else None
    if wrong is not None:
        raise wrong
    pixels = segmentation_pixels(data)
    kind = str(data.get("SegmentationType", "BINARY"))
    groups = list(data.PerFrameFunctionalGroupsSequence)
    places = np.array([_position(data, group) for group in groups])
    planes, affine = _grid(header, data, places)
    shape = (int(data.Columns), int(data.Rows), int(planes.max()) + 1)
    check_memory(header.path, int(np.prod(shape)))
    least = HALF * float(data.get("MaximumFractionalValue") or 255) if kind == "FRACTIONAL" else 0
    if least:
        notes.warn("fractional", f"{header.name} holds fractions: from one half on, they count.")
    for segment in data.get("SegmentSequence") or ():
        number = int(segment.SegmentNumber)
        if number == 0:  # the background of a label map
            continue
        mask = np.zeros(shape, dtype=bool)
        for frame, plane, group in zip(pixels, planes, groups, strict=False):
            if kind == "LABELMAP":
                mask[..., plane] |= number == frame.T
            elif segment_of(data, group) == number:
                mask[..., plane] |= least <= frame.T if least else frame.T > 0
        yield plain_text(segment.get("SegmentLabel"), 64), _codes(segment), mask, affine


def _grid(
    header: Header, data: Dataset, places: NDArray[np.float64]
) -> tuple[NDArray[np.int64], Affine]:
    """Return the plane number of each frame, and the affine of the grid they span."""
    shared = (data.get("SharedFunctionalGroupsSequence") or [{}])[0]
    first = data.PerFrameFunctionalGroupsSequence[0]
    measures = _first(shared, first, "PixelMeasuresSequence")
    turn = np.array(
        _first(shared, first, "PlaneOrientationSequence").ImageOrientationPatient, dtype=float
    ).reshape(2, 3)
    rows_mm, columns_mm = (float(step) for step in measures.PixelSpacing)
    normal = np.cross(turn[0], turn[1])
    depth = places @ normal
    known = np.unique(np.round(depth, 3))
    gaps = np.diff(known)
    gaps = gaps[gaps > _SAME_MM]
    step = float(measures.get("SpacingBetweenSlices") or 0) or (
        float(gaps.min()) if len(gaps) else float(measures.get("SliceThickness") or 1)
    )
    planes = np.rint((depth - depth.min()) / step).astype(np.int64)
    off = np.abs(depth - depth.min() - planes * step).max()
    if not 0 <= planes.max() < _MOST_PLANES or off > 0.2 * step:
        raise refused(
            "uneven-spacing",
            "frames of a segmentation at even distances.",
            f"Those of {header.name} are up to {off:.2f} mm off.",
            "Export it on the grid of its CT.",
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = turn[0] * columns_mm, turn[1] * rows_mm
    affine[:3, 2], affine[:3, 3] = normal * step, places[int(depth.argmin())]
    return planes, lps_affine_to_ras(affine) + 0.0


def _first(shared: Any, frame: Any, keyword: str) -> Any:
    """Item of a sequence that is shared by all frames, or stands in the first."""
    return (shared.get(keyword) or frame.get(keyword))[0]


def _position(data: Dataset, group: Dataset) -> list[float]:
    return [float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient]


def _codes(segment: Dataset) -> tuple[str, ...]:
    """Concept ids of a segment's type, and of it with its modifiers' first."""
    found = []
    for item in segment.get("SegmentedPropertyTypeCodeSequence") or ():
        found.append(str(item.get("CodeValue") or ""))
    for item in segment.get("AnatomicRegionSequence") or ():
        found.append(str(item.get("CodeValue") or ""))
    return tuple(code for code in found if code)
