"""Bytes from plain and compressed files, checked for length and checksum."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from napari_ctvlp.errors import CtvlpError, InputRefused, OutOfResources
from napari_ctvlp.io.result import Progress, refused, silent

#: Deflate never packs tighter than this.
_DEFLATE_LIMIT = 1032
_CHUNK = 1 << 24
#: Taken where the system does not tell, in bytes.
_USUAL_MEMORY = 1 << 36


@contextmanager
def judged(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises on hostile bytes into a refusal that names the file."""
    try:
        yield
    except (CtvlpError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the parser's
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
    check_memory(path, size)
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
    """Unpack ``size`` bytes of ``data`` by gzip, zlib or bzip2, and check that they came."""
    check_memory(path, size)
    try:
        if method == "zlib":
            stream = zlib.decompressobj()
            body = stream.decompress(data, size)
            stream.decompress(stream.unconsumed_tail, 1)  # reaches the checksum
            if not stream.eof and not stream.unconsumed_tail:
                raise EOFError
        else:
            source = io.BytesIO(data)
            with gzip.open(source) if method == "gzip" else bz2.open(source) as file:
                body = file.read(size)
                while file.read(_CHUNK):
                    pass
    except EOFError:
        raise truncated(path, f"{size} bytes of voxels", "the stream ends early") from None
    except (OSError, ValueError, zlib.error) as error:
        raise corrupt(path, str(error)) from None
    if len(body) < size:
        raise truncated(path, f"{size} bytes of voxels", f"only {len(body)} came")
    return body


def check_memory(path: Path, size: int) -> None:
    """Refuse a volume of ``size`` bytes that the machine's memory cannot hold.

    Raises
    ------
    OutOfResources
        ``too-large``.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = _USUAL_MEMORY
    if size > memory:
        raise OutOfResources(
            "too-large",
            f"a volume that fits into {memory / 1e9:.0f} GB of memory.",
            f"{path.name} needs {size / 1e9:.0f} GB.",
            "Crop it, or use a machine with more memory.",
        )


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
