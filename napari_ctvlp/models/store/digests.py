"""SHA-256 of hosted files, kept beside them so that gigabytes are not hashed for each key."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

from napari_ctvlp.models.store.reading import sha256


def record_of(path: Path) -> Path:
    """Return where the SHA-256 of a file is kept."""
    return path.with_name(f"{path.name}.sha256.json")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits; read from beside it while the file is the same.

    The same is: of the size and the modification time that were recorded with it.
    """
    kept = recorded(path)
    if kept and _stamp(path) == (kept.get("size"), kept.get("mtime_ns")):
        return str(kept["sha256"])
    found = sha256(path)
    record(path, found)
    return found


def recorded(path: Path) -> dict[str, str | int]:
    """Return what was recorded of a file; empty when nothing was or it cannot be read."""
    try:
        kept = json.loads(record_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and "sha256" in kept else {}


def record(path: Path, sha: str, **more: str) -> None:
    """Keep the SHA-256 of a file beside it; a folder that cannot be written is no error."""
    size, time = _stamp(path)
    text = json.dumps({"sha256": sha, "size": size, "mtime_ns": time, **more})
    with contextlib.suppress(OSError):
        half = record_of(path).with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        half.write_text(text, encoding="utf-8")
        half.replace(record_of(path))


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
