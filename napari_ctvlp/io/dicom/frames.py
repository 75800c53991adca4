"""One slice of one file: its place, its rescale, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.headers import Header
from napari_ctvlp.io.result import refused
from napari_ctvlp.io.stream import truncated

if TYPE_CHECKING:
    from pydicom import Dataset

CLASS = "1.2.840.10008.5.1.4.1.1."
SEG_CLASSES = {CLASS + "66.4", CLASS + "66.7"}
RTSTRUCT_CLASS = CLASS + "481.3"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN}
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."
_ALWAYS_LOSSY = {_JPEG + n for n in ("50", "51", "81")}
_ENCAPSULATED = {
    _JPEG + n for n in ("50", "51", "57", "70", "80", "81", "90", "91", "201", "202", "203")
}
_PROJECTIONS = {"CR", "DX", "MG", "XA", "RF", "IO", "PX", "RG", "OPT"}
_NO_IMAGE_CLASSES = ("7", "11", "30", "481", "66", "88", "104", "9", "77")


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice; positions and directions in LPS mm as DICOM states them.

    Attributes
    ----------
    header : Header
        Its file.
    number : int
        Frame in the file, from 0.
    position : ndarray, shape (3,), or None
        Centre of the first pixel.
    axes : ndarray, shape (2, 3), or None
        Unit direction along a row, and along a column.
    step : tuple of float or None
        Pixel distance along a row, along a column.
    rescale : tuple of float or None
        Slope and intercept.
    rescale_type, image_type
        As stored.
    phase : tuple of str
        What tells acquisitions at one position apart.
    defect : InputRefused or None
        Why this slice cannot be used.
    """

    header: Header
    number: int
    position: NDArray[np.float64] | None
    axes: NDArray[np.float64] | None
    step: tuple[float, float] | None
    rescale: tuple[float, float] | None
    rescale_type: str
    image_type: tuple[str, ...]
    phase: tuple[str, ...]
    defect: InputRefused | None

    @property
    def name(self) -> str:
        """File name, with the frame number where there are several."""
        many = int(self.header.data.get("NumberOfFrames") or 1) > 1
        return f"{self.header.name}#{self.number + 1}" if many else self.header.name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        data = self.header.data
        return int(data.get("Rows") or 0), int(data.get("Columns") or 0)

    @property
    def instance(self) -> int:
        """InstanceNumber, 0 when absent; frames follow one another."""
        text = self.header.text("InstanceNumber")
        return (int(text) if text.lstrip("-").isdigit() else 0) + self.number

    @property
    def lossy(self) -> bool:
        """Whether the pixels were compressed with loss at any time."""
        header = self.header
        return header.syntax in _ALWAYS_LOSSY or header.text("LossyImageCompression") == "01"


def kind_of(header: Header) -> InputRefused | None:
    """Return why a file is no slice of a volume at all, or None."""
    sop = header.text("SOPClassUID")
    modality = header.text("Modality")
    if modality in _PROJECTIONS:
        return refused(
            "not-a-volume",
            "slices of a CT.",
            f"{header.name} is a projection ({modality}), not a slice.",
            "Open the CT series; radiographs cannot be stacked.",
        )
    tail = sop.removeprefix(CLASS) if sop.startswith(CLASS) else ""
    if not sop.startswith(CLASS) or tail.split(".")[0] in _NO_IMAGE_CLASSES:
        return refused(
            "not-ct-image",
            "CT slices.",
            f"{header.name} is {_class_name(sop)}, which holds no CT slice.",
            "Open the CT series it belongs to.",
        )
    if modality == "CT" and {"LOCALIZER", "SCOUT"} & set(header.words("ImageType")):
        return refused(
            "localiser-only",
            "axial CT slices.",
            f"{header.name} is a localiser, a projection without depth.",
            "Export the axial series.",
        )
    return None


def frames_of(header: Header) -> Iterator[Frame]:
    """Yield the slices of one image file, each with its own place and rescale."""
    data = header.data
    per_frame = list(data.get("PerFrameFunctionalGroupsSequence") or ())
    shared = list(data.get("SharedFunctionalGroupsSequence") or ())
    count = _count(header)
    defect = _file_defect(header)
    for number in range(count):
        groups = [*per_frame[number : number + 1], *shared]
        yield _frame(header, number, groups, defect)


def _frame(
    header: Header, number: int, groups: list[Dataset], defect: InputRefused | None
) -> Frame:
    """Collect one slice; the first thing wrong becomes its defect."""
    position = axes = step = rescale = None
    try:
        position = _numbers(header, groups, "PlanePositionSequence", "ImagePositionPatient", 3)
        turn = _numbers(header, groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
        spacing = _numbers(header, groups, "PixelMeasuresSequence", "PixelSpacing", 2)
        axes = None if turn is None else turn.reshape(2, 3)
        step = None if spacing is None else (float(spacing[1]), float(spacing[0]))
        rescale = _rescale(header, groups)
    except InputRefused as error:
        defect = defect or error
    types = "PixelValueTransformationSequence"
    return Frame(
        header=header,
        number=number,
        position=position,
        axes=axes,
        step=step,
        rescale=rescale,
        rescale_type=str(_value(header, groups, types, "RescaleType") or ""),
        image_type=header.words("ImageType"),
        phase=_phase(header, groups),
        defect=defect or _geometry_defect(header, position, axes, step),
    )


def _value(header: Header, groups: list[Dataset], sequence: str, keyword: str) -> Any:
    """Value from the frame's groups, the shared groups, else the top level."""
    for group in groups:
        items = group.get(sequence)
        if items and keyword in items[0]:
            return items[0].get(keyword)
    return header.data.get(keyword)


def _numbers(
    header: Header, groups: list[Dataset], sequence: str, keyword: str, count: int
) -> NDArray[np.float64] | None:
    """Return exactly ``count`` numbers, None when absent or empty."""
    value = _value(header, groups, sequence, keyword)
    if value is None or value == "":
        return None
    try:
        numbers = np.array([float(v) for v in value], dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise refused(
            "bad-number",
            f"{count} numbers in {keyword}, with a point as decimal sign.",
            f"{header.name} has {str(value)[:60]!r}.",
            "Export the series again.",
        )
    return numbers


def _rescale(header: Header, groups: list[Dataset]) -> tuple[float, float] | None:
    """Slope and intercept, None unless the file states a slope or an intercept."""
    sequence = "PixelValueTransformationSequence"
    slope = _value(header, groups, sequence, "RescaleSlope")
    intercept = _value(header, groups, sequence, "RescaleIntercept")
    if slope in (None, "") and intercept in (None, ""):
        return None
    try:
        pair = (float(1 if slope in (None, "") else slope), float(intercept or 0))
    except (TypeError, ValueError):
        pair = (0.0, 0.0)
    if pair[0] == 0 or not np.isfinite(pair).all():
        raise refused(
            "bad-rescale",
            "a rescale slope other than 0.",
            f"{header.name} has slope {slope} and intercept {intercept}.",
            "Export the series again; the stored numbers cannot become Hounsfield units.",
        )
    return pair


def _phase(header: Header, groups: list[Dataset]) -> tuple[str, ...]:
    """What may tell two acquisitions of one position apart, strongest first."""
    content = "FrameContentSequence"
    temporal = _value(header, groups, content, "TemporalPositionIndex")
    if temporal is None:
        temporal = header.data.get("TemporalPositionIdentifier")
    acquisition = header.text("AcquisitionNumber")
    return str(temporal or ""), acquisition, "/".join(header.words("ImageType"))


def _count(header: Header) -> int:
    """Number of frames, at least 1 and no more than the file can hold."""
    text = header.text("NumberOfFrames")
    count = int(text) if text.isdigit() else 1
    return max(1, min(count, 100_000))


def _file_defect(header: Header) -> InputRefused | None:
    """What is wrong with the file as a whole, before any pixel is decoded."""
    data, name = header.data, header.name
    try:
        rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    except (TypeError, ValueError):
        rows = columns = 0
    if rows < 1 or columns < 1:
        return truncated(header.path, "a header with Rows and Columns", "it ends before them")
    if not header.pixels:
        return refused(
            "no-pixel-data",
            "pixels.",
            f"{name} is a header without pixel data.",
            "Export the series with its images.",
        )
    if header.syntax not in NATIVE | _ENCAPSULATED | {DEFLATED, RLE}:
        return refused(
            "unsupported-transfer-syntax",
            "an uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000 or HTJ2K image.",
            f"{name} has the transfer syntax {header.syntax}, for which there is no decoder.",
            "Export the series uncompressed (Explicit VR Little Endian).",
        )
    if int(data.get("SamplesPerPixel") or 1) != 1:
        return refused(
            "colour",
            "one number for each pixel.",
            f"{name} is a colour picture.",
            "Open the CT series it was made from.",
        )
    return _short_pixels(header, rows * columns)


def _short_pixels(header: Header, pixels: int) -> InputRefused | None:
    """Compare the bytes that are there with those the header promises."""
    if header.syntax not in NATIVE:
        return None
    bits = int(header.data.get("BitsAllocated") or 0)
    if bits not in (8, 16, 32):
        return refused(
            "not-ct-image",
            "8, 16 or 32 bits for each pixel.",
            f"{header.name} has {bits}.",
            "Export the series again.",
        )
    needed = pixels * bits // 8 * _count(header)
    there = min(header.path.stat().st_size - header.offset, header.length)
    if there < needed:
        return truncated(header.path, f"{needed} bytes of pixels", f"only {there} are there")
    return None


def _geometry_defect(
    header: Header,
    position: NDArray[np.float64] | None,
    axes: NDArray[np.float64] | None,
    step: tuple[float, float] | None,
) -> InputRefused | None:
    """What is missing to place the slice."""
    name, advice = header.name, "Export the original series; no geometry is ever guessed."
    if position is None and axes is None and step is None:
        words = f"{name} has neither position nor orientation nor pixel spacing."
        code = "no-geometry" if header.text("Modality") != "CT" else "no-position"
        return refused(code, "a slice with its place in the patient.", words, advice)
    if position is None:
        words = f"{name} has no ImagePositionPatient."
        return refused("no-position", "the position of each slice.", words, advice)
    if axes is None:
        words = f"{name} has no ImageOrientationPatient: left and right are unknown."
        return refused("no-orientation", "the orientation of each slice.", words, advice)
    if step is None:
        words = f"{name} has no PixelSpacing."
        return refused("no-pixel-spacing", "the pixel spacing in mm.", words, advice)
    square = axes @ axes.T
    if min(step) <= 0 or not np.allclose(square, np.eye(2), atol=1e-2):
        words = f"{name} has PixelSpacing {step[::-1]} and direction cosines {axes.tolist()}."
        return refused("bad-spacing", "lengths over 0 and unit directions.", words, advice)
    return None


def _class_name(sop: str) -> str:
    """Readable name of a SOP class."""
    from pydicom.uid import UID

    name = UID(sop).name if sop else "no SOP class"
    return f"'{name}'"
