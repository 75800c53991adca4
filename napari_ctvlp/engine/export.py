"""Results as files hold them: maps on the scan's grid, plain tables, numbers for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.interpolation import linear_aligned
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models import store

#: A scan voxel gets a value when at least this share of its neighbours on the map has one.
SUPPORT = 0.5
Plain = Any


def heatmap_on_scan(heatmap: Heatmap, scan: Scan) -> NDArray[np.float32]:
    """Bring a heatmap to the scan's own grid by linear interpolation.

    Parameters
    ----------
    heatmap : Heatmap
        On any grid.
    scan : Scan
        Whose grid to fill.

    Returns
    -------
    ndarray, shape (i, p, l), float32
        NaN where the model did not look: cells without a value take no part in the mean, and
        a voxel whose neighbours are mostly such cells gets none.
    """
    known = np.isfinite(heatmap.values)
    grid = (heatmap.affine, scan.shape, scan.affine)
    total = linear_aligned(np.where(known, heatmap.values, np.float32(0)), *grid)
    weight = linear_aligned(known.astype(np.float32), *grid)
    total[weight < SUPPORT] = np.nan
    np.divide(total, weight, out=total, where=weight >= SUPPORT)
    return total


def heatmap_stats(heatmap: Heatmap, scan: Scan) -> dict[str, Plain]:
    """Return everything a heatmap says beside its picture, as JSON can hold it.

    Parameters
    ----------
    heatmap : Heatmap
    scan : Scan
        The scan it was computed from.

    Returns
    -------
    dict
        ``peak_ras_mm`` in RAS mm (null when nothing may be searched), ``peak``, ``verdict``,
        ``reason``, ``margin``, ``support`` with its ``clues``, the ``naive`` answer of the peak
        alone, ``wordings`` and whether the answer ``flips`` with them, ``doubt``, ``kind`` of
        value, the model's ``organ``, ``score``, ``gate``,
        ``shares``, ``background``, the parsed ``phrase``,
        ``model`` with its weights' SHA-256, and the ``scan`` digest.
    """
    card = store.card(heatmap.model)
    stats = {
        "peak_ras_mm": heatmap.peak_ras,
        "peak": heatmap.peak,
        "verdict": heatmap.verdict,
        "reason": heatmap.reason,
        "margin": heatmap.margin,
        "kind": heatmap.kind,
        "organ": heatmap.organ,
        "score": heatmap.score,
        "support": heatmap.support,
        "doubt": heatmap.doubt,
        "naive": heatmap.naive,
        "clues": heatmap.clues,
        "wordings": heatmap.wordings,
        "flips": heatmap.flips,
        "gate": heatmap.gate,
        "shares": heatmap.shares,
        "background": heatmap.background,
        "phrase": heatmap.phrase,
        "model": {"id": card.id, "title": card.title, "weights": store.digests(card)},
        "scan": scan_facts(scan),
    }
    return {name: plain(value) for name, value in stats.items()}


def anatomy_table(anatomy: AnatomyMap, scan: Scan) -> dict[str, Plain]:
    """Return the table of organs with their volumes in ml, as JSON can hold it."""
    return {
        "segmenter": anatomy.source,
        "reliability": anatomy.reliability,
        "scan": scan_facts(scan),
        "organs": [plain(organ) for organ in anatomy.organs],
    }


def table_path(out: Path) -> Path:
    """Return the JSON file beside a label map: ``labels.nii.gz`` to ``labels.json``."""
    return out.with_name(out.name.removesuffix(".gz").removesuffix(".nii") + ".json")


#: What of a findings table's row is exported.
SCORED = (
    "organ", "finding", "present", "absent", "margin", "percentile", "support", "probability",
)  # fmt: skip


#: What is exported beside it of a row that was answered.
ANSWERED = ("verdict", "calibrated", "reason")


def score_rows(table: FindingsTable, *, answers: bool = False) -> list[dict[str, Plain]]:
    """Return the rows of a findings table; a number that does not exist is None."""
    names = (*SCORED, *(ANSWERED if answers else ()))
    return [{name: plain(getattr(row, name)) for name in names} for row in table.rows]


def scan_facts(scan: Scan) -> dict[str, Plain]:
    """Return what names a scan without naming a patient."""
    return {
        "digest": scan.digest,
        "shape": list(scan.shape),
        "spacing_mm": scan.spacing.tolist(),
        "warnings": plain(scan.meta.warnings),
        "notices": plain(scan.meta.notices),
    }


def plain(value: Plain) -> Plain:
    """Turn nouns and numpy values into what strict JSON holds; NaN becomes None."""
    if type(value) in (str, int, bool):  # most are, and the checks below are slow
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        result: Plain = {name: plain(getattr(value, name)) for name in names}
    elif isinstance(value, Mapping):
        result = {str(key): plain(item) for key, item in value.items()}
    elif isinstance(value, np.ndarray | np.generic):
        result = plain(value.tolist())
    elif isinstance(value, list | tuple):
        result = [plain(item) for item in value]
    else:
        result = str(value) if isinstance(value, Path) else value
    return result
