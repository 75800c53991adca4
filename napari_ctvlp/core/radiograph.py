"""Radiograph: one chest X-ray picture, and where it resembles a phrase.

A picture of shadows is no slice of a volume: the two never stand in for each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.scan import Message


@dataclass(frozen=True)
class Radiograph:
    """An X-ray picture as it hangs on the wall: the patient's left on the right, bones bright.

    Attributes
    ----------
    pixels : ndarray, shape (row, column), read-only
        Brighter where more was absorbed, whatever the file's polarity was.
    spacing : tuple of float, or None
        mm between rows and between columns, at the detector where nothing better is known.
    view : str
        Such as ``"PA"``, ``"AP"`` or ``"LL"``; ``""`` when the file does not say.
    window : tuple of float, or None
        Values to show as black and as white.
    series : str
        Readable label, without identity.
    warnings : tuple of Message
        What the user must know.
    """

    pixels: NDArray[Any]
    spacing: tuple[float, float] | None = None
    view: str = ""
    window: tuple[float, float] | None = None
    series: str = ""
    warnings: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the pixels."""
        view = self.pixels.view()
        view.flags.writeable = False
        object.__setattr__(self, "pixels", view)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.pixels.shape
        return rows, columns

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the pixels, 64 hex digits: the key of every cached result."""
        sha = hashlib.sha256(f"radiograph {self.pixels.dtype.str}{self.shape}".encode())
        sha.update(np.ascontiguousarray(self.pixels).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class RadiographMap:
    """Similarity of a radiograph to a phrase, pixel by pixel.

    Attributes
    ----------
    values : ndarray, shape (row, column), float32, read-only
        Cosine, smoothed as published; NaN where the model did not look.
    phrase : Phrase
    model : str
        Card id.
    radiograph : str
        Digest of the picture.
    score : float
        Cosine of the whole picture to the phrase.
    prior : str
        Digest of the earlier picture it was compared with, or ``""``.
    """

    values: NDArray[np.float32]
    phrase: Phrase
    model: str
    radiograph: str
    score: float = float("nan")
    prior: str = ""

    def __post_init__(self) -> None:
        """Freeze the values."""
        view = self.values.view()
        view.flags.writeable = False
        object.__setattr__(self, "values", view)

    @property
    def peak_index(self) -> tuple[int, int]:
        """Row and column of the highest value."""
        row, column = np.unravel_index(int(np.nanargmax(self.values)), self.values.shape)
        return int(row), int(column)

    @property
    def peak(self) -> float:
        """The highest value."""
        return float(self.values[self.peak_index])
