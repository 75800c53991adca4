"""open_anatomy: an existing segmentation, of any format, laid over an open scan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import resample, to_ipl, transform
from napari_ctvlp.core.naming import organ_named
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.segments import names_in_order, organ_of
from napari_ctvlp.io.drawn import Drawn, read_drawn
from napari_ctvlp.io.result import Notes, Progress, refused, safe_text, silent

#: Grids that differ by less than this share of a voxel are the same.
_SAME_SHARE = 0.05


def open_anatomy(
    path: Path | str,
    scan: Scan,
    *,
    names: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> AnatomyMap:
    """Open a segmentation as the anatomy of a scan.

    Parameters
    ----------
    path : Path or str
        DICOM SEG, RTSTRUCT, a label map in NIfTI, NRRD or MetaImage, or a folder of NIfTI masks
        that are called after what they show (as TotalSegmentator writes both).
    scan : Scan
        The CT it belongs to; structures are placed on it by world coordinates.
    names : mapping, optional
        Label in the file to organ of the house, over what :func:`organ_named` would say.
    progress : callable, optional

    Returns
    -------
    AnatomyMap
        On the scan's grid. Where structures share voxels the smaller one is kept on top, and
        ``reliability`` says so, as everything else the user must know.

    Raises
    ------
    InputRefused
        ``reference-mismatch`` for another patient or frame of reference, or when nothing of it
        lies inside the scan.
    """
    path, notes = Path(path), Notes()
    wanted = dict(names or {})
    placed: list[tuple[str, NDArray[np.bool_]]] = []
    for drawn in read_drawn(path, scan.source, notes):
        name = wanted.get(drawn.label) or organ_named(drawn.label, drawn.codes)
        placed.append((name, _on_scan(drawn, scan, notes)))
        progress(min(0.9, 0.05 * len(placed)), f"placing {len(placed)}")
    if not any(mask.any() for _, mask in placed):
        raise refused(
            "reference-mismatch",
            "a segmentation of the CT that is open.",
            f"Nothing of {safe_text(path.name)} lies inside the scan.",
            "Open it with the CT it was drawn on; nothing was laid over this one.",
        )
    labels, rows = _one_map(placed, notes)
    said = " ".join(message.message for message in (*notes.warnings, *notes.notices))
    progress(0.95, "measuring")
    return anatomy_from_labels(
        labels, scan, rows, source="opened", reliability=said or "Opened as it was drawn."
    )


def numbered(program: str) -> dict[str, str]:
    """Return the ``names`` of :func:`open_anatomy` for a file that only numbers its labels.

    Parameters
    ----------
    program : {"totalsegmentator", "wholebody"}
        Whose numbering: TotalSegmentator 2 (task total), or the MONAI bundle and
        TotalSegmentator 1.
    """
    rows = enumerate(names_in_order(program), start=1)
    return {f"label {number}": organ_of(name) for number, name in rows}


def _on_scan(drawn: Drawn, scan: Scan, notes: Notes) -> NDArray[np.bool_]:
    """Bring a mask to the scan's grid: the same lattice as it is, any other by nearest voxel."""
    axes = drawn.affine[:3, :3]
    if not np.isfinite(drawn.affine).all() or np.linalg.matrix_rank(axes) < 3:
        raise refused(
            "singular-affine",
            "a segmentation whose three axes have a length and a direction of their own.",
            f"The grid of '{drawn.label}' is flat.",
            "Export it again on the grid of its CT.",
        )
    view, affine = to_ipl(drawn.mask, drawn.affine)
    step = np.linalg.inv(scan.affine) @ affine
    ends = np.array([(0, 0, 0), np.array(view.shape) - 1], dtype=float)
    moved = transform(step, ends) - ends
    if np.abs(moved - np.rint(moved[0])).max() > _SAME_SHARE:
        notes.note(
            "other-grid", "It was drawn on another grid and moved to the scan's nearest voxels."
        )
    elif view.shape == scan.shape and not np.rint(moved).any():
        return np.ascontiguousarray(view)
    out = resample(view.astype(np.uint8), affine, scan.shape, scan.affine, order=0)
    return out.astype(bool)


def _one_map(
    placed: list[tuple[str, NDArray[np.bool_]]], notes: Notes
) -> tuple[NDArray[np.uint16], list[tuple[int, str]]]:
    """Put masks into one label map, the largest first, so that small ones stay visible."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, mask in placed:
        masks[name] = masks[name] | mask if name in masks else mask
    rows = [(number, name) for number, name in enumerate(masks, start=1)]
    labels = np.zeros(placed[0][1].shape, dtype=np.uint16)
    shared = 0
    for number, name in sorted(rows, key=lambda row: -int(masks[row[1]].sum())):
        shared += int((labels[masks[name]] > 0).sum())
        labels[masks[name]] = number
    if shared:
        notes.warn(
            "overlapping-segments",
            f"Structures share {shared} voxels; there the smaller one is shown and counted.",
        )
    return labels, rows
