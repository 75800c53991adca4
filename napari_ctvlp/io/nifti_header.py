"""NIfTI-1, NIfTI-2 and ANALYZE 7.5 headers, judged before a voxel is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, checked_affine, shear_degrees, spacing, transform
from napari_ctvlp.io.result import Notes, refused
from napari_ctvlp.io.stream import truncated

#: Bytes that hold any of the headers.
HEADER_BYTES = 544
_COLOUR, _COMPLEX = {128, 2304}, {32, 1792, 2048}
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
#: A qform cannot hold more shear than rounding makes.
_SHEAR_DEGREES = 0.5
_VECTOR_INTENTS = {1006, 1007}
#: xyzt_units code to millimetres.
_MILLIMETRES = {1: 1000.0, 3: 0.001}


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed of a header, checked.

    Attributes
    ----------
    shape : tuple of int
        All axes, as stored.
    dtype : numpy dtype
        With byte order.
    offset : int
        Where the voxels start.
    slope, inter : float
        The rescale to apply, 1 and 0 where none is stored.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    affine: Affine

    @property
    def scaled(self) -> bool:
        """True when the numbers change by the rescale."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def n_bytes(self) -> int:
        """Size of the voxels in bytes."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def is_nifti(start: bytes) -> bool:
    """Return True when the first bytes are a NIfTI header (ANALYZE 7.5 excluded)."""
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def is_analyze(start: bytes) -> bool:
    """Return True for an ANALYZE 7.5 header: its size field and no NIfTI magic."""
    return len(start) >= 348 and start[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c") and not is_nifti(start)


def parse_header(path: Path, start: bytes, notes: Notes) -> NiftiHeader:
    """Check a header and choose its affine.

    Raises
    ------
    InputRefused
        ``not-nifti``, ``truncated``, ``bad-dim``, ``colour``, ``complex``, ``vector``,
        ``singular-affine`` or ``bad-spacing``.
    """
    raw = _raw_header(path, start)
    shape = _shape(path, raw)
    dtype = _dtype(path, raw)
    if int(raw["intent_code"]) in _VECTOR_INTENTS or any(n > 1 for n in shape[4:]):
        raise refused(
            "vector",
            "one number for each voxel.",
            f"{path.name} holds several: a displacement field or other vector data.",
            "Open the image the transform belongs to.",
        )
    offset = _offset(path, start, raw, notes)
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        slope, inter = 1.0, 0.0
    inter = inter if np.isfinite(inter) else 0.0
    return NiftiHeader(
        shape=shape,
        dtype=dtype,
        offset=offset,
        slope=slope,
        inter=inter,
        affine=_affine(path, raw, shape, notes),
    )


def _raw_header(path: Path, start: bytes) -> NDArray[Any]:
    """Header fields in native byte order, as a numpy record."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    second = start[4:8] in (b"n+2\0", b"ni2\0")
    size = 540 if second else 348
    if len(start) < size:
        raise truncated(path, f"{size} bytes of header", f"it has {len(start)}")
    if not (is_nifti(start) or is_analyze(start)):
        raise refused(
            "not-nifti",
            "a NIfTI header.",
            f"{path.name} does not hold one, whatever its name says.",
            "Check where the file came from.",
        )
    kind = Nifti2Header if second else Nifti1Header
    big = start[:4] in (b"\0\0\1\x5c", b"\0\0\2\x1c")
    header: Any = kind
    parsed = header(start[:size], endianness=">" if big else "<", check=False).structarr
    return np.asarray(parsed)


def _shape(path: Path, raw: NDArray[Any]) -> tuple[int, ...]:
    """Axis lengths, each at least 1."""
    dims = [int(n) for n in raw["dim"]]
    count = dims[0]
    shape = tuple(dims[1 : 1 + count]) if 1 <= count <= 7 else ()
    if len(shape) < 2 or any(n < 1 for n in shape):
        raise refused(
            "bad-dim",
            "two to seven axes with at least one voxel each.",
            f"The header of {path.name} says dim = {dims}.",
            "Write the image again.",
        )
    return shape


def _dtype(path: Path, raw: NDArray[Any]) -> np.dtype[Any]:
    """Voxel type with byte order; colour and complex are refused by name."""
    code = int(raw["datatype"])
    if code in _COLOUR or code in _COMPLEX or code not in _TYPES:
        kind = "colour" if code in _COLOUR else "complex" if code in _COMPLEX else "not-nifti"
        words = {"colour": "RGB colour", "complex": "complex numbers", "not-nifti": "unknown"}[kind]
        raise refused(
            kind,
            "one whole or floating-point number for each voxel.",
            f"{path.name} has NIfTI data type {code} ({words}).",
            "Convert it to a CT volume in Hounsfield units.",
        )
    return np.dtype(_TYPES[code]).newbyteorder(raw.dtype["dim"].base.byteorder)


def _offset(path: Path, start: bytes, raw: NDArray[Any], notes: Notes) -> int:
    """Where the voxels start; a single file cannot have them inside its header."""
    single = start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"
    stated = float(raw["vox_offset"])
    least = (544 if start[4:8] == b"n+2\0" else 352) if single else 0
    if np.isfinite(stated) and stated >= least:
        return int(stated)
    notes.warn(
        "vox-offset",
        f"{path.name} says its voxels start at byte {stated:g}, inside the header; "
        f"byte {least} is used.",
    )
    return least


def _affine(path: Path, raw: NDArray[Any], shape: tuple[int, ...], notes: Notes) -> Affine:
    """Choose sform, qform or the bare voxel size, and say what is odd about it."""
    pixdim = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    axes = min(len(shape), 3)
    if int(raw["sform_code"]) > 0 and "srow_x" in (raw.dtype.names or ()):
        affine = _sform(raw)
        _compare_pixdim(pixdim[:axes], affine, notes)
        if int(raw["qform_code"]) > 0 and shear_degrees(affine) <= _SHEAR_DEGREES:
            _compare_forms(affine, raw, shape, notes)
    else:
        _check_pixdim(path, pixdim[:axes])
        pixdim[axes:] = np.where(pixdim[axes:] > 0, pixdim[axes:], 1.0)
        affine = _without_sform(raw, np.abs(pixdim), shape, notes)
    affine = _in_millimetres(affine, int(raw["xyzt_units"]) & 7, notes)
    if shear_degrees(checked_affine(affine)) > _SHEAR_DEGREES:
        notes.warn(
            "sheared",
            f"The axes are sheared by {shear_degrees(affine):.1f} degrees (as gantry tilt does). "
            "The shear is kept; for display the volume is resampled.",
        )
    return affine


def _sform(raw: NDArray[Any]) -> Affine:
    """Index to world from the three stored rows."""
    affine = np.eye(4)
    affine[:3] = [raw["srow_x"], raw["srow_y"], raw["srow_z"]]
    return checked_affine(affine)


def _without_sform(
    raw: NDArray[Any], size: NDArray[np.float64], shape: tuple[int, ...], notes: Notes
) -> Affine:
    """Use the qform, else voxel size alone with the middle of the volume at 0, x to the left."""
    if int(raw["qform_code"]) > 0 and "quatern_b" in (raw.dtype.names or ()):
        return _qform(raw, size)
    notes.warn(
        "no-orientation",
        "The header states no orientation: left and right are a guess (first axis taken to run "
        "to the patient's left). Do not trust sides on this scan.",
    )
    spatial = np.array([*shape[:3], 1, 1][:3])
    affine = np.diag([-size[0], size[1], size[2], 1.0])
    affine[:3, 3] = -(affine[:3, :3] @ ((spatial - 1) / 2))
    return affine


def _qform(raw: NDArray[Any], size: NDArray[np.float64]) -> Affine:
    """Index to world from the quaternion (NIfTI-1 standard, method 2)."""
    b, c, d = (float(raw[f"quatern_{x}"]) for x in "bcd")
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    hand = -1.0 if float(raw["pixdim"][0]) < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = turn * size * [1.0, 1.0, hand]
    affine[:3, 3] = [float(raw[f"qoffset_{x}"]) for x in "xyz"]
    return checked_affine(affine)


def _check_pixdim(path: Path, pixdim: NDArray[np.float64]) -> None:
    """Without an sform every voxel edge must be a length."""
    if not np.isfinite(pixdim).all() or np.any(pixdim == 0):
        raise refused(
            "bad-spacing",
            "voxel edges longer than 0 mm.",
            f"{path.name} says pixdim = {pixdim.tolist()} and has no sform.",
            "Write the image again with its spacing.",
        )


def _compare_pixdim(pixdim: NDArray[np.float64], affine: Affine, notes: Notes) -> None:
    """Warn when the voxel size beside a good sform says something else."""
    steps = spacing(affine)[: len(pixdim)]
    if np.any(pixdim <= 0) or np.any(np.abs(pixdim - steps) > 0.01 * steps):
        words = " x ".join(f"{s:.4g}" for s in steps)
        notes.warn(
            "pixdim",
            f"pixdim says {pixdim.tolist()} mm but the sform says {words} mm. The sform is used; "
            "volumes measured by other programs may differ.",
        )


def _compare_forms(affine: Affine, raw: NDArray[Any], shape: tuple[int, ...], notes: Notes) -> None:
    """Warn when sform and qform put the corners in different places."""
    last = np.array([*shape[:3], 1, 1][:3]) - 1
    corners = np.array([[0, 0, 0], last, last * [1, 0, 0], last * [0, 1, 0]])
    other = _qform(raw, spacing(affine))
    apart = np.linalg.norm(transform(affine, corners) - transform(other, corners), axis=1).max()
    if apart > 0.1 * spacing(affine).min():
        notes.warn(
            "sform-qform",
            f"sform and qform disagree by up to {apart:.1f} mm, so left and right depend on the "
            "choice. The sform is used.",
        )


def _in_millimetres(affine: Affine, units: int, notes: Notes) -> Affine:
    """Scale metres and micrometres; unknown units count as mm."""
    factor = _MILLIMETRES.get(units)
    if factor is None:
        return affine
    name = {1: "metres", 3: "micrometres"}[units]
    notes.warn("units", f"The header is in {name}; it was converted to millimetres.")
    scaled = affine.copy()
    scaled[:3] *= factor
    return scaled
