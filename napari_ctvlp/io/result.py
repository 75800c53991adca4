"""What a reader hands back: volumes on their own grid, objects, and words about both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ctvlp.core.geometry import Affine, orientation, spacing, voxel_of
from napari_ctvlp.core.scan import Message, Unit
from napari_ctvlp.errors import InputRefused

#: Called with the share done (0..1) and a word for the stage.
Progress = Callable[[float, str], None]
#: Readable characters a label keeps; the rest could act as a path, markup or control code.
_UNSAFE = re.compile(r"[^\w .,;()+=#-]|\.{2,}")


def silent(share: float, stage: str) -> None:
    """Report progress to nobody."""


def plain_text(text: object, limit: int = 200) -> str:
    """Return header text as it is, without control characters: for listings, not for names."""
    return "".join(c for c in str(text or "") if c.isprintable())[:limit].strip()


def safe_text(text: object, secrets: Iterable[object] = (), limit: int = 64) -> str:
    """Return header text fit for a layer or file name.

    Parameters
    ----------
    text : object
        Raw text; None and empty become ``""``.
    secrets : iterable
        Names and numbers of the patient; each word of three letters or more is taken out.
    limit : int
        Longest result.
    """
    plain = " ".join(_UNSAFE.sub(" ", str(text or "")).split())
    words = {w for s in secrets for w in re.split(r"[\W_]+", str(s or "")) if len(w) > 2}
    for word in sorted(words, key=len, reverse=True):
        plain = re.sub(re.escape(word), "", plain, flags=re.IGNORECASE)
    return " ".join(plain.split())[:limit].strip(" .")


@dataclass(frozen=True)
class Volume:
    """One image volume exactly as it is stored.

    Attributes
    ----------
    data : ndarray, shape (i, j, k) or (i, j, k, t)
        Rescaled once; int16 where whole numbers fit, else float32. Read-only.
    affine : ndarray, shape (4, 4)
        Index (i, j, k) to RAS mm. Where slices are uneven, or there is only one, the third
        column is the unit slice normal and only slice 0 is described.
    origins : ndarray, shape (k, 3), or None
        RAS position of voxel (0, 0, k) of each slice where the steps are uneven, else None.
    unit : {"HU", "stored", "label", "arbitrary"}
        What the numbers are.
    stored_shape : tuple of int
        The shape the file states, which may have two or four axes.
    files : tuple of Path
        Files in slice order.
    index, uid, modality, series
        Number in the list of volumes (from 1), series UID, modality, readable label.
    single_slice : bool
        True when the third spacing is unknown.
    warnings, notices : tuple of Message
        What the user must know; what was merely done.
    segments : tuple of dict
        Names and voxel counts where the volume is a label map that carries names.
    """

    data: NDArray[Any]
    affine: Affine
    unit: Unit
    stored_shape: tuple[int, ...]
    files: tuple[Path, ...]
    origins: NDArray[np.float64] | None = None
    index: int = 1
    uid: str = ""
    modality: str = ""
    series: str = ""
    single_slice: bool = False
    warnings: tuple[Message, ...] = ()
    notices: tuple[Message, ...] = ()
    segments: tuple[dict[str, Any], ...] = ()

    @property
    def spacing_mm(self) -> list[float | None]:
        """Voxel size along (i, j, k); None for a slice step that does not exist."""
        steps: list[float | None] = [float(s) for s in spacing(self.affine)]
        if self.single_slice or self.origins is not None:
            steps[2] = None
        return steps

    @property
    def orientation(self) -> str:
        """Patient direction each array axis grows toward, such as ``"LPS"``."""
        return orientation(self.affine)

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest finite value, or None if there is none."""
        finite = self.data[np.isfinite(self.data)] if self.data.dtype.kind == "f" else self.data
        return (float(finite.min()), float(finite.max())) if finite.size else None

    def voxel_at(self, point_ras: ArrayLike) -> tuple[int, int, int] | None:
        """Return the voxel that holds an RAS point in mm, or None outside."""
        point = np.asarray(point_ras, dtype=np.float64)
        if self.origins is None:
            found = np.rint(voxel_of(self.affine, point)).astype(int)
        else:
            k = self._slice_at(point)
            start = self.affine.copy()
            start[:3, 3] = self.origins[k]
            found = np.rint(voxel_of(start, point)).astype(int)
            reach = np.abs(np.diff(self.origins @ self.affine[:3, 2])).max(initial=1.0)
            found[2] = k if abs(found[2]) <= reach / 2 else -1
        inside = all(0 <= n < size for n, size in zip(found, self.data.shape[:3], strict=True))
        return (int(found[0]), int(found[1]), int(found[2])) if inside else None

    def _slice_at(self, point: NDArray[np.float64]) -> int:
        """Nearest slice along the normal; only for uneven slices."""
        assert self.origins is not None  # noqa: S101 - narrows the type for its one caller
        return int(np.abs((self.origins - point) @ self.affine[:3, 2]).argmin())


@dataclass(frozen=True)
class ReadResult:
    """Everything found at a path.

    Attributes
    ----------
    volumes : tuple of Volume
        All volumes, or the one asked for.
    objects : tuple of dict
        Segmentations and contours, with counts and areas (see ``docs/codes.md``).
    warnings, notices : tuple of Message
        Of the path and of every volume in it.
    refused : InputRefused or None
        Set when part of the path is refused although its volumes can be read.
    """

    volumes: tuple[Volume, ...]
    objects: tuple[dict[str, Any], ...] = ()
    warnings: tuple[Message, ...] = ()
    notices: tuple[Message, ...] = ()
    refused: InputRefused | None = None


@dataclass
class Notes:
    """Warnings and notices while a file is being read."""

    warnings: list[Message] = field(default_factory=list)
    notices: list[Message] = field(default_factory=list)

    def warn(self, code: str, message: str) -> None:
        """Add a warning unless the same one is there."""
        if Message(code, message) not in self.warnings:
            self.warnings.append(Message(code, message))

    def note(self, code: str, message: str) -> None:
        """Add a notice unless the same one is there."""
        if Message(code, message) not in self.notices:
            self.notices.append(Message(code, message))


def refused(code: str, expected: str, found: str, advice: str) -> InputRefused:
    """Return the refusal of an input (a short way to write it)."""
    return InputRefused(code, expected, found, advice)


def compact(values: NDArray[Any]) -> NDArray[Any]:
    """Return values as int16 where they are whole and fit, else float32; no copy if they are."""
    if values.dtype == np.int16:
        return values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return values.astype(np.float32, copy=False)
    low, high = values.min(initial=0), values.max(initial=0)
    fits = low >= -32768 and high <= 32767
    if fits and (values.dtype.kind in "iub" or not np.any(np.mod(values, 1))):
        return values.astype(np.int16)
    return values.astype(np.float32, copy=False)


def inside_folder(folder: Path, parts: Sequence[str]) -> Path | None:
    """Join names from a file to ``folder``, or None if they would lead out of it."""
    if any(not p or p in {".", ".."} or "\0" in p for p in parts):
        return None
    root = folder.resolve()
    target = root.joinpath(*parts).resolve()
    return target if target.is_relative_to(root) else None
