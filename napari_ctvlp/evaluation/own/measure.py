"""Measures a model on a user's own folder, by the published definitions of each number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.engine import calibrations, verbs
from napari_ctvlp.engine.export import heatmap_on_scan
from napari_ctvlp.engine.jobs import part
from napari_ctvlp.engine.saving import threshold_mask
from napari_ctvlp.evaluation import metrics
from napari_ctvlp.evaluation.absence.fit import fit
from napari_ctvlp.evaluation.absence.pairs import Pair
from napari_ctvlp.evaluation.own.cases import Case, read
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Progress, silent

Report = dict[str, Any]
#: Thresholds of BioViL's mean IoU, in the map's own unit.
IOU_AT = (0.1, 0.2, 0.3, 0.4, 0.5)
#: Bins of the reliability diagram, and draws of the bootstrap.
BINS, DRAWS = 10, 2000
#: Cases of each kind that a calibration needs at least.
LEAST = 10


def run(
    folder: Path,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
    segmenter: str = "anatomy",
) -> Report:
    """Measure a model on a folder.

    Returns
    -------
    dict
        ``findings``: per finding counts, AUROC with its interval over patients, pointing, CNR,
        IoU, Dice and hit rate where something was drawn; ``reliability``; ``rows``: every answer;
        ``calibration``: thresholds for this folder with date and counts, or None and ``why``.

    Raises
    ------
    InputRefused
        If the table is not what it should be.
    """
    cases, rows, pairs = read(folder), [], []
    for number, case in enumerate(cases):
        share = _share(progress, number, len(cases), case.ct.name)
        for row, pair in _measured(case, model, device, segmenter, share):
            rows.append(row)
            pairs.append(pair)
    names = list(dict.fromkeys(row["finding"] for row in rows))
    report: Report = {
        "model": model,
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "findings": {n: _finding([r for r in rows if r["finding"] == n]) for n in names},
        "reliability": reliability(rows),
        "rows": rows,
    }
    progress(1.0, "done")
    return report | _calibrated(pairs, model, folder, len(cases))


def auroc_by_patient(
    scores: Sequence[float], there: Sequence[bool], patients: Sequence[str], seed: int = 0
) -> tuple[float, float, float]:
    """AUROC with its 95 % percentile interval over patients (Efron 1979).

    Draws without both kinds are left out.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(there, np.bool_)
    names = np.asarray(patients)
    own = [np.flatnonzero(names == name) for name in np.unique(names)]
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        chosen = np.concatenate([own[n] for n in rng.integers(0, len(own), len(own))])
        area = _auroc(values[chosen], truth[chosen])
        if math.isfinite(area):
            drawn.append(area)
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (math.nan, math.nan)
    return _auroc(values, truth), float(low), float(high)


def reliability(rows: Sequence[Mapping[str, Any]]) -> Report:
    """Predicted against observed, by bins of support; empty without a calibration.

    Returns
    -------
    dict
        ``bins`` (mean support, share there, count), ``ece`` (Naeini et al. 2015) and ``brier``.
    """
    judged = [row for row in rows if math.isfinite(row["support"]) and not row["doubt"]]
    if not judged:
        return {"bins": [], "ece": math.nan, "brier": math.nan}
    told = np.array([row["support"] for row in judged])
    there = np.array([row["there"] for row in judged], np.float64)
    place = np.minimum((told * BINS).astype(int), BINS - 1)
    bins = [
        {"support": float(told[place == n].mean()), "there": float(there[place == n].mean()),
         "count": int((place == n).sum())}
        for n in np.unique(place)
    ]  # fmt: skip
    ece = sum(row["count"] * abs(row["support"] - row["there"]) for row in bins) / len(judged)
    return {"bins": bins, "ece": float(ece), "brier": float(((told - there) ** 2).mean())}


def _share(progress: Progress, number: int, count: int, name: str) -> Progress:
    """Return the progress of one case, told with its place and name."""

    def report(share: float, stage: str) -> None:
        progress((number + share) / count, f"{number + 1} of {count}, {name}: {stage}")

    return report


def _measured(
    case: Case, model: str, device: str, segmenter: str, progress: Progress
) -> Iterator[tuple[Report, Pair]]:
    scan = verbs.open_scan(case.ct, progress=part(progress, 0.0, 0.05))
    anatomy = verbs.segment(scan, segmenter, device=device, progress=part(progress, 0.05, 0.5))
    encoding = verbs.encode(scan, anatomy, model, device=device, progress=part(progress, 0.5, 0.95))
    for name, there in case.labels.items():
        progress(0.95, name)
        heat = verbs.ground(
            scan, findings()[name].title, anatomy=anatomy, encoding=encoding, model=model,
            device=device,
        )  # fmt: skip
        row = {
            "ct": case.ct.name, "patient": case.patient, "finding": name, "there": there,
            "answer": heat.verdict, "support": heat.support, "peak": heat.peak,
            "doubt": heat.doubt,
        }  # fmt: skip
        if there:
            row |= _placed(case, name, scan, heat)
        yield row, _pair(case, name, there, heat, anatomy)


def _placed(case: Case, finding: str, scan: Scan, heat: Heatmap) -> Report:
    """Measure the map of a finding that was drawn."""
    drawn = case.reference(finding, scan)
    if drawn is None or not drawn.any():
        return {}
    values = heatmap_on_scan(heat, scan)
    field: NDArray[np.bool_] = np.isfinite(values)
    limit = store.card(heat.model).settings.get("thresholds", {}).get("present", 0.5)
    found = threshold_mask(heat, scan, limit) > 0
    return {
        "pointing": bool(metrics.distance_to_reference(heat.peak_ras, drawn, scan.affine) <= 0.5
                         * float(np.linalg.norm(scan.spacing))),
        "distance_mm": metrics.distance_to_reference(heat.peak_ras, drawn, scan.affine),
        "cnr": metrics.cnr(values, drawn, field),
        "iou": metrics.iou_at(values, drawn, field, IOU_AT),
        "dice": metrics.dice(found, drawn),
        "hit": metrics.hit(found, drawn),
    }  # fmt: skip


def _pair(case: Case, finding: str, there: bool, heat: Heatmap, anatomy: AnatomyMap) -> Pair:
    from napari_ctvlp.core.extent import cut_organs

    return Pair(
        case.patient, finding, there, heat.peak, 0.5, heat.clues, heat.doubt,
        cut_organs(heat.phrase, anatomy), heat.naive,
    )  # fmt: skip


def _finding(rows: Sequence[Report]) -> Report:
    scores = [r["support"] if math.isfinite(r["support"]) else r["peak"] for r in rows]
    there = [r["there"] for r in rows]
    area, low, high = auroc_by_patient(scores, there, [r["patient"] for r in rows])
    drawn = [row for row in rows if "dice" in row]
    keys = ("pointing", "cnr", "iou", "dice", "hit")
    means = {key: _mean([float(row[key]) for row in drawn]) for key in keys}
    said = [row["answer"] for row in rows]
    return {
        "there": sum(there), "not_there": len(there) - sum(there), "auroc": area,
        "auroc_95": [low, high], "drawn": len(drawn), **means,
        "cannot_tell": said.count("cannot tell"),
    }  # fmt: skip


def _calibrated(pairs: Sequence[Pair], model: str, folder: Path, cts: int) -> Report:
    """Fit thresholds to the folder, where it holds enough of both kinds and two patients."""
    used = [pair for pair in pairs if pair.clues and not pair.doubt]
    kinds = [sum(pair.there == kind for pair in used) for kind in (True, False)]
    patients = len({pair.scan for pair in used})
    if min(kinds) < LEAST or patients < 2:
        why = (
            f"{kinds[0]} there and {kinds[1]} not there in {patients} patients are too few: "
            f"{LEAST} of each kind and two patients are needed."
        )
        return {"calibration": None, "why": why}
    digest = calibrations.weights_of(store.card(model))
    source = f"own folder {folder.name}: {cts} CTs of {patients} patients"
    return {"calibration": asdict(fit(used, model, digest, source)), "why": ""}


def _auroc(scores: NDArray[np.float64], there: NDArray[np.bool_]) -> float:
    return metrics.auroc(scores, there, np.ones(len(there), np.bool_))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
