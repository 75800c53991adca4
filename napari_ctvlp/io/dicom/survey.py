"""DICOM headers to a list of studies and series: what there is, before a voxel is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import obliquity_degrees, orientation, spacing
from napari_ctvlp.core.scan import Message
from napari_ctvlp.errors import CtvlpError, InputRefused
from napari_ctvlp.io.dicom.frames import RTSTRUCT_CLASS, Frame
from napari_ctvlp.io.dicom.grouping import Groups, series_key
from napari_ctvlp.io.dicom.headers import Header, quiet
from napari_ctvlp.io.dicom.pixels import read_slice
from napari_ctvlp.io.dicom.stacks import Stack, stacks_of_series
from napari_ctvlp.io.result import Notes, Progress, plain_text

if TYPE_CHECKING:
    from pydicom import Dataset

#: Slices under which a CT is hardly a study.
FEW_SLICES = 10
#: Edge of a thumbnail, pixels; and its window, HU.
_THUMB, _WINDOW = 96, (-160.0, 240.0)
_OBLIQUE_DEGREES = 20.0
_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}
_EXTRAS = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyDescription",
    "SeriesDescription",
    "ConvolutionKernel",
    "ContrastBolusAgent",
)


@dataclass(frozen=True, eq=False)
class Item:
    """One thing that may be opened, or why it may not.

    Attributes
    ----------
    kind : {"volume", "segmentation", "contours", "nothing"}
    label : str
        Series description, without the patient's name and number.
    files : tuple of Path
    modality, plane, kernel, contrast : str
        ``""`` where unknown.
    shape : tuple of int
        Columns, rows, slices.
    spacing_mm : tuple of float
        Along them; empty where unknown.
    reason : str
        Why it is unsuitable as a CT, or what is odd; ``""`` when nothing is.
    suitable : bool
        Whether it can be opened and be of use.
    thumbnail : ndarray, shape (row, column), uint8, or None
    stack : Stack or None
        Its parsed headers: opening it reads pixels only.
    messages : tuple of Message
        What concerns the series as a whole.
    """

    kind: str
    label: str
    files: tuple[Path, ...]
    modality: str = ""
    plane: str = ""
    kernel: str = ""
    contrast: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    reason: str = ""
    suitable: bool = False
    thumbnail: NDArray[np.uint8] | None = None
    stack: Stack | None = None
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class StudyItems:
    """One study of a patient; date as DICOM writes it (YYYYMMDD)."""

    date: str
    description: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class PatientItems:
    """One patient. Name and number are for the series picker alone."""

    name: str
    number: str
    studies: tuple[StudyItems, ...]


def survey_dicom(groups: Groups, progress: Progress) -> list[PatientItems]:
    """List every patient, study and series of grouped headers.

    Parameters
    ----------
    groups : Groups
    progress : callable
        Told the share done; may raise to stop.
    """
    table: dict[str, dict[str, list[tuple[Header, Item]]]] = {}
    for header, item in _items(groups, progress):
        studies = table.setdefault(series_key(header)[0], {})
        studies.setdefault(header.text("StudyInstanceUID"), []).append((header, item))
    patients = [_patient(list(studies.values())) for studies in table.values()]
    return sorted(patients, key=lambda patient: (patient.name, patient.number))


def _items(groups: Groups, progress: Progress) -> Iterator[tuple[Header, Item]]:
    """Yield every item with a header that says whose it is."""
    for number, frames in enumerate(groups.series.values()):
        progress(number / len(groups.series), "series")
        yield from ((frames[0].header, item) for item in _series(frames))
    for header in groups.objects:
        contours = header.text("SOPClassUID") == RTSTRUCT_CLASS
        kind = "contours" if contours else "segmentation"
        words = "Opens as anatomy over the CT it was drawn on."
        modality = header.text("Modality")
        yield header, Item(kind, header.label, (header.path,), modality, reason=words)
    aside: dict[tuple[str, str], list[tuple[Header, InputRefused]]] = {}
    for header, error in groups.aside:
        aside.setdefault(series_key(header), []).append((header, error))
    for found in aside.values():
        header, error = found[0]
        files = tuple(one.path for one, _ in found)
        yield (
            header,
            Item("nothing", header.label, files, header.text("Modality"), reason=error.found),
        )


def _series(frames: Sequence[Frame]) -> Iterator[Item]:
    """Yield the volumes of one series, or the reason why there is none."""
    header, notes = frames[0].header, Notes()
    try:
        stacks = stacks_of_series(frames, notes)
    except InputRefused as error:
        files = tuple(dict.fromkeys(frame.header.path for frame in frames))
        yield Item("nothing", header.label, files, header.text("Modality"), reason=error.found)
        return
    for number, stack in enumerate(stacks, start=1):
        part = f" ({number} of {len(stacks)})" if len(stacks) > 1 else ""
        yield _volume(stack, part, (*notes.warnings, *notes.notices))


def _volume(stack: Stack, part: str, messages: tuple[Message, ...]) -> Item:
    header = stack.frames[0].header
    extras = _extras(header)
    steps = spacing(stack.affine)
    if stack.origins is not None:
        steps[2] = float(np.median(np.linalg.norm(np.diff(stack.origins, axis=0), axis=1)))
    reason, suitable = _judged(stack)
    return Item(
        kind="volume",
        label=header.label + part,
        files=tuple(dict.fromkeys(frame.header.path for frame in stack.frames)),
        modality=header.text("Modality"),
        plane=_plane(stack),
        kernel=plain_text("/".join(_many(extras.get("ConvolutionKernel"))), 24),
        contrast=plain_text(extras.get("ContrastBolusAgent"), 24),
        shape=stack.shape,
        spacing_mm=tuple(float(step) for step in steps),
        reason=reason,
        suitable=suitable,
        thumbnail=_thumbnail(stack),
        stack=stack,
        messages=messages,
    )


def _judged(stack: Stack) -> tuple[str, bool]:
    """Say in words what speaks against a volume, and whether it is of use all the same."""
    modality = stack.frames[0].header.text("Modality")
    if stack.unit != "HU":
        return f"Not a CT in Hounsfield units ({modality or 'no modality'}).", False
    if len(stack.frames) == 1:
        return "One slice only: not a volume.", False
    words = [message.message for message in stack.warnings]
    if len(stack.frames) < FEW_SLICES:
        words.insert(0, f"Only {len(stack.frames)} slices.")
    return " ".join(words), len(stack.frames) >= FEW_SLICES


def _plane(stack: Stack) -> str:
    if obliquity_degrees(stack.affine) > _OBLIQUE_DEGREES:
        return "oblique"
    return _PLANES.get(orientation(stack.affine)[2], "sagittal")


def _thumbnail(stack: Stack) -> NDArray[np.uint8] | None:
    """Return the middle slice in a soft-tissue window; None where it cannot be decoded."""
    try:
        values = read_slice(stack, len(stack.frames) // 2)
    except (CtvlpError, OSError):
        return None
    step = max(1, round(max(values.shape) / _THUMB))
    small = values[::step, ::step].astype(np.float32)
    low, high = _WINDOW if stack.unit == "HU" else np.percentile(small, (1, 99))
    return (np.clip((small - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _patient(studies: list[list[tuple[Header, Item]]]) -> PatientItems:
    header = studies[0][0][0]
    listed = []
    for rows in studies:
        extras = _extras(rows[0][0])
        items = tuple(item for _, item in rows)
        date, words = plain_text(extras.get("StudyDate"), 8), extras.get("StudyDescription")
        listed.append(StudyItems(date, plain_text(words, 64), items))
    name = plain_text(header.text("PatientName").replace("^", " "), 64)
    return PatientItems(name, plain_text(header.text("PatientID"), 64), tuple(listed))


def _extras(header: Header) -> Dataset | dict[str, Any]:
    """Read what only the list shows, from one file of a series."""
    from pydicom import dcmread

    try:
        with quiet():
            data = dcmread(
                header.path, stop_before_pixels=True, force=True, specific_tags=list(_EXTRAS)
            )
            data.decode()
    except Exception:  # pydicom raises many kinds on broken bytes; the series is listed anyway
        return {}
    return data


def _many(value: Any) -> list[str]:
    """Return the values of an element that may hold one or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]
