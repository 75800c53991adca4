"""What the verbs say of one scan, as rows of the store; the numbers stay what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_ctvlp.cohort.store import Rows
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.geometry import spacing
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import export
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.models.protocol import Compute


def scan_row(scan: Scan) -> dict[str, Any]:
    """Return what the table ``scans`` says of the voxels."""
    facts = export.scan_facts(scan)
    row: dict[str, Any] = {"digest": scan.digest, "modality": scan.meta.modality}
    row["unit"] = scan.meta.unit
    for kind in ("warnings", "notices"):
        row[kind] = [message["code"] for message in facts[kind]]
    for place, axis in enumerate("ipl"):
        row[f"shape_{axis}"] = facts["shape"][place]
        row[f"spacing_{axis}"] = facts["spacing_mm"][place]
    return {**row, "affine": scan.affine.ravel().tolist()}


def computed_on(chosen: Compute) -> dict[str, Any]:
    """Return where a scan was computed."""
    return {"device": chosen.device, "precision": chosen.precision, "threads": chosen.threads}


def rows_of(
    anatomy: AnatomyMap,
    encoding: Encoding,
    table: FindingsTable,
    heatmaps: Mapping[str, Heatmap],
    scan: Scan,
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table but ``scans``, without the scan's number."""
    organs = [
        {"organ": row["name"], "ml": row["ml"], "mean_hu": row["mean_hu"],
         "complete": row["complete"]}
        for row in export.anatomy_table(anatomy, scan)["organs"]
    ]  # fmt: skip
    findings = [{**row, "percentile": None, "verdict": None} for row in export.score_rows(table)]
    phrases = [phrase_row(text, heatmap, scan) for text, heatmap in heatmaps.items()]
    vectors = [
        {"organ": organ, "vector": vector.astype(np.float32).tolist()}
        for organ, vector in {"": global_vector(encoding), **encoding.organs}.items()
    ]
    return {"organs": organs, "findings": findings, "phrases": phrases, "vectors": vectors}


def phrase_row(text: str, heatmap: Heatmap, scan: Scan) -> dict[str, Any]:
    """Return the numbers of ``ctvlp ground`` for one phrase, and the volume above its threshold."""
    stats = export.heatmap_stats(heatmap, scan)
    kept = ("verdict", "reason", "peak", "margin", "kind", "organ", "score")
    row = {"phrase": text, **{name: stats[name] for name in kept}}
    places = stats["peak_ras_mm"] or (None, None, None)
    row.update(zip(("peak_r", "peak_a", "peak_s"), places, strict=True))
    volume = export.plain(volume_ml(heatmap))
    return {**row, "p_value": stats["background"]["p_value"], "volume_ml": volume}


def volume_ml(heatmap: Heatmap) -> float:
    """Return the ml of allowed cells at or above the decision threshold, NaN without one."""
    sign = 1.0 if heatmap.phrase.negated else -1.0
    threshold = heatmap.peak + sign * heatmap.margin
    if not np.isfinite(threshold):
        return float("nan")
    cells = int((heatmap.allowed & (heatmap.values >= np.float32(threshold))).sum())
    return float(cells * spacing(heatmap.affine).prod() / 1000)


def global_vector(encoding: Encoding) -> Any:
    """Return the mean of the first grid's tokens, shape (c,), float32; zeros without any."""
    grid = encoding.grids[0]
    tokens = grid.tokens[grid.valid].astype(np.float32)
    return tokens.mean(axis=0) if len(tokens) else np.zeros(grid.tokens.shape[-1], np.float32)


def failed_row(error: CtvlpError, words: str) -> dict[str, Any]:
    """Return what the table ``scans`` says of a scan that failed; ``words`` name no file."""
    return {
        "state": "failed",
        "error_kind": type(error).__name__,
        "error_code": error.code,
        "error": words,
    }


def numbered(scan: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rows:
    """Put the scan's number into every row."""
    return {name: [{"scan": scan, **row} for row in some] for name, some in rows.items()}
