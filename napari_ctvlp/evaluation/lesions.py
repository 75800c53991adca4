"""A contoured lesion: scores, peaks, false blobs and baselines in one field, all equally gated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core import grounding
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.evaluation import baselines, metrics
from napari_ctvlp.evaluation.cases import Field
from napari_ctvlp.evaluation.protocol import Case, Protocol
from napari_ctvlp.evaluation.reader import Reader
from napari_ctvlp.evaluation.region import on_grid

Report = dict[str, Any]
Mask = NDArray[np.bool_]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Lesion:
    """A case, its field and the voxels that count, the same for every phrase and every model.

    Attributes
    ----------
    case : Case
    field : Field
    gated : ndarray of bool
        Voxels of the field in the gate of the case's main phrase.
    allowed : ndarray of bool
        That gate on the region's 4 mm grid.
    rules : Protocol
    """

    case: Case
    field: Field
    gated: Mask
    allowed: Mask
    rules: Protocol

    @classmethod
    def of(cls, case: Case, field: Field, anatomy: AnatomyMap, rules: Protocol) -> Lesion:
        """Work out the gate of the case's main phrase."""
        phrase = parse(rules.templates.sided.format(phrase=case.phrase, side=case.side))
        grid = field.coarse.shape, field.coarse_affine
        allowed = grounding.gate(phrase, anatomy, *grid)[1]
        return cls(case, field, field.gate(allowed, field.coarse_affine), allowed, rules)

    def sided(self, phrase: str, side: str = "") -> str:
        """Return a phrase with the case's side, or another."""
        return self.rules.templates.sided.format(phrase=phrase, side=side or self.case.side)

    def cells(self, shape: tuple[int, ...], affine: Affine) -> tuple[Mask, Mask]:
        """Return a grid's cells in the reference and within the tolerance, worked out once."""
        kept: dict[Any, tuple[Mask, Mask]] = vars(self).setdefault("_cells", {})
        key = shape, affine.tobytes()
        if key not in kept:
            kept[key] = self.field.near(shape, affine, self.rules.settings.tolerance_mm)
        return kept[key]

    def away(self, point: Sequence[float] | None) -> float:
        """Distance in mm from a point to the reference."""
        return metrics.distance_to_reference(point, self.field.whole, self.field.whole_affine)


def facts(lesion: Lesion, scan: Scan) -> Report:
    """What does not depend on a model: the reference, the field and the baselines."""
    field = lesion.field
    return {
        "name": lesion.case.name,
        "bar": lesion.case.bar,
        "truth": lesion.case.truth,
        "reference_ml": float(field.whole.sum() * scan.voxel_ml),
        "length_mm": field.length_mm,
        "covered": field.covered,
        "voxels": {"region": int(field.region.sum()), "gated": int(lesion.gated.sum())},
        "baselines": _baselines(lesion, scan),
    }


def measure(lesion: Lesion, reader: Reader) -> Report:
    """Measure a model at a lesion: the main phrase, the trained and the held-out phrases."""
    lists = lesion.rules.lists[lesion.case.finding]
    groups = {
        "trained": [phrase_row(lesion, reader, text) for text in lists.trained],
        "held_out": [phrase_row(lesion, reader, text) for text in lists.held_out],
    }
    return {
        "main": main_row(lesion, reader),
        "phrases": groups,
        "means": {name: means(rows, lesion.rules) for name, rows in groups.items()},
    }


def phrase_row(lesion: Lesion, reader: Reader, phrase: str) -> Report:
    """Scores and both peaks of one phrase."""
    heat = reader.product(lesion.sided(phrase))
    raw = reader.raw(phrase)
    values = lesion.field.bring(heat.values, heat.affine)
    grid = reader.grid
    looked = np.isfinite(raw)
    away = lesion.away(heat.peak_ras)
    raw_away = lesion.away(metrics.peak_ras(raw, grid.affine, looked))
    within = lesion.rules.settings.tolerance_mm
    return {
        "phrase": heat.phrase.text,
        **scores(values, lesion),
        "peak": heat.peak,
        "peak_mm": away,
        "peak_hit": away <= within,
        "blobs": metrics.false_blobs(
            heat.values, heat.allowed, *lesion.cells(heat.values.shape, heat.affine)
        ),
        "raw_peak_mm": raw_away,
        "raw_peak_hit": raw_away <= within,
        "raw_blobs": metrics.false_blobs(raw, looked, *lesion.cells(raw.shape, grid.affine)),
        "verdict": heat.verdict,
    }


def main_row(lesion: Lesion, reader: Reader) -> Report:
    """The main phrase in full: also overlap, energy, and where its peak lies."""
    text = lesion.sided(lesion.case.phrase)
    heat = reader.product(text)
    values = lesion.field.bring(heat.values, heat.affine)
    present = _threshold(reader, heat)
    found, truth = lesion.gated & (values >= present), lesion.field.reference & lesion.field.region
    dice = metrics.dice(found, truth) if math.isfinite(present) else math.nan
    rules = lesion.rules.settings
    return {
        **phrase_row(lesion, reader, lesion.case.phrase),
        "iou": metrics.iou_at(values, truth, lesion.gated, rules.iou_thresholds),
        "energy": metrics.energy_pointing(values, truth, lesion.gated),
        "dice": dice,
        "hit": dice >= rules.hit_dice,
        "peak_ras_mm": heat.peak_ras,
    }


def _threshold(reader: Reader, heat: Heatmap) -> float:
    """Return the value from which on a map says that something is there; NaN without one."""
    settings = reader.model.card.settings
    if heat.kind != "probability" and "present" not in settings.get("thresholds", {}):
        return math.nan
    return grounding.Settings.of(settings, heat.phrase.finding).present


def scores(values: Map, lesion: Lesion) -> dict[str, float]:
    """Voxel metrics of any map: in region and gate, and in the whole region."""
    truth, region = lesion.field.reference, lesion.field.region
    return {
        "auroc": metrics.auroc(values, truth, lesion.gated),
        "ap": metrics.average_precision(values, truth, lesion.gated),
        "cnr": metrics.cnr(values, truth, lesion.gated),
        "ungated_auroc": metrics.auroc(values, truth, region),
        "ungated_cnr": metrics.cnr(values, truth, region),
    }


def means(rows: Sequence[Report], rules: Protocol) -> Report:
    """Mean and interval over phrases, and how many peaks hit."""
    values = [row["auroc"] for row in rows if math.isfinite(row["auroc"])]
    mean, low, high = metrics.bootstrap_mean(values, rules.settings.bootstrap)
    return {
        "phrases": len(rows),
        "auroc": mean,
        "auroc_95": [low, high],
        "auroc_lowest": min(values, default=math.nan),
        "cnr": float(np.mean([row["cnr"] for row in rows])),
        "ap": float(np.mean([row["ap"] for row in rows])),
        "peak_hits": sum(row["peak_hit"] for row in rows),
        "raw_peak_hits": sum(row["raw_peak_hit"] for row in rows),
        "blobs_median": float(np.median([row["blobs"] for row in rows])),
        "blobs_most": max(row["blobs"] for row in rows),
        "raw_blobs_median": float(np.median([row["raw_blobs"] for row in rows])),
        "raw_blobs_most": max(row["raw_blobs"] for row in rows),
    }


def _baselines(lesion: Lesion, scan: Scan) -> dict[str, Report]:
    """Random maps, the centre, the HU rule and the blob rule, in the same region and gate."""
    rules, region = lesion.rules.settings, (lesion.field.coarse, lesion.field.coarse_affine)
    drawn = [
        _row(lesion, baselines.random_map(region[0].shape, region[1], seed, rules.random_sigma_mm))
        for seed in range(rules.random_maps)
    ]
    random: Report = {name: float(np.mean([row[name] for row in drawn])) for name in drawn[0]}
    random["auroc_sd"] = float(np.std([row["auroc"] for row in drawn]))
    thick, fine = baselines.hu_heuristic(scan, *region)
    blobs, _ = baselines.blobness(scan, *region)
    largest = baselines.largest_blob(blobs, _gate_on(lesion, blobs.shape, fine))
    return {
        "random": random,
        "centre": _row(lesion, baselines.centre_prior(lesion.allowed & lesion.field.coarse)),
        "hu": _row(lesion, thick, fine),
        "blob": _row(lesion, largest, fine),
    }


def _gate_on(lesion: Lesion, shape: tuple[int, ...], affine: Affine) -> Mask:
    """Return gate and region on another coarse grid."""
    both = lesion.allowed & lesion.field.coarse
    return on_grid(both, lesion.field.coarse_affine, shape, affine)


def _row(lesion: Lesion, values: Map, affine: Affine | None = None) -> Report:
    """Scores of a baseline (by default on the region's grid), its gated peak, its false blobs."""
    grid = lesion.field.coarse_affine if affine is None else affine
    allowed = _gate_on(lesion, values.shape, grid)
    within = lesion.rules.settings.tolerance_mm
    near = lesion.field.near(values.shape, grid, within)
    return {
        **scores(lesion.field.bring(values, grid), lesion),
        "peak_hit": lesion.away(metrics.peak_ras(values, grid, allowed)) <= within,
        "blobs": metrics.false_blobs(values, allowed, *near),
    }
