"""Bytes from plain and compressed files, checked for length and checksum."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from napari_ctvlp.errors import CtvlpError, InputRefused
from napari_ctvlp.io.result import Progress, refused, silent

#: Deflate never packs tighter than this.
_DEFLATE_LIMIT = 1032
_CHUNK = 1 << 24


@contextmanager
def judged(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises on hostile bytes into a refusal that names the file."""
    try:
        yield
    except (CtvlpError, OSError, MemoryError):
        raise
    except Exception as error:
        raise corrupt(path, f"{type(error).__name__} while it was read") from error


def is_gzip(path: Path) -> bool:
    """Return True when the file starts with the gzip mark."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def head(path: Path, size: int) -> bytes:
    """Return up to ``size`` first bytes, unpacked if the file is gzip data."""
    zipped = is_gzip(path)
    with gzip.open(path) if zipped else path.open("rb") as file:
        try:
            return file.read(size)
        except EOFError:
            raise truncated(path, f"more than {size} bytes", "the gzip stream ends early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise corrupt(path, str(error)) from None


def read_body(
    path: Path, offset: int, size: int, progress: Progress = silent, *, packed: bool | None = None
) -> bytearray:
    """Return ``size`` bytes from ``offset`` on; a gzip stream is read to its end and checked.

    Parameters
    ----------
    path : Path
        Plain or gzip file.
    offset, size : int
        In unpacked bytes. Nothing is allocated before ``size`` is known to be possible.
    packed : bool, optional
        Whether the file is gzip data; looked up if not given.

    Raises
    ------
    InputRefused
        ``truncated`` when bytes are missing, ``corrupt`` when the checksum fails.
    """
    zipped = is_gzip(path) if packed is None else packed
    on_disk = path.stat().st_size
    if offset + size > on_disk * (_DEFLATE_LIMIT if zipped else 1):
        raise truncated(path, f"{offset + size} bytes", f"it holds {on_disk}")
    with gzip.open(path) if zipped else path.open("rb") as file:
        return _filled(file, path, offset, size, progress, drain=zipped)


def _filled(
    file: IO[bytes] | gzip.GzipFile,
    path: Path,
    offset: int,
    size: int,
    progress: Progress,
    *,
    drain: bool,
) -> bytearray:
    """Read in pieces, then to the end of the stream so that its checksum is tested."""
    try:
        file.read(offset)
        body = bytearray()
        while len(body) < size:
            piece = file.read(min(_CHUNK, size - len(body)))
            if not piece:
                raise truncated(path, f"{size} bytes of voxels", f"only {len(body)} came")
            body += piece
            progress(len(body) / max(size, 1), "reading")
        while drain and file.read(_CHUNK):
            pass
    except EOFError:
        raise truncated(path, f"{size} bytes of voxels", "the gzip stream ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise corrupt(path, str(error)) from None
    return body


def unpacked(path: Path, data: bytes, method: str, size: int) -> bytes:
    """Unpack ``data`` by gzip, zlib or bzip2 and check that ``size`` bytes came."""
    try:
        if method == "gzip":
            body = gzip.decompress(data)
        else:
            body = bz2.decompress(data) if method == "bzip2" else zlib.decompress(data)
    except EOFError:
        raise truncated(path, f"{size} bytes of voxels", "the stream ends early") from None
    except (OSError, ValueError, zlib.error) as error:
        if "incomplete" in str(error) or "end-of-stream" in str(error):
            raise truncated(path, f"{size} bytes of voxels", "the stream ends early") from None
        raise corrupt(path, str(error)) from None
    if len(body) < size:
        raise truncated(path, f"{size} bytes of voxels", f"only {len(body)} came")
    return body


def truncated(path: Path, expected: str, found: str) -> InputRefused:
    """Return the refusal of a file that ends early."""
    return refused(
        "truncated",
        f"{expected} as the header states.",
        f"{path.name} is cut short: {found}.",
        "Copy or download the file again; no part of it was shown.",
    )


def corrupt(path: Path, reason: str) -> InputRefused:
    """Return the refusal of a file whose bytes were changed."""
    return refused(
        "corrupt",
        "data that pass their checksum.",
        f"{path.name} is damaged ({reason}).",
        "Copy or download the file again; no part of it was shown.",
    )
