"""Stored pixels of a stack, decoded slice by slice and rescaled exactly once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.scan import AIR_HU
from napari_ctvlp.io.dicom.frames import BIG_ENDIAN, DEFLATED, NATIVE, RLE, Frame
from napari_ctvlp.io.dicom.headers import load_whole
from napari_ctvlp.io.dicom.stacks import Stack
from napari_ctvlp.io.result import Notes, Progress, silent
from napari_ctvlp.io.stream import check_memory, judged

if TYPE_CHECKING:
    from pydicom import Dataset

#: What a decoder must know about a picture.
_PICTURE = (
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def read_voxels(stack: Stack, notes: Notes, progress: Progress = silent) -> NDArray[Any]:
    """Return the volume, shape (column, row, slice), as int16 where that holds it, else float32.

    Parameters
    ----------
    stack : Stack
        Slices in order.
    notes : Notes
        Receives what is said about padding.

    Raises
    ------
    InputRefused
        ``corrupt`` when a slice cannot be decoded, naming the file.
    """
    columns, rows, count = stack.shape
    check_memory(stack.frames[0].header.path, 2 * columns * rows * count)
    volume: NDArray[Any] = np.empty((count, rows, columns), dtype=np.int16)
    padded = inner = 0
    corner = _outside_circle(rows, columns)
    for k, (frame, stored) in enumerate(_decoded(stack.frames)):
        mask = _padding(stored, frame) if stack.unit in ("HU", "stored") else None
        progress((k + 1) / count, "reading")
        shift = _int16_shift(stored, frame) if mask is None else None
        if shift is not None and volume.dtype == np.int16:
            np.add(stored.view(np.int16), shift, out=volume[k])
            continue
        values = _rescaled(stored, frame)
        if mask is not None and mask.any():
            padded += int(mask.sum())
            inner += int((mask & ~corner).sum())
            values[mask] = AIR_HU if stack.unit == "HU" else values[~mask].min(initial=0)
        if volume.dtype == np.int16 and not _fits(values):
            volume = volume.astype(np.float32)
        volume[k] = values
    _say_padding(padded, inner, volume.size, notes)
    return volume.transpose(2, 1, 0)


def read_slice(stack: Stack, number: int) -> NDArray[Any]:
    """Return one slice of a stack, shape (row, column), rescaled, padding left as it is.

    Parameters
    ----------
    stack : Stack
    number : int
        Index of the slice.

    Raises
    ------
    InputRefused
        When it cannot be decoded.
    """
    return read_frame(stack.frames[number])


def read_frame(frame: Frame) -> NDArray[Any]:
    """Return one frame by itself, shape (row, column); as :func:`read_slice` does."""
    return read_padded(frame)[0]


def read_padded(frame: Frame) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return one frame as :func:`read_frame` does, and which of its pixels are padding."""
    with judged(frame.header.path):
        ((_, stored),) = _decoded([frame])
        mask = _padding(stored, frame)
        return _rescaled(stored, frame), np.zeros(stored.shape, bool) if mask is None else mask


def _say_padding(padded: int, inner: int, size: int, notes: Notes) -> None:
    """Corners outside the reconstruction circle are usual; anything else is worth a warning."""
    words = f"{100 * padded / size:.0f} % of the voxels are padding; they are taken as air."
    if inner:
        notes.warn("padding", words)
    elif padded:
        notes.note("padding", f"{words} All lie outside the round field of the scanner.")


def _rescaled(stored: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Apply slope and intercept, in whole numbers where both are whole."""
    slope, intercept = frame.rescale or (1.0, 0.0)
    if slope.is_integer() and intercept.is_integer() and abs(slope * intercept) < 1 << 30:
        return stored.astype(np.int64 if stored.dtype.itemsize > 2 else np.int32) * int(
            slope
        ) + int(intercept)
    return stored.astype(np.float64) * slope + intercept


def _int16_shift(stored: NDArray[Any], frame: Frame) -> np.int16 | None:
    """Return the intercept where the header alone says that every HU fits into int16.

    This is the case of nearly every CT, and needs neither a wider copy nor a look at each voxel.
    """
    slope, intercept = frame.rescale or (1.0, 0.0)
    bits = int(frame.header.data.get("BitsStored") or 16)
    signed = stored.dtype.kind == "i"
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    plain = slope == 1 and intercept.is_integer() and stored.dtype.itemsize == 2
    inside = low + min(intercept, 0) >= -32768 and max(high, high + intercept) <= 32768
    return np.int16(intercept) if plain and inside else None


def _fits(values: NDArray[Any]) -> bool:
    """Whether int16 holds the values without loss."""
    if values.min() < -32768 or values.max() > 32767:
        return False
    return values.dtype.kind in "iu" or not np.any(np.mod(values, 1))


def _padding(stored: NDArray[Any], frame: Frame) -> NDArray[np.bool_] | None:
    """Pixels that hold the padding value, or lie in the padding range."""
    data = frame.header.data
    value, limit = data.get("PixelPaddingValue"), data.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    ends = [value, limit if isinstance(limit, int) else value]
    bits = int(data.get("BitsAllocated") or 16)
    if int(data.get("PixelRepresentation") or 0) == 1:
        ends = [e - (1 << bits) if e >= 1 << (bits - 1) else e for e in ends]
    else:
        ends = [e + (1 << bits) if e < 0 else e for e in ends]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _outside_circle(rows: int, columns: int) -> NDArray[np.bool_]:
    """Pixels outside the circle that just fits into the picture."""
    y, x = np.ogrid[:rows, :columns]
    radius = min(rows, columns) / 2 - 0.5
    return np.asarray(np.hypot(y - (rows - 1) / 2, x - (columns - 1) / 2) > radius)


def _decoded(frames: Sequence[Frame]) -> Iterator[tuple[Frame, NDArray[Any]]]:
    """Yield each slice with its stored numbers, shape (rows, columns)."""
    with tempfile.TemporaryDirectory(prefix="ctvlp-") as scratch:
        whole: dict[Path, Dataset] = {}
        for frame in frames:
            path = frame.header.path
            if frame.header.syntax in NATIVE:
                yield frame, _native(frame)
                continue
            if path not in whole:
                whole.clear()
                whole[path] = load_whole(path)
            with judged(path):
                pixels = _packed(frame, whole[path], Path(scratch))
            yield frame, pixels


def _native(frame: Frame) -> NDArray[Any]:
    """Read uncompressed pixels straight from the file."""
    rows, columns = frame.shape
    size = int(frame.header.data.get("BitsAllocated")) // 8
    stored = f"{'>' if frame.header.syntax == BIG_ENDIAN else '<'}u{size}"
    start = frame.header.offset + rows * columns * size * frame.number
    flat = np.fromfile(frame.header.path, stored, rows * columns, offset=start)
    dtype = np.dtype(f"u{size}")
    return _signed(flat.reshape(rows, columns).astype(dtype, copy=False), frame)


def _packed(frame: Frame, data: Dataset, scratch: Path) -> NDArray[Any]:
    """Decode one frame of a deflated, RLE or JPEG-family file."""
    rows, columns = frame.shape
    if frame.header.syntax == DEFLATED:
        dtype = np.dtype(f"<u{int(data.BitsAllocated) // 8}")
        size = rows * columns * dtype.itemsize
        flat = np.frombuffer(data.PixelData, dtype, rows * columns, offset=size * frame.number)
        return _signed(flat.reshape(rows, columns), frame)
    if frame.header.syntax == RLE:
        from pydicom.pixels.utils import pixel_array

        return np.asarray(pixel_array(data, index=frame.number, raw=True)).reshape(rows, columns)
    return _by_simpleitk(frame, data, scratch).reshape(rows, columns)


def _by_simpleitk(frame: Frame, data: Dataset, scratch: Path) -> NDArray[Any]:
    """Decode through SimpleITK from a bare one-frame copy, so that it applies no rescale."""
    import SimpleITK as sitk  # noqa: N813
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.uid import UID

    count = int(data.get("NumberOfFrames") or 1)
    pieces = list(generate_frames(data.PixelData, number_of_frames=count))
    bare = Dataset()
    for keyword in _PICTURE:
        setattr(bare, keyword, data.get(keyword))
    bare.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    bare.SamplesPerPixel, bare.PhotometricInterpretation = 1, "MONOCHROME2"
    bare.RescaleSlope, bare.RescaleIntercept = "1", "0"
    bare.PixelData = encapsulate([pieces[frame.number]])
    bare["PixelData"].is_undefined_length = True
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = UID(frame.header.syntax)
    copy = scratch / "frame.dcm"
    bare.save_as(copy, enforce_file_format=True, overwrite=True)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(copy))
    return np.asarray(sitk.GetArrayFromImage(reader.Execute()))


def _signed(raw: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Keep the stored bits only, in place where that can be, and extend their sign."""
    data = frame.header.data
    allocated = int(data.get("BitsAllocated"))
    stored = int(data.get("BitsStored") or allocated)
    shift = int(data.get("HighBit") or stored - 1) + 1 - stored
    signed = int(data.get("PixelRepresentation") or 0) == 1
    if 0 < stored < allocated and shift >= 0:
        raw = raw if raw.flags.writeable else raw.copy()
        if shift:
            raw >>= shift
        raw &= (1 << stored) - 1
        if signed:
            spare = allocated - stored
            return (raw << spare).astype(raw.dtype).view(f"i{raw.dtype.itemsize}") >> spare
        return raw
    return raw.view(f"i{raw.dtype.itemsize}") if signed else raw
