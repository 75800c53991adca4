"""Scan: one CT volume, brought to the house's axes, with the way back to its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, checked_affine, spacing

Unit = Literal["HU", "stored", "label", "arbitrary"]
#: What a CT holds where nothing was measured, in HU.
AIR_HU = -1000


@dataclass(frozen=True)
class Message:
    """A warning or notice in words.

    Attributes
    ----------
    code : str
        Short name, one of the list in ``docs/codes.md``.
    message : str
        What is odd and what was done about it.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Source:
    """Where a scan came from: enough to save results in its own frame.

    Attributes
    ----------
    files : tuple of Path
        The files read, in slice order.
    shape : tuple of int
        Shape of the stored volume (its own axis order).
    affine : ndarray, shape (4, 4)
        Index to RAS mm of the stored volume.
    resampled : bool
        True if ``Scan.hu`` is not a mere view of the stored grid (oblique, sheared or uneven).
    """

    files: tuple[Path, ...]
    shape: tuple[int, int, int]
    affine: Affine
    resampled: bool = False


@dataclass(frozen=True)
class ScanMeta:
    """What the headers say, without identity.

    Attributes
    ----------
    modality : str
        ``"CT"``, ``"MR"``..., or ``""`` when the format does not say.
    series : str
        A readable series label, safe as a layer name.
    unit : {"HU", "stored", "label", "arbitrary"}
        What the numbers are.
    warnings, notices : tuple of Message
        What the user must know, and what was merely done.
    """

    modality: str = ""
    series: str = ""
    unit: Unit = "HU"
    warnings: tuple[Message, ...] = ()
    notices: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Scan:
    """A CT volume in IPL order.

    Attributes
    ----------
    hu : ndarray, shape (i, p, l), int16 or float32, HU, read-only
        Axis 0 grows toward inferior, 1 toward posterior, 2 toward the patient's left.
    affine : ndarray, shape (4, 4), float64
        Index to RAS mm; axis-aligned (no rotation or shear left).
    source : Source
        Files and stored grid, for saving.
    meta : ScanMeta
        Modality, series, unit, warnings.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    affine: Affine
    source: Source
    meta: ScanMeta = field(default_factory=ScanMeta)

    def __post_init__(self) -> None:
        """Freeze the arrays and check the affine."""
        view = self.hu.view()
        view.flags.writeable = False
        object.__setattr__(self, "hu", view)
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (I, P, L)."""
        i, p, l = self.hu.shape  # noqa: E741 - the axis is called L
        return i, p, l

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel size in mm along (I, P, L), shape (3,)."""
        return spacing(self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(self.spacing.prod() / 1000)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over voxels and affine, 64 hex digits: the key of every cached result."""
        sha = hashlib.sha256(f"{self.hu.dtype.str}{self.shape}".encode())
        sha.update((self.affine + 0.0).tobytes())  # -0.0 and 0.0 are one number
        for plane in self.hu:
            sha.update(np.ascontiguousarray(plane).tobytes())
        return sha.hexdigest()
