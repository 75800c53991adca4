"""MetaImage files: ``.mha``, or ``.mhd`` with its voxel file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, lps_affine_to_ras
from napari_ctvlp.io.itk_common import (
    bad_header,
    colour,
    data_path,
    first_of_list,
    no_spacing,
    numbered_files,
    space_affine,
)
from napari_ctvlp.io.result import Notes, Progress, Volume, compact, safe_text, silent
from napari_ctvlp.io.stream import read_body, truncated, unpacked
from napari_ctvlp.io.values import judge_values

_HEADER_LIMIT = 1 << 16
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2",
    "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class _Header:
    """Keys, and where the data of an attached header start."""

    keys: dict[str, str]
    end: int
    listed: tuple[str, ...]

    def first(self, *names: str) -> str | None:
        """Value of the first key that is there."""
        return next((self.keys[n] for n in names if n in self.keys), None)


def is_metaimage(start: bytes) -> bool:
    """Return True when the first lines are MetaImage keys."""
    text = start[:4096].decode("latin-1")
    return bool(re.search(r"^\s*NDims\s*=\s*\d", text, re.MULTILINE)) and " = " in text[:400]


def read_metaimage(path: Path, progress: Progress = silent) -> Volume:
    """Read a MetaImage volume.

    Parameters
    ----------
    path : Path
        ``.mha``, or the ``.mhd`` of a pair.

    Raises
    ------
    InputRefused
        With the code of what is wrong.
    """
    notes = Notes()
    header = _parse(path)
    sizes = _sizes(path, header)
    if int(header.first("ElementNumberOfChannels") or 1) > 1:
        raise colour(path)
    space = min(len(sizes), 3)
    affine = _affine(path, header, len(sizes), notes)
    files, flat = _voxels(path, header, sizes, progress)
    volume = flat.reshape(sizes, order="F")
    data, stored = first_of_list(compact(volume), list(range(space)), notes)
    return Volume(
        data=data,
        affine=affine,
        unit=judge_values(data, notes),
        stored_shape=stored,
        files=files,
        series=safe_text(path.stem),
        single_slice=space == 2,
        warnings=tuple(notes.warnings),
        notices=tuple(notes.notices),
    )


def _parse(path: Path) -> _Header:
    """Read ``Key = Value`` lines up to ElementDataFile, the last one."""
    with path.open("rb") as file:
        raw = file.read(_HEADER_LIMIT)
    keys: dict[str, str] = {}
    at = 0
    while at < len(raw) and "ElementDataFile" not in keys:
        end = raw.find(b"\n", at)
        end = len(raw) if end < 0 else end
        key, _, value = raw[at:end].decode("latin-1").partition("=")
        keys[key.strip()] = value.strip()
        at = end + 1
    stated = keys.get("ElementDataFile", "")
    if not stated:
        raise bad_header(path, "ElementDataFile is missing")
    rest = raw[at:].decode("latin-1").split() if stated.startswith("LIST") else []
    return _Header(keys, at, tuple(rest) or _data_names(path, stated))


def _data_names(path: Path, stated: str) -> tuple[str, ...]:
    """Names of the voxel files, none for LOCAL."""
    pattern = re.fullmatch(r"(\S*%0?\d*d\S*)\s+(\d+)\s+(\d+)\s+(\d+)", stated)
    if pattern:
        first, last, step = (int(n) for n in pattern.groups()[1:])
        if step < 1 or last - first > 100_000:
            raise bad_header(path, f"the list of data files {stated!r} makes no sense")
        return tuple(numbered_files(pattern[1], first, last, step))
    return () if stated.upper() == "LOCAL" else (stated,)


def _numbers(path: Path, name: str, text: str) -> list[float]:
    """Numbers of one key."""
    try:
        return [float(x) for x in text.split()]
    except ValueError:
        raise bad_header(path, f"{name} = {text}", "bad-number") from None


def _sizes(path: Path, header: _Header) -> tuple[int, ...]:
    """Axis lengths."""
    sizes = tuple(int(n) for n in _numbers(path, "DimSize", header.first("DimSize") or ""))
    dims = header.first("NDims") or "0"
    if len(sizes) not in (2, 3, 4) or any(n < 1 for n in sizes) or str(len(sizes)) != dims:
        raise bad_header(path, f"NDims = {dims} with DimSize = {sizes}")
    return sizes


def _affine(path: Path, header: _Header, dims: int, notes: Notes) -> Affine:
    """Index to RAS; the matrix lists one axis direction after the other, in LPS."""
    space = min(dims, 3)
    spacing = header.first("ElementSpacing", "ElementSize")
    if spacing is None:
        raise no_spacing(path)
    steps = np.array([*_numbers(path, "ElementSpacing", spacing)[:space], 1.0][:3])
    matrix = header.first("TransformMatrix", "Rotation", "Orientation")
    offset = header.first("Offset", "Position", "Origin")
    directions, origin = np.eye(3), np.zeros(3)
    if matrix is None or offset is None:
        notes.warn(
            "no-orientation",
            "The header has no TransformMatrix or Offset: left and right are a guess (axes "
            "taken as left, posterior, superior). Do not trust sides on this scan.",
        )
    if matrix is not None:
        stated = np.array(_numbers(path, "TransformMatrix", matrix)).reshape(dims, dims)
        directions[:space, :space] = stated[:space, :space].T
    if offset is not None:
        origin[:space] = _numbers(path, "Offset", offset)[:space]
    return lps_affine_to_ras(space_affine(path, directions * np.abs(steps), origin, notes))


def _voxels(
    path: Path, header: _Header, sizes: tuple[int, ...], progress: Progress
) -> tuple[tuple[Path, ...], NDArray[Any]]:
    """All numbers in stored order, and the files they came from."""
    kind = header.first("ElementType") or ""
    if kind not in _TYPES:
        raise bad_header(path, f"ElementType = {kind or 'missing'}", "nothing-readable")
    order = header.first("BinaryDataByteOrderMSB", "ElementByteOrderMSB") or "False"
    dtype = np.dtype((">" if order.lower() == "true" else "<") + _TYPES[kind])
    files = tuple(data_path(path, name) for name in header.listed) or (path,)
    count = int(np.prod(sizes, dtype=object)) // len(files)
    start = 0 if header.listed else header.end
    parts = [_part(f, header, count, dtype, start) for f in files]
    progress(1.0, "reading")
    return ((path, *files) if header.listed else (path,)), np.concatenate(parts)


def _part(
    file: Path, header: _Header, count: int, dtype: np.dtype[Any], start: int
) -> NDArray[Any]:
    """Numbers of one voxel file."""
    size = count * dtype.itemsize
    on_disk = file.stat().st_size
    if size > on_disk * 1032:
        raise truncated(file, f"{size} bytes", f"it holds {on_disk}")
    if (header.first("BinaryData") or "True").lower() != "true":
        words = file.read_bytes()[start:].split()
        if len(words) < count:
            raise truncated(file, f"{count} numbers", f"only {len(words)} came")
        return np.array([float(w) for w in words[:count]]).astype(dtype)
    if (header.first("CompressedData") or "False").lower() == "true":
        return np.frombuffer(unpacked(file, file.read_bytes()[start:], "zlib", size)[:size], dtype)
    skip = int(header.first("HeaderSize") or 0)
    start = on_disk - size if skip == -1 else start + skip
    if start < 0:
        raise truncated(file, f"{size} bytes", f"it holds {on_disk}")
    return np.frombuffer(read_body(file, start, size, packed=False), dtype)
