"""Which files of a folder are DICOM, and what their headers say; pixels stay on disk."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.result import Progress, inside_folder, safe_text, silent
from napari_ctvlp.io.stream import judged

if TYPE_CHECKING:
    from pydicom import Dataset

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
#: Most headers of one slice end within this.
HEAD_BYTES = 1 << 15
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
#: Top-level elements that are read; everything else is skipped over.
_KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ViewPosition",
    "WindowCenter",
    "WindowWidth",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DirectoryRecordSequence",
)
_LONG_VR = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}


@dataclass(frozen=True)
class Header:
    """One DICOM file.

    Attributes
    ----------
    path : Path
        The file.
    data : pydicom Dataset
        Elements of ``_KEYWORDS`` only.
    syntax : str
        Transfer syntax UID; a bare data set counts as what it was parsed as.
    offset, length : int
        Where the pixel bytes start and how many there are (-1: undefined length).
    pixels : bool
        False when the file ends without a pixel element.
    """

    path: Path
    data: Dataset
    syntax: str
    offset: int
    length: int
    pixels: bool

    def text(self, keyword: str) -> str:
        """Return a value as text, ``""`` when absent."""
        value = self.data.get(keyword)
        return "" if value is None else str(value)

    def words(self, keyword: str) -> tuple[str, ...]:
        """Return the values of a multi-valued text."""
        value = self.data.get(keyword)
        if value is None or value == "":
            return ()
        return (value,) if isinstance(value, str) else tuple(str(v).strip() for v in value)

    @property
    def secrets(self) -> tuple[str, str]:
        """Name and number of the patient, to be kept out of every text."""
        return self.text("PatientName"), self.text("PatientID")

    @property
    def name(self) -> str:
        """File name for messages, without the patient's name and number."""
        return safe_text(self.path.name, self.secrets) or "a file"

    @property
    def label(self) -> str:
        """Readable series label, without the patient's name and number."""
        number = self.text("SeriesNumber")
        plain = safe_text(self.text("SeriesDescription"), self.secrets)
        return plain or (f"series {number}" if number.isdigit() else "series")


@dataclass
class Found:
    """What a walk over files brought.

    Attributes
    ----------
    headers : list of Header
        Every DICOM file.
    broken : list of tuple
        Files that begin as DICOM but cannot be parsed, with the reason.
    rest : list of Path
        Files that are something else.
    missing : list of str
        Files a DICOMDIR names that are not there.
    """

    headers: list[Header] = field(default_factory=list)
    broken: list[tuple[Path, InputRefused]] = field(default_factory=list)
    rest: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    has_index: bool = False


def is_dicom(path: Path) -> bool:
    """Return True when the first bytes are DICOM, with or without preamble and meta header."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:132] == b"DICM" or _starts_with_element(start)


def find_files(path: Path, progress: Progress = silent) -> Found:
    """Parse the headers of a file, a folder with its subfolders, or what a DICOMDIR names.

    Parameters
    ----------
    path : Path
        File, folder or DICOMDIR.
    progress : callable, optional
        Told the share of files done.
    """
    found = Found()
    if path.is_dir():
        files: Sequence[Path] = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        files = [path]
    for number, file in enumerate(files):
        progress(number / len(files), "headers")
        if not is_dicom(file):
            found.rest.append(file)
            continue
        header = _parse(file, found)
        if header is not None and "DirectoryRecordSequence" in header.data:
            _follow_index(header, path, found)
        elif header is not None:
            found.headers.append(header)
    return found


def load_whole(path: Path) -> Dataset:
    """Return a complete data set, pixels included."""
    from pydicom import dcmread

    return dcmread(path, force=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks about odd values from the user: the readers judge them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _starts_with_element(start: bytes) -> bool:
    """Tell a data set without preamble: group 2 or 8 first, and a plausible element."""
    if len(start) < 16 or start[:2] not in (b"\x02\0", b"\x08\0") or start[3] != 0:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or int.from_bytes(start[4:8], "little") <= 128


def _parse(path: Path, found: Found) -> Header | None:
    """Read one header, or note why it cannot be read."""
    try:
        with judged(path):
            header = _header(path)
            _drop_unreadable(header.data)
            return header
    except InputRefused as error:
        found.broken.append((path, error))
        return None


def _drop_unreadable(data: Dataset) -> None:
    """Convert every element once; one that cannot be converted counts as absent."""
    for tag in list(data.keys()):
        try:
            data[tag]
        except Exception:  # pydicom raises many kinds on broken bytes
            del data[tag]


def _header(path: Path) -> Header:
    """Parse the first bytes in memory; the file itself where they end before the pixels.

    Parsing a file asks the disk at every element, and every question lets another thread
    have Python: in a window that is busy, one after the other waits for its turn.
    """
    with path.open("rb") as file:
        start = file.read(HEAD_BYTES)
        if len(start) == HEAD_BYTES:
            with contextlib.suppress(Exception):  # whatever a cut header makes pydicom raise
                header = _parsed(path, io.BytesIO(start))
                if header.pixels:
                    return header
            file.seek(0)
            return _parsed(path, file)
    return _parsed(path, io.BytesIO(start))


def _parsed(path: Path, file: BinaryIO) -> Header:
    """Parse up to the pixel element and remember where its bytes are."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_partial

    seen: list[tuple[str | None, int]] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag in _PIXELS:
            seen[:] = [(vr, length)]
        return tag in _PIXELS

    tags: list[Any] = [tag_for_keyword(k) for k in _KEYWORDS]
    data = read_partial(file, stop_when=at_pixels, force=True, specific_tags=tags)
    at = file.tell()
    stated = str(data.file_meta.get("TransferSyntaxUID", "") or "")
    implicit, little = data.original_encoding
    bare = "1.2.840.10008.1.2" if implicit else f"1.2.840.10008.1.2.{1 if little else 2}"
    vr, length = seen[0] if seen else (None, 0)
    return Header(
        path=path,
        data=data,
        syntax=stated or bare,
        offset=at + (12 if vr in _LONG_VR else 8),
        length=-1 if length == 0xFFFFFFFF else length,
        pixels=bool(seen),
    )


def _follow_index(header: Header, asked: Path, found: Found) -> None:
    """Read what a DICOMDIR names; a folder was walked already, so only gaps are noted."""
    found.has_index = True
    try:
        with judged(header.path):
            names = list(_indexed(header))
    except InputRefused as error:
        found.broken.append((header.path, error))
        return
    for parts in names:
        target = inside_folder(header.path.parent, parts)
        if target is None or not target.is_file():
            found.missing.append(safe_text("/".join(parts).replace("/", " ")))
        elif not asked.is_dir():
            parsed = _parse(target, found) if is_dicom(target) else None
            if parsed is not None:
                found.headers.append(parsed)


def _indexed(header: Header) -> Iterator[tuple[str, ...]]:
    """File names of the records, as tuples of path parts."""
    for record in header.data.get("DirectoryRecordSequence") or ():
        name = record.get("ReferencedFileID")
        if name:
            yield (str(name),) if isinstance(name, str) else tuple(str(n) for n in name)
