"""The rule by which the stored parity sets were made, written anew from its description.

A parameter depends on the seed, its official key and its shape and on nothing else, so every
implementation can be filled with the numbers that the authors' code was run with. All of it is
float32; random numbers come from PCG64 by way of a named stream.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

VERSION = 1
Row = Sequence[Any]  # official key, shape, dtype name


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of a name: PCG64 on the first 8 bytes of its SHA-256."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


def value(
    seed: int,
    key: str,
    shape: Sequence[int],
    dtype: str = "float32",
    constants: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return one entry of a state dict."""
    if key in (constants or {}):
        return np.full(shape, constants[key], dtype)
    if np.dtype(dtype).kind in "iub":
        counts = key.endswith("position_ids")
        return np.zeros(shape, dtype) + (np.arange(shape[-1], dtype=dtype) if counts else 0)
    if len(shape) == 0:
        return np.full((), 0.07, np.float32)
    return _scaled(key.rpartition(".")[2], stream(seed, key).standard_normal(shape, np.float32))


def _scaled(last: str, z: np.ndarray) -> np.ndarray:
    """Return standard normals brought to the size that the kind of the key asks for."""
    tenth, one = np.float32(0.1), np.float32(1)
    if last == "running_mean":
        return tenth * z
    if last == "running_var":
        return one + tenth * np.abs(z)
    if z.ndim >= 2:
        fan_in = float(math.prod(z.shape[1:]))
        return z * np.float32(1 / np.sqrt(fan_in) if last.endswith("weight") else 0.5)
    gain = last == "g" or last.endswith(("weight", "gamma", "scale"))
    return one + tenth * z if gain else np.float32(0.05) * z


def fill(
    rows: Iterable[Row], seed: int, constants: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Return a whole state dict by official key."""
    return {key: value(seed, key, shape, dtype, constants) for key, shape, dtype in rows}


def keys_digest(rows: Iterable[Row]) -> str:
    """Return the SHA-256 of a key list, whatever its order."""
    lines = [f"{key} {','.join(map(str, shape))} {dtype}" for key, shape, dtype in sorted(rows)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def volume(seed: int, name: str, shape: Sequence[int], block: int = 8) -> np.ndarray:
    """Return an image in [0, 1): uniform noise times one gain per block of voxels."""
    noise = stream(seed, f"input:{name}:noise").random(tuple(shape), np.float32)
    *leading, deep, high, wide = shape
    coarse = (*leading, *(math.ceil(n / block) for n in (deep, high, wide)))
    gain = stream(seed, f"input:{name}:gain").random(coarse, np.float32)
    each = [np.arange(n) // block for n in (deep, high, wide)]
    return noise * gain[(..., *np.ix_(*each))]


def ellipsoids(shape: Sequence[int], rows: Iterable[Sequence[Any]]) -> np.ndarray:
    """Return uint8 labels; each row (label, centre, radii) is painted over those before it."""
    labels = np.zeros(tuple(shape), np.uint8)
    index = np.ogrid[tuple(slice(0, float(n)) for n in shape)]
    for label, centre, radii in rows:
        parts = [((i - c) / r) ** 2 for i, c, r in zip(index, centre, radii, strict=True)]
        labels[sum(parts) <= 1] = label
    return labels


def token_ids(
    seed: int,
    name: str,
    count: int,
    length: int,
    vocab: int,
    *,
    low: int = 4,
    high: int = 12,
    first: int = 2,
    last: int = 3,
    pad: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and attention mask, int64 (count, length), padded on the right."""
    sizes = low + stream(seed, f"input:{name}:len").integers(0, high - low + 1, size=count)
    ids = stream(seed, f"input:{name}:ids").integers(5, vocab, size=(count, length))
    mask = (np.arange(length) < sizes[:, None]).astype(np.int64)
    ids = np.where(mask > 0, ids, pad)
    ids[:, 0] = first
    ids[np.arange(count), sizes - 1] = last
    return ids.astype(np.int64), mask
