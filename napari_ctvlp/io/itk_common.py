"""What NRRD and MetaImage share: data files beside a header, and axes that are not space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, checked_affine, shear_degrees
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.result import Notes, inside_folder, refused


def data_path(header: Path, name: str) -> Path:
    """Return a data file named in a header; it must lie in the header's folder.

    Raises
    ------
    InputRefused
        ``missing-data-file`` naming it.
    """
    target = inside_folder(header.parent, name.replace("\\", "/").split("/"))
    if target is None or not target.is_file():
        where = "is not there" if target else "lies outside the header's folder"
        raise refused(
            "missing-data-file",
            f"the voxel file that {header.name} names, beside it.",
            f"{name[:80]!r} {where}.",
            "Copy header and voxel file into one folder.",
        )
    return target


def numbered_files(pattern: str, first: int, last: int, step: int) -> list[str]:
    """Return the names of a ``printf`` pattern such as ``slice%03d.raw``."""
    return [pattern % n for n in range(first, last + 1, step)]


def space_affine(
    path: Path, directions: NDArray[np.float64], origin: NDArray[np.float64], notes: Notes
) -> Affine:
    """Return an index-to-world matrix; refuse lengths that are no lengths, warn of shear.

    Parameters
    ----------
    directions : ndarray, shape (3, 3)
        One column for each array axis, in mm.
    origin : ndarray, shape (3,)
        Position of the first voxel.
    """
    lengths = np.linalg.norm(directions, axis=0)
    if not np.isfinite(directions).all() or np.any(lengths == 0):
        raise refused(
            "bad-spacing",
            "three finite axis steps longer than 0 mm.",
            f"{path.name} says {directions.T.tolist()}.",
            "Write the image again with its spacing.",
        )
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions, origin
    if shear_degrees(checked_affine(affine)) > 0.5:
        notes.warn(
            "sheared",
            f"The axes are sheared by {shear_degrees(affine):.1f} degrees; the shear is kept and "
            "for display the volume is resampled.",
        )
    return affine


def no_spacing(path: Path) -> InputRefused:
    """Return the refusal of an image without any voxel size."""
    return refused(
        "no-pixel-spacing",
        "the size of a voxel in mm.",
        f"{path.name} states none.",
        "Export the image again with its spacing; 1 mm is never assumed.",
    )


def bad_header(path: Path, what: str, code: str = "bad-dim") -> InputRefused:
    """Return the refusal of a header field."""
    return refused(
        code,
        "a header that describes one CT volume.",
        f"{path.name}: {what}.",
        "Export the image again, best as NIfTI or DICOM.",
    )


def colour(path: Path) -> InputRefused:
    """Return the refusal of several channels."""
    return refused(
        "colour",
        "one number for each voxel, in Hounsfield units.",
        f"{path.name} holds several channels (colour or vectors).",
        "Open the CT the picture was made from.",
    )


def first_of_list(
    data: NDArray[Any], space_axes: Sequence[int], notes: Notes
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return (i, j, k) or (i, j, k, t) with space first, and the stored shape.

    Parameters
    ----------
    data : ndarray
        Axes in stored order, fastest first.
    space_axes : sequence of int
        The axes that are space.
    """
    stored = data.shape
    others = [n for n in range(data.ndim) if n not in space_axes]
    moved = data.transpose([*space_axes, *others])
    moved = moved.reshape(*moved.shape[: len(space_axes)], -1)
    if len(space_axes) == 2:
        moved = moved[:, :, np.newaxis]
        notes.warn("2d", "This is one picture of two axes: opened flat, it has no thickness.")
    elif moved.shape[2] == 1:
        notes.warn("single-slice", "One slice only: nothing can be measured across slices.")
    if moved.shape[3] == 1:
        return moved[..., 0], stored
    notes.warn(
        "4d",
        f"One axis is a list of {moved.shape[3]} volumes: the first one is opened; extract "
        "another one to see it.",
    )
    return moved, stored
