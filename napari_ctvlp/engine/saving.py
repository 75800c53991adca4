"""Results to files: masks as NIfTI and DICOM SEG, tables as CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.engine.export import anatomy_table, heatmap_on_scan, heatmap_stats, score_rows
from napari_ctvlp.io.dicom.seg_file import SegmentRow, save_seg
from napari_ctvlp.io.nifti import save_on_source
from napari_ctvlp.io.result import refused


def save_organs_nifti(path: Path, anatomy: AnatomyMap, scan: Scan) -> None:
    """Write a label map on the scan's stored grid, and its names beside it as JSON."""
    _check_grid(anatomy, scan)
    save_on_source(path, anatomy.labels, scan)
    names = {str(organ.id): organ.name for organ in anatomy.organs}
    _json(path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.nii')}.json"), names)


def save_organs_seg(path: Path, anatomy: AnatomyMap, scan: Scan) -> None:
    """Write a label map as DICOM SEG, with SNOMED codes; see :func:`save_seg` for refusals."""
    _check_grid(anatomy, scan)
    rows = [SegmentRow(organ.id, organ.name) for organ in anatomy.organs]
    save_seg(path, anatomy.labels, rows, scan, algorithm=anatomy.source)


def threshold_mask(heatmap: Heatmap, scan: Scan, threshold: float) -> NDArray[np.uint8]:
    """Return 1 where a heatmap reaches a threshold inside its gate, on the scan's grid.

    Parameters
    ----------
    heatmap : Heatmap
    scan : Scan
    threshold : float
        In the heatmap's own unit.

    Returns
    -------
    ndarray, shape (i, p, l), uint8
    """
    searched = np.where(heatmap.allowed, heatmap.values, np.float32("nan"))
    gated = Heatmap(searched, heatmap.affine, heatmap.allowed, heatmap.phrase, heatmap.model)
    return np.asarray(heatmap_on_scan(gated, scan) >= threshold, dtype=np.uint8)


def save_mask_nifti(path: Path, heatmap: Heatmap, scan: Scan, threshold: float) -> None:
    """Write a thresholded heatmap as a mask of 0 and 1 on the scan's stored grid."""
    save_on_source(path, threshold_mask(heatmap, scan, threshold), scan)


def save_mask_seg(path: Path, heatmap: Heatmap, scan: Scan, threshold: float) -> None:
    """Write a thresholded heatmap as DICOM SEG with one segment named after the phrase."""
    row = SegmentRow(1, f"{heatmap.phrase.text[:40]} >= {threshold:.2f}", finding=True)
    mask = threshold_mask(heatmap, scan, threshold)
    save_seg(path, mask, [row], scan, algorithm=heatmap.model)


def save_heatmap(path: Path, heatmap: Heatmap, scan: Scan) -> None:
    """Write a heatmap on the scan's stored grid, NaN where the model did not look."""
    save_on_source(path, heatmap_on_scan(heatmap, scan), scan)


def organ_rows(anatomy: AnatomyMap) -> list[dict[str, Any]]:
    """Return one row per organ: name, SNOMED code, ml, mean HU, whether it is whole."""
    known = places()
    return [
        {
            "organ": organ.name,
            "snomed": known[organ.name].snomed if organ.name in known else "",
            "ml": round(organ.ml, 3),
            "mean_hu": None if np.isnan(organ.mean_hu) else round(organ.mean_hu, 2),
            "complete": organ.complete,
        }
        for organ in anatomy.organs
    ]


def save_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV.

    Raises
    ------
    InputRefused
        ``nothing-to-save`` without rows.
    """
    if not rows:
        raise refused("nothing-to-save", "a table with rows.", "It is empty.", "Run it first.")
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def save_numbers(
    path: Path,
    scan: Scan,
    anatomy: AnatomyMap | None,
    heatmap: Heatmap | None,
    findings: FindingsTable | None,
) -> None:
    """Write everything known of a scan as one JSON file, without identity."""
    _json(
        path,
        {
            "scan": scan.digest,
            "anatomy": anatomy_table(anatomy, scan) if anatomy is not None else None,
            "heatmap": heatmap_stats(heatmap, scan) if heatmap is not None else None,
            "findings": score_rows(findings) if findings is not None else None,
        },
    )


def _check_grid(anatomy: AnatomyMap, scan: Scan) -> None:
    if anatomy.labels.shape != scan.shape:
        raise refused(
            "bad-dim",
            "an anatomy on the scan's own grid.",
            f"It has the shape {anatomy.labels.shape}, the scan {scan.shape}.",
            "Segment the scan again.",
        )


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
