"""Results on disk by content digest, so that nothing is computed twice.

One safetensors file per result: its arrays, and the rest of the noun as JSON in the header.
An entry that is damaged, or of another version, is simply not there. The folder is
``CTVLP_CACHE`` or the user's cache folder; it holds tokens and labels, never headers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.engine.wire import Value, pack, unpack

#: Raised whenever the layout of an entry changes.
LAYOUT = "1"
LIMIT_BYTES = 8 * 2**30
#: How many results stay in memory as well: anatomy and encoding of two studies.
KEPT_IN_MEMORY = 4
_SUFFIX = ".safetensors"
_memory: OrderedDict[str, Value] = OrderedDict()


def cache_folder() -> Path:
    """Return the folder of kept results, which need not exist yet."""
    chosen = os.environ.get("CTVLP_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("napari-ctvlp", appauthor=False)) / "results"


def key_of(*parts: str) -> str:
    """Return the key of a result: SHA-256 over what it was computed from, 64 hex digits."""
    return hashlib.sha256("\n".join((LAYOUT, *parts)).encode()).hexdigest()


def load(key: str) -> Value | None:
    """Return a kept noun, or None when there is none or it is damaged."""
    where = f"{cache_folder()}:{key}"
    if where in _memory:
        _memory.move_to_end(where)
        return _memory[where]
    noun = _read(_path(key))
    if noun is not None:
        _remember(where, noun)
    return noun


def save(key: str, noun: Value, limit_bytes: int = LIMIT_BYTES) -> None:
    """Keep a noun; a full or read-only disk is no error, it is only not kept there.

    Parameters
    ----------
    key : str
        From :func:`key_of`.
    noun : noun
        One of ``engine.wire.NOUNS``.
    limit_bytes : int
        The results used longest ago are deleted until all fit.
    """
    _remember(f"{cache_folder()}:{key}", noun)
    with contextlib.suppress(OSError):
        _write(_path(key), noun)
        _evict(limit_bytes)


def forget_memory() -> None:
    """Drop what is kept in memory; the disk stays."""
    _memory.clear()


def size_bytes() -> int:
    """Return the bytes that kept results take on disk."""
    return sum(path.stat().st_size for path in cache_folder().glob(f"*{_SUFFIX}"))


def clear() -> None:
    """Delete every kept result."""
    forget_memory()
    for path in cache_folder().glob(f"*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def _path(key: str) -> Path:
    return cache_folder() / f"{key}{_SUFFIX}"


def _remember(where: str, noun: Value) -> None:
    _memory[where] = noun
    _memory.move_to_end(where)
    while len(_memory) > KEPT_IN_MEMORY:
        _memory.popitem(last=False)


def _write(path: Path, noun: Value) -> None:
    """Write an entry under another name first, so that it is whole or absent."""
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[Any]] = {}

    def put(array: NDArray[Any]) -> str:
        name = f"a{len(arrays)}"
        arrays[name] = np.ascontiguousarray(array)
        return name

    header = json.dumps(pack(noun, put))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        save_file(arrays, half, {"noun": header, "crc": _checksum(header, arrays)})
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _read(path: Path) -> Value | None:
    """Read an entry; every kind of damage reads as None."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["crc"] != _checksum(header["noun"], arrays):
            return None
        os.utime(path)
        return unpack(json.loads(header["noun"]), arrays.__getitem__)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None


def _checksum(header: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    crc = zlib.crc32(header.encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _evict(limit_bytes: int) -> None:
    """Delete the results used longest ago until the rest fits."""
    with os.scandir(cache_folder()) as folder:  # three times as fast as paths: once per result
        found = [(one.stat(), one.path) for one in folder if one.name.endswith(_SUFFIX)]
    entries = sorted((about.st_mtime, about.st_size, path) for about, path in found)
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries[:-1]:
        if total <= limit_bytes:
            return
        total -= size
        Path(path).unlink(missing_ok=True)
