"""Tokens and labels of a scan beside the tables, as zarr arrays in one zip file each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.cohort.schema import need
from napari_ctvlp.cohort.store import Store, damage
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.engine.wire import pack, unpack


def tokens_path(store: Store, scan: str) -> Path:
    """Return where the tokens of a scan lie, if they were kept."""
    return store.folder / "tokens" / f"{scan}.zip"


def keep_tokens(store: Store, scan: str, anatomy: AnatomyMap, encoding: Encoding) -> None:
    """Write anatomy and encoding, bit for bit; the file appears whole."""
    zarr = need("zarr")
    path = tokens_path(store, scan)
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    half.unlink(missing_ok=True)
    try:
        with zarr.storage.ZipStore(half, mode="w") as target:
            group = zarr.create_group(store=target)
            count = 0

            def put(array: NDArray[Any]) -> str:
                nonlocal count
                name, count = f"a{count}", count + 1
                group.create_array(name, data=np.ascontiguousarray(array))
                return name

            nouns = {"anatomy": pack(anatomy, put), "encoding": pack(encoding, put)}
            header = np.frombuffer(json.dumps(nouns).encode(), np.uint8)
            group.create_array("nouns", data=header)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def kept_tokens(store: Store, scan: str) -> tuple[AnatomyMap, Encoding] | None:
    """Return what :func:`keep_tokens` wrote, or None where it wrote nothing.

    Raises
    ------
    InputRefused
        ``store-damaged`` when the file cannot be read.
    """
    path = tokens_path(store, scan)
    if not path.exists():
        return None
    zarr = need("zarr")
    try:
        with zarr.storage.ZipStore(path, mode="r") as source:
            group = zarr.open_group(store=source, mode="r")
            nouns = json.loads(np.asarray(group["nouns"][:]).tobytes())
            found = [unpack(nouns[name], lambda key: np.asarray(group[key][:])) for name in nouns]
    except Exception as error:  # zip, zarr, blosc and JSON each have errors of their own
        raise damage(f"tokens/{path.name}", f"({type(error).__name__})") from None
    anatomy, encoding = found
    return anatomy, encoding
