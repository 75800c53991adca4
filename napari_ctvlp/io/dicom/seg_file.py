"""Label maps written as DICOM SEG through highdicom, on the slices they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import spacing
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.io.dicom.headers import is_dicom, quiet
from napari_ctvlp.io.nifti import on_source
from napari_ctvlp.io.result import refused

if TYPE_CHECKING:
    from pydicom import Dataset

#: SNOMED CT: what an organ is, what a finding is, and tissue that has no code here.
_ANATOMY = ("123037004", "Anatomical Structure")
_FINDING = ("49755003", "Morphologically Abnormal Structure")
_TISSUE = ("85756007", "Tissue")
#: What the standard wants in a file, be it without a value; some slices leave it out.
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True)
class SegmentRow:
    """One segment to write.

    Attributes
    ----------
    number : int
        Its value in the label map.
    name : str
        House name of an organ, or any words.
    finding : bool
        True for what was found rather than for an organ.
    """

    number: int
    name: str
    finding: bool = False


def save_seg(
    path: Path | str,
    labels: NDArray[Any],
    rows: Sequence[SegmentRow],
    scan: Scan,
    *,
    algorithm: str,
) -> None:
    """Write a label map as a binary DICOM segmentation of the scan's own slices.

    Parameters
    ----------
    path : Path or str
    labels : ndarray, shape (i, p, l)
        On the scan's grid.
    rows : sequence of SegmentRow
        Segments to write; those without a voxel are left out.
    scan : Scan
        Read from DICOM. Patient, study and frame of reference are read again from its files:
        they are kept nowhere.
    algorithm : str
        What drew the labels.

    Raises
    ------
    InputRefused
        ``not-dicom`` when the scan was not read from DICOM slices that are still there,
        ``nothing-to-save`` for an empty label map.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues
    from highdicom.uid import UID

    stored = np.moveaxis(on_source(labels, scan), (2, 1, 0), (0, 1, 2))
    present = set(np.unique(stored).tolist())
    kept = [row for row in rows if row.number in present]
    if not kept:
        raise refused(
            "nothing-to-save", "a mask with voxels.", "Every segment is empty.", "Choose another."
        )
    with quiet():
        sources = _sources(scan)
        numbered = np.zeros(stored.shape, np.uint8 if len(kept) < 256 else np.uint16)
        for number, row in enumerate(kept, start=1):
            numbered[stored == row.number] = number
        made = Segmentation(
            source_images=sources,
            pixel_array=numbered,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_described(n, row, algorithm) for n, row in enumerate(kept, 1)],
            series_instance_uid=UID(),
            series_number=9000,
            sop_instance_uid=UID(),
            instance_number=1,
            manufacturer="napari-ctvlp developers",
            manufacturer_model_name="napari-ctvlp",
            software_versions=version("napari-ctvlp"),
            device_serial_number="0",
            series_description="napari-ctvlp segmentation (research only)",
        )
        made.save_as(path)


def _sources(scan: Scan) -> list[Dataset]:
    """Headers of the slices, in the order of the stored grid."""
    from pydicom import dcmread

    files = scan.source.files
    there = all(path.is_file() and is_dicom(path) for path in files)
    if not files or not there:
        raise _no_dicom("The scan was not read from DICOM files that are still there.")
    sources: list[Dataset] = [dcmread(path, stop_before_pixels=True) for path in files]
    for one in sources:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in one:
                setattr(one, keyword, "")
        if "SliceThickness" not in one:
            one.SliceThickness = f"{spacing(scan.source.affine)[2]:.6g}"
    frames = sum(int(one.get("NumberOfFrames") or 1) for one in sources)
    if frames != scan.source.shape[2]:
        raise _no_dicom(
            f"Its {frames} slices lie at uneven distances and were resampled to "
            f"{scan.source.shape[2]}."
        )
    return sources


def _described(number: int, row: SegmentRow, algorithm: str) -> Any:
    """Describe one segment with its SNOMED codes."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    place = places().get(row.name)
    organ = (place.snomed, place.title) if place is not None and place.snomed else _TISSUE
    category, kind = (_FINDING, _FINDING) if row.finding else (_ANATOMY, organ)
    return SegmentDescription(
        segment_number=number,
        segment_label=(place.title if place is not None else row.name.replace("_", " "))[:64],
        segmented_property_category=Code(category[0], "SCT", category[1]),
        segmented_property_type=Code(kind[0], "SCT", kind[1]),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm[:64] or "napari-ctvlp",
            version=version("napari-ctvlp"),
            family=codes.DCM.ArtificialIntelligence,
        ),
    )


def _no_dicom(found: str) -> Exception:
    return refused(
        "not-dicom",
        "a scan read from evenly spaced DICOM slices.",
        found,
        "Save the masks as NIfTI instead.",
    )
