"""Files into series: slices by patient and series, objects, and what is neither."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.frames import RTSTRUCT_CLASS, SEG_CLASSES, Frame, frames_of, kind_of
from napari_ctvlp.io.dicom.headers import Found, Header
from napari_ctvlp.io.stream import judged

#: Key of a patient and SeriesInstanceUID.
SeriesKey = tuple[str, str]


@dataclass
class Groups:
    """What the headers of some files amount to.

    Attributes
    ----------
    series : dict
        Slices by patient and series, in order of their series numbers.
    objects : list of Header
        Segmentations and contours.
    aside : list of tuple
        Files that are no slice, each with the reason.
    """

    series: dict[SeriesKey, list[Frame]] = field(default_factory=dict)
    objects: list[Header] = field(default_factory=list)
    aside: list[tuple[Header, InputRefused]] = field(default_factory=list)


def series_of(found: Found) -> Groups:
    """Group the files of a walk; a file whose slices cannot be told joins ``found.broken``."""
    groups = Groups()
    series: dict[SeriesKey, list[Frame]] = {}
    for header in found.headers:
        sop = header.text("SOPClassUID")
        if sop in SEG_CLASSES or sop == RTSTRUCT_CLASS:
            groups.objects.append(header)
            continue
        no_slice = kind_of(header)
        if no_slice is not None:
            groups.aside.append((header, no_slice))
            continue
        try:
            with judged(header.path):
                series.setdefault(series_key(header), []).extend(frames_of(header))
        except InputRefused as error:
            found.broken.append((header.path, error))
    order = sorted((_number(frames[0]), key) for key, frames in series.items() if frames)
    groups.series = {key: series[key] for _, key in order}
    return groups


def series_key(header: Header) -> SeriesKey:
    """Return what keeps patients and series apart; it never leaves the readers."""
    patient = (header.text(k) for k in ("PatientID", "PatientName", "PatientBirthDate"))
    return "\0".join(patient), header.text("SeriesInstanceUID")


def _number(frame: Frame) -> int:
    """SeriesNumber, large when absent."""
    text = frame.header.text("SeriesNumber")
    return int(text) if text.isdigit() else 1 << 30
