"""NRRD files: attached or detached header, any space, with its own checks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.core.scan import Unit
from napari_ctvlp.io.itk_common import (
    bad_header,
    colour,
    data_path,
    first_of_list,
    no_spacing,
    numbered_files,
    space_affine,
)
from napari_ctvlp.io.result import Notes, Progress, Volume, compact, plain_text, safe_text, silent
from napari_ctvlp.io.stream import read_body, truncated, unpacked
from napari_ctvlp.io.values import judge_values

MAGIC = b"NRRD000"
_HEADER_LIMIT = 1 << 20
_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
#: Signs that turn a space into RAS.
_SPACES = {"right": (0, 1), "left": (0, -1), "anterior": (1, 1), "posterior": (1, -1),
           "superior": (2, 1), "inferior": (2, -1)}  # fmt: skip
_SHORT = {"RAS": "right-anterior-superior", "LAS": "left-anterior-superior",
          "LPS": "left-posterior-superior"}  # fmt: skip
_ENCODINGS = {"raw", "gzip", "gz", "bzip2", "bz2", "ascii", "text", "txt", "hex"}
_COLOUR_KINDS = re.compile(r"(rgb|rgba|hsv|xyz)-color|[34]-color|vector|matrix|quaternion|complex")


@dataclass(frozen=True)
class _Header:
    """Fields and key/value pairs, and where the data of an attached header start."""

    fields: dict[str, str]
    pairs: dict[str, str]
    end: int
    data_files: tuple[str, ...]


def read_nrrd(path: Path, progress: Progress = silent) -> Volume:
    """Read a NRRD volume.

    Parameters
    ----------
    path : Path
        ``.nrrd``, or the ``.nhdr`` of a detached pair.

    Raises
    ------
    InputRefused
        With the code of what is wrong.
    """
    notes = Notes()
    header = _parse(path)
    sizes = _sizes(path, header.fields)
    space_axes = _space_axes(path, header.fields, sizes)
    affine = _affine(path, header.fields, space_axes, notes)
    files, flat = _voxels(path, header, sizes, progress)
    stored_order = flat.reshape(sizes, order="F")
    data, stored = first_of_list(compact(stored_order), space_axes, notes)
    segments = _segments(header.pairs, data)
    unit: Unit = "label"
    if segments:
        names = ", ".join(s["name"] for s in segments)
        notes.note("segmentation", f"A label map with named segments ({names}), not a CT.")
    else:
        unit = judge_values(data, notes)
    return Volume(
        data=data,
        affine=affine,
        unit=unit,
        stored_shape=stored,
        files=files,
        series=safe_text(path.stem),
        single_slice=len(space_axes) == 2,
        warnings=tuple(notes.warnings),
        notices=tuple(notes.notices),
        segments=segments,
    )


def _parse(path: Path) -> _Header:
    """Split the header; line ends may be LF or CR LF."""
    with path.open("rb") as file:
        raw = file.read(_HEADER_LIMIT)
    ending = re.search(rb"\r?\n\r?\n", raw)
    end = ending.end() if ending else len(raw)
    lines = raw[:end].decode("utf-8", "replace").splitlines()[1:]
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    listed: list[str] = []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        pair, field = line.find(":="), line.find(": ")
        if pair >= 0 and (field < 0 or pair < field):
            pairs[line[:pair].strip()] = line[pair + 2 :].strip()
        elif fields.get("data file", "").startswith("LIST"):
            listed.append(line.strip())
        elif ":" in line:
            key, _, value = line.partition(":")
            fields[key.strip().lower().replace("datafile", "data file")] = value.strip()
    return _Header(fields, pairs, end, tuple(listed) or _data_names(path, fields))


def _data_names(path: Path, fields: dict[str, str]) -> tuple[str, ...]:
    """Names of detached data files, none for an attached header."""
    stated = fields.get("data file", "")
    pattern = re.fullmatch(r"(\S*%0?\d*d\S*)\s+(\d+)\s+(\d+)\s+(\d+)(\s+\d+)?", stated)
    if pattern:
        first, last, step = (int(n) for n in pattern.groups()[1:4])
        if step < 1 or last - first > 100_000:
            raise bad_header(path, f"the list of data files {stated!r} makes no sense")
        return tuple(numbered_files(pattern[1], first, last, step))
    return (stated,) if stated else ()


def _sizes(path: Path, fields: dict[str, str]) -> tuple[int, ...]:
    """Axis lengths."""
    try:
        sizes = tuple(int(n) for n in fields["sizes"].split())
    except (KeyError, ValueError):
        raise bad_header(path, f"sizes: {fields.get('sizes', 'missing')}") from None
    if len(sizes) < 2 or any(n < 1 for n in sizes) or str(len(sizes)) != fields.get("dimension"):
        raise bad_header(path, f"dimension {fields.get('dimension')} with sizes {sizes}")
    return sizes


def _space_axes(path: Path, fields: dict[str, str], sizes: tuple[int, ...]) -> list[int]:
    """Axes that are space, by directions and kinds; colour and vectors are refused."""
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * len(sizes)
    if any(_COLOUR_KINDS.fullmatch(k) or k.endswith(("-vector", "-color")) for k in kinds):
        raise colour(path)
    directions = _vectors(fields.get("space directions", ""))
    if directions:
        axes = [n for n, vector in enumerate(directions) if vector is not None]
    else:
        axes = [n for n, kind in enumerate(kinds) if kind in {"domain", "space", "???"}]
    if len(kinds) != len(sizes) or len(axes) not in (2, 3) or max(axes) >= len(sizes):
        raise bad_header(path, f"{len(axes)} axes of {len(sizes)} are space")
    return axes


def _vectors(text: str) -> list[NDArray[np.float64] | None]:
    """Parse ``none (1,0,0) (0,1,0)``."""
    found: list[NDArray[np.float64] | None] = []
    for item in re.findall(r"none|\([^)]*\)", text):
        try:
            vector = None if item == "none" else np.array([float(x) for x in item[1:-1].split(",")])
        except ValueError:
            vector = np.full(3, np.nan)
        found.append(vector)
    return found


def _affine(path: Path, fields: dict[str, str], axes: list[int], notes: Notes) -> Affine:
    """Index to RAS, from space directions, else from bare spacings."""
    vectors = [v for v in _vectors(fields.get("space directions", "")) if v is not None]
    if not vectors:
        return _spacings_only(path, fields, axes, notes)
    if any(len(v) != 3 for v in vectors):
        raise bad_header(path, "space directions are not three-dimensional")
    signs = _ras_signs(fields.get("space", ""), notes)
    columns = np.column_stack(vectors)
    if columns.shape[1] == 2:
        normal = np.cross(columns[:, 0], columns[:, 1])
        columns = np.column_stack([columns, normal / (np.linalg.norm(normal) or 1.0)])
    origin = _vectors(fields.get("space origin", ""))
    start = np.zeros(3) if not origin or origin[0] is None else origin[0]
    if not origin:
        notes.warn("no-orientation", "No space origin is stored: positions start at 0.")
    return space_affine(path, signs @ columns, signs @ start, notes)


def _ras_signs(space: str, notes: Notes) -> NDArray[np.float64]:
    """Matrix from a named space to RAS."""
    words = _SHORT.get(space.strip().upper(), space.lower()).removesuffix("-time").split("-")
    if len(words) == 3 and all(w in _SPACES for w in words):
        signs = np.zeros((3, 3))
        for axis, word in enumerate(words):
            row, sign = _SPACES[word]
            signs[row, axis] = sign
        if abs(np.linalg.det(signs)) == 1:
            return signs
    _unknown_sides(notes)
    return np.diag([-1.0, -1.0, 1.0])


def _spacings_only(path: Path, fields: dict[str, str], axes: list[int], notes: Notes) -> Affine:
    """Identity directions in LPS, as other readers take it, with a warning."""
    try:
        stated = [float(x) for x in fields.get("spacings", "").split()]
    except ValueError:
        stated = [float("nan")]
    if not stated:
        raise no_spacing(path)
    steps = np.array([stated[n] if n < len(stated) else np.nan for n in axes] + [1.0])[:3]
    _unknown_sides(notes)
    return space_affine(path, np.diag([-1.0, -1.0, 1.0]) * np.abs(steps), np.zeros(3), notes)


def _unknown_sides(notes: Notes) -> None:
    """Warn that left and right are a guess."""
    notes.warn(
        "no-orientation",
        "The header names no patient space: left and right are a guess (axes taken as left, "
        "posterior, superior). Do not trust sides on this scan.",
    )


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    """Voxel type with byte order."""
    stated = " ".join(fields.get("type", "").lower().split())
    for code, names in _TYPES.items():
        if stated in names.split("|"):
            order = ">" if fields.get("endian", "little").lower() == "big" else "<"
            return np.dtype(order + code)
    raise bad_header(path, f"type {stated or 'missing'!r} cannot be read", "nothing-readable")


def _voxels(
    path: Path, header: _Header, sizes: tuple[int, ...], progress: Progress
) -> tuple[tuple[Path, ...], NDArray[Any]]:
    """All numbers in stored order, and the files they came from."""
    dtype = _dtype(path, header.fields)
    encoding = header.fields.get("encoding", "").lower()
    if encoding not in _ENCODINGS:
        raise bad_header(path, f"encoding {encoding!r} is not known", "nothing-readable")
    names = header.data_files
    files = tuple(data_path(path, name) for name in names) if names else (path,)
    count = int(np.prod(sizes, dtype=object))
    size = count * dtype.itemsize // len(files)
    parts = [
        _part(f, header, encoding, size, count // len(files), dtype, 0 if names else header.end)
        for f in files
    ]
    progress(1.0, "reading")
    return ((path, *files) if names else (path,)), np.concatenate(parts)


def _part(
    file: Path,
    header: _Header,
    encoding: str,
    size: int,
    count: int,
    dtype: np.dtype[Any],
    start: int,
) -> NDArray[Any]:
    """Numbers of one data file, with lines and bytes skipped as the header says."""
    skip_bytes = int(header.fields.get("byte skip", "0") or 0)
    skip_lines = int(header.fields.get("line skip", "0") or 0)
    on_disk = file.stat().st_size
    if encoding == "raw" and not skip_lines:
        start = on_disk - size if skip_bytes == -1 else start + skip_bytes
        if start < 0:
            raise truncated(file, f"{size} bytes", f"it holds {on_disk}")
        return np.frombuffer(read_body(file, start, size, packed=False), dtype)
    if size > on_disk * 1032:
        raise truncated(file, f"{size} bytes", f"it holds {on_disk}")
    raw = file.read_bytes()[start:]
    for _ in range(skip_lines):
        raw = raw.partition(b"\n")[2]
    if encoding in {"ascii", "text", "txt"}:
        return _ascii(file, raw, count, dtype)
    if encoding == "hex":
        body = bytes.fromhex(raw.decode("ascii", "ignore"))
    elif encoding == "raw":
        body = raw
    else:
        body = unpacked(file, raw, "bzip2" if encoding.startswith("b") else "gzip", size)
    body = body[-size:] if skip_bytes == -1 else body[skip_bytes : skip_bytes + size]
    if len(body) < size:
        raise truncated(file, f"{size} bytes", f"only {len(body)} came")
    return np.frombuffer(body, dtype)


def _ascii(file: Path, raw: bytes, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers written as text."""
    words = raw.replace(b",", b" ").split()
    if len(words) < count:
        raise truncated(file, f"{count} numbers", f"only {len(words)} came")
    return np.array([float(w) for w in words[:count]]).astype(dtype)


def _segments(pairs: dict[str, str], data: NDArray[Any]) -> tuple[dict[str, Any], ...]:
    """Named segments of a 3D Slicer segmentation with their voxel counts."""
    found = []
    for key, name in pairs.items():
        match = re.fullmatch(r"Segment(\d+)_Name", key)
        value = pairs.get(f"Segment{match[1]}_LabelValue", "") if match else ""
        if value.isdigit():
            voxels = int((data == int(value)).sum())
            found.append({"number": int(value), "name": plain_text(name), "voxels": voxels})
    return tuple(found)
