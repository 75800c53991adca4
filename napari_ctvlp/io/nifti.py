"""NIfTI files: read with every check, and write results back in the source's own frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, from_ipl, resample, shear_degrees
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.io.nifti_header import (
    HEADER_BYTES,
    NiftiHeader,
    is_analyze,
    is_nifti,
    parse_header,
)
from napari_ctvlp.io.result import Notes, Progress, Volume, compact, refused, safe_text, silent
from napari_ctvlp.io.stream import head, is_gzip, read_body
from napari_ctvlp.io.values import judge_values

_NAMES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")


def read_nifti(path: Path, progress: Progress = silent) -> Volume:
    """Read a NIfTI-1, NIfTI-2 or ANALYZE image, single file or pair.

    Parameters
    ----------
    path : Path
        ``.nii``, ``.nii.gz``, or either file of a ``.hdr``/``.img`` pair.

    Raises
    ------
    InputRefused
        With the code of what is wrong; nothing is allocated before the header and the file
        size agree.
    """
    notes = Notes()
    header_path, data_path = _pair(path)
    start = head(header_path, HEADER_BYTES)
    header = parse_header(header_path, start, notes)
    if data_path == header_path:
        _check_name(path, notes)
    body = read_body(data_path, header.offset, header.n_bytes, progress)
    values = _rescaled(np.frombuffer(body, header.dtype), header)
    data, stored = _spatial(values, header, notes)
    unit = judge_values(data, notes, scaled=header.scaled)
    return Volume(
        data=data,
        affine=header.affine,
        unit=unit,
        stored_shape=stored,
        files=(header_path,) if data_path == header_path else (header_path, data_path),
        series=safe_text(path.name.removesuffix(".gz").removesuffix(".nii")),
        single_slice=data.shape[2] == 1 and len(stored) < 3,
        warnings=tuple(notes.warnings),
        notices=tuple(notes.notices),
    )


def save_on_source(path: Path | str, array: NDArray[Any], scan: Scan) -> None:
    """Write an array on the scan's grid as NIfTI in the source's axis order and affine.

    Parameters
    ----------
    path : Path or str
        ``.nii`` or ``.nii.gz``.
    array : ndarray, shape (i, p, l)
        On the scan's grid. Whole numbers are labels (nearest neighbour where the scan was
        resampled), floating point is interpolated linearly; NaN stays NaN.
    scan : Scan
        Says where the array came from.

    Raises
    ------
    InputRefused
        ``bad-dim`` when the array is not on the scan's grid.
    """
    _write(Path(path), on_source(array, scan), scan.source.affine)


def on_source(array: NDArray[Any], scan: Scan) -> NDArray[Any]:
    """Bring an array on the scan's grid to the grid its files store.

    Parameters
    ----------
    array : ndarray, shape (i, p, l)
        Whole numbers go by nearest neighbour where the scan was resampled, floating point by
        linear interpolation.
    scan : Scan

    Returns
    -------
    ndarray, shape ``scan.source.shape``

    Raises
    ------
    InputRefused
        ``bad-dim`` when the array is not on the scan's grid.
    """
    if array.shape != scan.shape:
        raise refused(
            "bad-dim",
            f"an array of the scan's shape {scan.shape}.",
            f"It has the shape {array.shape}.",
            "Bring it to the scan's grid first.",
        )
    source = scan.source
    if not source.resampled:
        return from_ipl(array, source.affine)
    whole = array.dtype.kind in "iub"
    plain = array.astype(np.uint8) if array.dtype == bool else array
    return resample(
        np.ascontiguousarray(plain),
        scan.affine,
        source.shape,
        source.affine,
        order=0 if whole else 1,
        fill=0.0 if whole else float("nan"),
    )


def save_ipl(path: Path | str, array: NDArray[Any], affine: Affine) -> None:
    """Write an array on any grid of its own (such as a token grid) as NIfTI.

    Parameters
    ----------
    path : Path or str
        ``.nii`` or ``.nii.gz``.
    array : ndarray, shape (i, p, l)
        Written in this axis order.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    """
    _write(Path(path), array, affine)


def _write(path: Path, array: NDArray[Any], affine: Affine) -> None:
    """Write through nibabel with sform and qform; a sheared grid has no qform."""
    import nibabel

    if array.dtype.kind == "b" or array.dtype.itemsize == 8:
        array = array.astype({"b": np.uint8, "f": np.float32}.get(array.dtype.kind, np.int32))
    elif array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    image = nibabel.Nifti1Image(np.asfortranarray(array), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=0 if shear_degrees(affine) > 0.01 else 1)
    image.to_filename(path)


def _pair(path: Path) -> tuple[Path, Path]:
    """Header file and voxel file; the same one for a single file."""
    start = head(path, HEADER_BYTES)
    single = start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"
    name = path.name.removesuffix(".gz")
    packed = ".gz" if path.name.endswith(".gz") else ""
    if single or not name.endswith((".hdr", ".img")):
        return path, path
    paired = is_nifti(start) or is_analyze(start) or name.endswith(".hdr")
    other = path.with_name(f"{name[:-4]}{'.img' if paired else '.hdr'}{packed}")
    if not other.is_file():
        raise refused(
            "missing-data-file",
            f"the pair {path.name} and {other.name} side by side.",
            f"{other.name} is not there.",
            "Copy both files into one folder.",
        )
    return (path, other) if paired else (other, path)


def _check_name(path: Path, notes: Notes) -> None:
    """Say so when the name and the content disagree."""
    zipped, name = is_gzip(path), path.name.lower()
    if name.endswith(".gz") != zipped or not name.endswith(_NAMES):
        what = "gzip-compressed NIfTI" if zipped else "plain NIfTI"
        notes.warn("wrong-extension", f"{path.name} is {what} by its content; opened as that.")


def _rescaled(flat: NDArray[Any], header: NiftiHeader) -> NDArray[Any]:
    """Apply slope and intercept once, in column-major order, as int16 or float32."""
    volume = flat.reshape(header.shape, order="F")
    if not header.scaled:
        return compact(volume)
    return compact(volume.astype(np.float64) * header.slope + header.inter)


def _spatial(
    values: NDArray[Any], header: NiftiHeader, notes: Notes
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return at most (i, j, k, t), and say what became of the other axes."""
    stored = header.shape
    data = values.reshape(*stored[:4], *([1] * (3 - len(stored))), order="F")
    if len(stored) == 2:
        notes.warn(
            "2d",
            "This is one picture of two axes: opened flat, its thickness is not to be trusted.",
        )
    elif data.shape[2] == 1:
        notes.warn("single-slice", "One slice only: nothing can be measured across slices.")
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    elif data.ndim == 4:
        notes.warn(
            "4d",
            f"Four axes with {data.shape[3]} time points: the first one is opened; "
            "extract another one to see it.",
        )
    return data, stored
