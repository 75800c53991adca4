"""Stored parity sets: arrays and meta in either of the two styles, and how they are compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import rule


@dataclass(frozen=True)
class Stored:
    """One set of stored outputs.

    ``inside`` tells the style: fVLM's meta is in the npz, with steps per axis, statistics as
    arrays and tolerances relative to the root mean square; that of the others is JSON beside
    the npz, with strides, statistics in the meta and tolerances relative to the largest value.
    """

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    inside: bool

    @property
    def seed(self) -> int:
        return self.meta["seed"]

    def state(self, keys: str = "keys") -> dict[str, np.ndarray]:
        """Return the generated state dict of a key list of the meta, by official key."""
        rows = self.meta[keys]
        assert self.meta["rule_version"] == rule.VERSION
        assert rule.keys_digest(rows) == self.meta[f"{keys}_sha256"]
        return rule.fill(rows, self.seed, self.meta.get("constants"))

    def step(self, name: str, axes: int) -> list[int]:
        """Return which share of an array is stored, as a step per axis."""
        if self.inside:
            return self.meta.get("steps", {}).get(name, {}).get("steps", [1] * axes)
        return self.meta.get("strides", {}).get(name, [1] * axes)

    def whole(self, name: str) -> tuple[np.ndarray, tuple[int, ...] | None] | None:
        """Return mean, deviation and largest size over the whole array, and its shape."""
        if self.inside:
            found = self.arrays.get(f"{name}.stats")
            shape = self.meta.get("steps", {}).get(name, {}).get("shape")
            return None if found is None else (found, tuple(shape) if shape else None)
        row = self.meta.get("stats_mean_std_absmax_shape", {}).get(name)
        return None if row is None else (np.array(row[:3]), tuple(row[3]))


def load(folder: Path, name: str) -> Stored:
    """Read a set such as ``"fvlm/tiny"``."""
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    if "meta" in arrays:
        return Stored(arrays, json.loads(str(arrays.pop("meta"))), inside=True)
    beside = (folder / f"{name}.json").read_text(encoding="utf-8")
    return Stored(arrays, json.loads(beside), inside=False)


def close(
    yours: Any,
    stored: Stored,
    name: str,
    tol: float,
    *,
    absolute: bool = False,
    step: Sequence[int] | None = None,
) -> float:
    """Compare a whole array of yours with a stored one, its statistics included.

    Parameters
    ----------
    yours : array or tensor
        The whole array.
    stored : Stored
    name : str
    tol : float
        Relative to the stored array's root mean square (fVLM) or largest value (the others).
    absolute : bool
        True takes ``tol`` as it is.
    step : sequence of int, optional
        Per axis, where the meta does not name it under the array's own name.

    Returns
    -------
    float
        The largest difference in the unit of ``tol``; at most ``tol``, or this raises.
    """
    ours = np.asarray(yours.detach().cpu() if hasattr(yours, "detach") else yours, np.float64)
    theirs = stored.arrays[name].astype(np.float64)
    steps = stored.step(name, ours.ndim) if step is None else step
    part = ours[tuple(slice(None, None, n) for n in steps)]
    assert part.shape == theirs.shape, f"{name}: {part.shape} instead of {theirs.shape}"
    unit = 1.0 if absolute else _size(theirs, stored.inside)
    worst = float(np.abs(part - theirs).max()) / unit
    print(f"{name}: {worst:.1e} of at most {tol:.0e}")
    assert worst <= tol, f"{name}: {worst:.2e} instead of at most {tol:.0e}"
    told = stored.whole(name)
    if told is not None:
        numbers, shape = told
        assert shape in (None, ours.shape), f"{name}: {ours.shape} instead of {shape}"
        found = np.array([ours.mean(), ours.std(), np.abs(ours).max()])
        apart = float(np.abs(found - numbers).max())
        bound = tol * (1.0 if absolute else max(unit, _told_size(numbers, stored.inside)))
        assert apart <= bound, f"{name}, whole array: {found} instead of {numbers}"
    return worst


def exact(yours: Any, stored: Stored, name: str) -> None:
    """Compare indices or counts, of which every one has to be the same."""
    ours = np.asarray(yours.cpu() if hasattr(yours, "cpu") else yours)
    assert np.array_equal(ours, stored.arrays[name]), f"{name}: {ours} is not what is stored"


def _size(values: np.ndarray, root_mean_square: bool) -> float:
    return float(np.sqrt((values**2).mean()) if root_mean_square else np.abs(values).max())


def _told_size(numbers: np.ndarray, root_mean_square: bool) -> float:
    return float(np.hypot(numbers[0], numbers[1]) if root_mean_square else numbers[2])
