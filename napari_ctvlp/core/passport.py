"""Geometry passport: where a scan lies, what was corrected, and whether its sides hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ctvlp.core.geometry import (
    obliquity_degrees,
    orientation,
    shear_degrees,
    spacing,
    transform,
)
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.sides import SideCheck

#: Messages that say that a number or a place is not as the file states it.
CORRECTED = frozenset({
    "resampled", "padding", "non-finite", "units", "sform-qform", "pixdim", "vox-offset",
    "duplicate-position", "missing-slice", "uneven-spacing", "gantry-tilt", "sheared",
    "mixed-orientation", "no-rescale", "two-phases",
})  # fmt: skip
#: Messages after which left and right must not be trusted.
UNSURE_SIDES = frozenset({"no-orientation", "sform-qform"})


@dataclass(frozen=True)
class Passport:
    """Facts about a scan's geometry, in words.

    Attributes
    ----------
    rows : tuple of (title, words)
    corrected : tuple of str
        What was changed or assumed on opening.
    sides : str
        What the body says about left and right; ``""`` before the organs are known.
    objection : bool
        True when header and body disagree, or the file does not state its sides.
    """

    rows: tuple[tuple[str, str], ...]
    corrected: tuple[str, ...]
    sides: str
    objection: bool


def passport(scan: Scan, check: SideCheck | None = None) -> Passport:
    """Return the geometry passport of a scan.

    Parameters
    ----------
    scan : Scan
    check : SideCheck, optional
        Once the organs are known.
    """
    source, meta = scan.source, scan.meta
    stored, shown = spacing(source.affine), scan.spacing[::-1]
    tilt, shear = obliquity_degrees(source.affine), shear_degrees(source.affine)
    turned = f", turned by {tilt:.1f} degrees" if tilt > 0.05 else ""
    turned += f", sheared by {shear:.1f} degrees" if shear > 0.05 else ""
    rows = [
        ("Orientation as stored", orientation(source.affine) + turned),
        ("Voxels as stored", _triple(source.shape, "{:d}") + f" of {_triple(stored, '{:.3f}')} mm"),
        ("Voxels as shown (L, P, I)", f"{_triple(scan.shape[::-1], '{:d}')} of "
         f"{_triple(shown, '{:.3f}')} mm"),
        ("Extent", _extent(scan)),
        ("Numbers", {"HU": "Hounsfield units"}.get(meta.unit, f"{meta.unit}, not HU")),
    ]  # fmt: skip
    said = (*meta.warnings, *meta.notices)
    corrected = tuple(message.message for message in said if message.code in CORRECTED)
    unsure = [message.message for message in said if message.code in UNSURE_SIDES]
    words = " ".join([*unsure, check.words if check is not None else ""]).strip()
    wrong = check is not None and check.verdict == "objects"
    return Passport(tuple(rows), corrected, words, wrong or bool(unsure))


def _extent(scan: Scan) -> str:
    """World box of the voxels' outer faces, in patient letters."""
    ends = transform(scan.affine, [np.full(3, -0.5), np.array(scan.shape) - 0.5])
    low, high = ends.min(axis=0), ends.max(axis=0)
    pairs = zip(low, high, (("L", "R"), ("P", "A"), ("I", "S")), strict=True)
    return ", ".join(
        f"{_letter(a, names)} to {_letter(b, names)} ({b - a:.0f} mm)" for a, b, names in pairs
    )


def _letter(value: float, names: tuple[str, str]) -> str:
    return f"{names[1] if value >= 0 else names[0]} {abs(value):.1f}"


def _triple(values: object, form: str) -> str:
    return " x ".join(form.format(value) for value in np.asarray(values).tolist())
