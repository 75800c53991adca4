"""DICOM segmentations and contours: what they hold, and whether they fit the CT beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import ras_to_lps
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.frames import Frame
from napari_ctvlp.io.dicom.headers import Header, load_whole
from napari_ctvlp.io.result import Notes, plain_text, refused

if TYPE_CHECKING:
    from pydicom import Dataset


def read_segmentation(
    header: Header, frames: Sequence[Frame], notes: Notes
) -> tuple[dict[str, Any], InputRefused | None]:
    """List the segments of a SEG object with their voxel counts.

    Parameters
    ----------
    header : Header
        Of the SEG file.
    frames : sequence of Frame
        Every image slice found beside it.
    notes : Notes
        Receives warnings about overlap, fractions and missing references.

    Returns
    -------
    tuple
        The listing, and a refusal when it belongs to another image than those here.
    """
    data = load_whole(header.path)
    pixels = segmentation_pixels(data)
    kind = str(data.get("SegmentationType", "BINARY"))
    segments = _segments(data)
    if kind == "LABELMAP":
        _count_labels(pixels, segments)
    else:
        _count_frames(data, pixels, kind, segments, header.name, notes)
    listing = {
        "type": "SEG",
        "file": header.path.name,
        "segmentation_type": kind,
        "shape": [int(data.Columns), int(data.Rows), len(pixels)],
        "segments": list(segments.values()),
    }
    return listing, segmentation_reference(header, data, frames, notes)


def read_contours(header: Header, frames: Sequence[Frame], notes: Notes) -> dict[str, Any]:
    """List the regions of an RTSTRUCT: contours, summed polygon area in mm2, centroid in RAS mm."""
    data = load_whole(header.path)
    names = {
        int(r.ROINumber): plain_text(r.get("ROIName"))
        for r in data.get("StructureSetROISequence") or ()
    }
    rois = [_region(item, names) for item in data.get("ROIContourSequence") or ()]
    _warn_reference(header, data, frames, notes)
    return {"type": "RTSTRUCT", "file": header.path.name, "rois": rois}


def segmentation_pixels(data: Dataset) -> NDArray[Any]:
    """Return frames as stored, shape (frame, row, column)."""
    from pydicom.pixels.utils import unpack_bits

    if int(data.BitsAllocated) != 1 or data.file_meta.TransferSyntaxUID.is_compressed:
        return np.asarray(data.pixel_array).reshape(-1, data.Rows, data.Columns)
    count = int(data.get("NumberOfFrames") or 1)
    size = int(data.Rows) * int(data.Columns) * count
    flat = np.asarray(unpack_bits(data.PixelData))[:size]
    return flat.reshape(count, data.Rows, data.Columns)


def _segments(data: Dataset) -> dict[int, dict[str, Any]]:
    """One empty row for each segment."""
    return {
        int(s.SegmentNumber): {
            "number": int(s.SegmentNumber),
            "label": plain_text(s.get("SegmentLabel")),
            "sum": 0.0,
            "nonzero": 0,
            "frames": 0,
        }
        for s in data.get("SegmentSequence") or ()
    }


def segment_of(data: Dataset, groups: Dataset) -> int:
    """Return the segment a frame belongs to: stated in the frame, or once for all frames."""
    shared = data.get("SharedFunctionalGroupsSequence") or [{}]
    keyword = "SegmentIdentificationSequence"
    (item, *_) = groups.get(keyword) or shared[0].get(keyword)
    return int(item.ReferencedSegmentNumber)


def _count_labels(pixels: NDArray[Any], segments: dict[int, dict[str, Any]]) -> None:
    """A label map holds the segment number in each voxel."""
    for number, segment in segments.items():
        voxels = int((pixels == number).sum())
        segment.update(sum=float(voxels), nonzero=voxels, frames=len(pixels))


def _count_frames(
    data: Dataset,
    pixels: NDArray[Any],
    kind: str,
    segments: dict[int, dict[str, Any]],
    name: str,
    notes: Notes,
) -> None:
    """Each frame belongs to one segment and says so."""
    scale = float(data.get("MaximumFractionalValue") or 255) if kind == "FRACTIONAL" else 1.0
    places: dict[tuple[float, ...], NDArray[np.bool_]] = {}
    fractions = overlap = False
    for frame, groups in zip(
        pixels, data.get("PerFrameFunctionalGroupsSequence") or (), strict=False
    ):
        segment = segments[segment_of(data, groups)]
        mask = frame > 0
        segment["sum"] = round(segment["sum"] + float(frame.sum()) / scale, 4)
        segment["nonzero"] += int(mask.sum())
        segment["frames"] += 1
        fractions |= kind == "FRACTIONAL" and bool(np.any(mask & (frame < scale)))
        place = tuple(float(x) for x in groups.PlanePositionSequence[0].ImagePositionPatient)
        overlap |= bool((places[place] & mask).any()) if place in places else False
        places[place] = places[place] | mask if place in places else mask
    if fractions:
        notes.warn(
            "fractional",
            f"{name} holds fractions between 0 and 1, not a mask: voxel counts are of all "
            "voxels over 0. Choose a threshold before measuring.",
        )
    if overlap:
        notes.warn(
            "overlapping-segments",
            f"Segments of {name} share voxels: they are counted one by one, and one label map "
            "cannot hold them.",
        )


def segmentation_reference(
    header: Header, data: Dataset, frames: Sequence[Frame], notes: Notes
) -> InputRefused | None:
    """Return why a segmentation does not belong on these slices, or None when it does."""
    wanted = {str(s.SeriesInstanceUID) for s in data.get("ReferencedSeriesSequence") or ()}
    here = {f.header.text("SeriesInstanceUID") for f in frames}
    spaces = {f.header.text("FrameOfReferenceUID") for f in frames}
    if wanted & here or header.text("FrameOfReferenceUID") in spaces - {""}:
        return None
    if not frames:
        notes.warn(
            "reference-missing",
            f"The CT that {header.name} was drawn on is not here: it is listed on its own grid.",
        )
        return None
    return refused(
        "reference-mismatch",
        "a segmentation of the CT beside it.",
        f"{header.name} names another series and another frame of reference.",
        "Open it with the CT it was drawn on; it was not laid over this one.",
    )


def _region(item: Dataset, names: dict[int, str]) -> dict[str, Any]:
    """Sum the polygon areas of one ROI; its centroid is their area-weighted middle."""
    area, centre, count = 0.0, np.zeros(3), 0
    for contour in item.get("ContourSequence") or ():
        try:
            points = np.array([float(x) for x in contour.ContourData]).reshape(-1, 3)
        except (TypeError, ValueError, AttributeError):
            continue
        turned = np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)
        own = float(np.linalg.norm(turned)) / 2
        area, centre, count = area + own, centre + own * points.mean(axis=0), count + 1
    middle = ras_to_lps(centre / area) if area else np.zeros(3)
    return {
        "name": names.get(int(item.ReferencedROINumber), ""),
        "contours": count,
        "summed_area_mm2": round(area, 3),
        "centroid_ras": [round(float(x), 3) for x in middle],
    }


def _warn_reference(header: Header, data: Dataset, frames: Sequence[Frame], notes: Notes) -> None:
    """Say that the series the contours were drawn on is not here, or shares no space."""
    if not frames:
        wanted = plain_text(", ".join(sorted(_referenced_series(data)))) or "not named"
        notes.warn(
            "reference-missing",
            f"The CT that {header.name} was drawn on is not here: series {wanted}. Contours are "
            "only listed.",
        )
        return
    wrong = contour_reference(header, data, frames)
    if wrong is not None:
        notes.warn(
            wrong.code,
            f"{wrong.found} Its contours may not belong on this CT. Check before using them.",
        )


def contour_reference(
    header: Header, data: Dataset, frames: Sequence[Frame]
) -> InputRefused | None:
    """Return why contours do not belong on these slices, or None when they do.

    Parameters
    ----------
    header, data
        The structure set.
    frames : sequence of Frame
        Slices of the scan.
    """
    spaces = {f.header.text("FrameOfReferenceUID") for f in frames}
    stated = {
        str(r.get("FrameOfReferenceUID", ""))
        for r in data.get("ReferencedFrameOfReferenceSequence") or ()
    }
    if stated & spaces or _drawn_on(data, frames):
        return None
    here = {f.header.text("SeriesInstanceUID") for f in frames}
    other = "" if _referenced_series(data) & here else " and another series"
    return refused(
        "reference-mismatch",
        "contours of the CT that is open.",
        f"{header.name} names another frame of reference{other}.",
        "Open it with the CT it was drawn on; nothing was laid over this one.",
    )


def _referenced_series(data: Dataset) -> set[str]:
    """Series the structure set says it belongs to."""
    return {
        str(series.SeriesInstanceUID)
        for frame in data.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    }


def _drawn_on(data: Dataset, frames: Sequence[Frame]) -> bool:
    """Whether every contour names an image that is here."""
    images = {f.header.text("SOPInstanceUID") for f in frames}
    contours = [
        contour
        for item in data.get("ROIContourSequence") or ()
        for contour in item.get("ContourSequence") or ()
    ]
    return bool(contours) and all(
        any(str(i.ReferencedSOPInstanceUID) in images for i in c.get("ContourImageSequence") or ())
        for c in contours
    )
