"""Runs the protocol: every case that is there, the model and three baselines, one report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.grounding import Settings as Thresholds
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation import baselines, metrics, region
from napari_ctvlp.evaluation.cases import Field, field_of, read_labels
from napari_ctvlp.evaluation.protocol import Case, Protocol, Seen, protocol
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Progress, silent

Report = dict[str, Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Reader:
    """A scan with everything the model computed from it once."""

    scan: Scan
    anatomy: AnatomyMap
    encoding: Encoding
    model: str
    device: str

    def ground(self, text: str, *, plain: bool = False) -> Heatmap:
        """Ground a phrase; ``plain`` switches parser and gate off."""
        return verbs.ground(
            self.scan,
            text,
            anatomy=self.anatomy,
            encoding=self.encoding,
            model=self.model,
            gate=not plain,
            parser=not plain,
            device=self.device,
        )


def run(
    folder: Path, *, model: str = "mini", device: str = "auto", progress: Progress = silent
) -> Report:
    """Measure a model on every case of the protocol found under ``folder``.

    Parameters
    ----------
    folder : Path
        Holds one folder per case, each with ``ct.nii.gz`` and its label file.
    model : str
        Card id of an encoder.
    device : {"auto", "cuda", "mps", "cpu"}
    progress : callable

    Returns
    -------
    dict
        ``cases``, ``seen``, ``bars`` and what they were measured with; numbers that do not exist
        are None.

    Raises
    ------
    InputRefused
        If no case is there, or one is not what the protocol says.
    """
    rules = protocol()
    cases = [case for case in rules.cases if (folder / case.name / "ct.nii.gz").is_file()]
    if not cases:
        raise InputRefused(
            "no-cases",
            f"one of these folders: {', '.join(case.name for case in rules.cases)}.",
            f"{folder} holds none of them with a ct.nii.gz.",
            "Name the folder that holds the evaluation cases.",
        )
    rows = []
    for number, case in enumerate(cases):
        progress(number / (len(cases) + 1), case.name)
        rows.append(_case(folder / case.name, case, rules, model, device))
    progress(len(cases) / (len(cases) + 1), "findings without a mask")
    seen = [_seen(folder, item, model, device) for item in rules.seen]
    card = store.card(model)
    report = {
        "protocol": rules.version,
        "region": region.VERSION,
        "model": {"id": card.id, "weights": dict(card.weights)},
        "missing": [case.name for case in rules.cases if case not in cases],
        "cases": rows,
        "seen": [row for row in seen if row],
        "bars": bars(rows, rules),
    }
    progress(1.0, "done")
    plain: Report = _plain(report)
    return plain


def bars(rows: Sequence[Report], rules: Protocol) -> list[Report]:
    """Return the release's bars with what was measured: name, value, needed, passed."""
    limits, found = rules.bars, []
    for row in rows:
        for side, value in row["lungs"].items():
            found.append(_bar(f"{row['name']}: Dice of the {side} lung", value, limits["lungs"]))
        if not row["bar"]:
            continue
        main, base = row["main"], row["baselines"]
        best = max(values["auroc"] for values in base.values())
        name = row["name"]
        worst = limits["auroc_worst"]
        found.append(_bar(f"{name}: AUROC in the frozen region", main["auroc"], worst))
        found.append(_bar(f"{name}: AUROC above every baseline", main["auroc"], best, strict=True))
        near = rules.settings.tolerance_mm - main["peak_mm"]
        found.append(_bar(f"{name}: gated peak within 8 mm (mm to spare)", near, 0.0))
        drop = row["negation"]["asserted"] - row["negation"]["negated"]
        found.append(_bar(f"{name}: 'no ...' peaks lower, parser and gate off", drop, 0, True))
    return found


def _bar(name: str, value: float, needed: float, strict: bool = False) -> Report:
    passed = value > needed if strict else value >= needed
    return {"bar": name, "value": value, "needed": needed, "passed": bool(passed)}


def _read(path: Path, model: str, device: str) -> Reader:
    scan = verbs.open_scan(path)
    anatomy = verbs.segment(scan, device=device)
    return Reader(scan, anatomy, verbs.encode(scan, anatomy, model, device=device), model, device)


def _case(folder: Path, case: Case, rules: Protocol, model: str, device: str) -> Report:
    reader = _read(folder / "ct.nii.gz", model, device)
    labels = read_labels(folder / case.labels, reader.scan)
    field = field_of(reader.scan, np.isin(labels, case.ids))
    lists, sided = rules.lists[case.finding], rules.templates.sided
    first = reader.ground(sided.format(phrase=case.phrase, side=case.side))
    gated = field.gate(first.allowed, first.affine)
    groups = {
        name: [
            _measure(reader, field, sided.format(phrase=phrase, side=case.side), rules)
            for phrase in phrases
        ]
        for name, phrases in (("trained", lists.trained), ("held_out", lists.held_out))
    }
    return {
        "name": case.name,
        "bar": case.bar,
        "truth": case.truth,
        "reference_ml": float(field.whole.sum() * reader.scan.voxel_ml),
        "covered": field.covered,
        "voxels": {"region": int(field.region.sum()), "gated": int(gated.sum())},
        "lungs": {
            side: metrics.dice(reader.anatomy.mask(f"lung_{side}"), labels == number)
            for side, number in case.lungs.items()
        },
        "main": _measure(reader, field, first.phrase.text, rules),
        "baselines": _baselines(reader.scan, field, first, gated, rules),
        "phrases": groups,
        "means": {name: _mean(rows, rules) for name, rows in groups.items()},
        "negation": _negation(reader, case, rules),
        "swaps": {other: _inside(reader, field, other) for other in (case.phrase, *lists.swaps)},
        "unrelated": {text: reader.ground(text).verdict for text in rules.unrelated},
    }


def _measure(reader: Reader, field: Field, text: str, rules: Protocol) -> Report:
    """Ground one phrase and measure it, gated and not."""
    heat = reader.ground(text)
    values = field.bring(heat.values, heat.affine)
    gated = field.gate(heat.allowed, heat.affine)
    anywhere = metrics.peak_ras(heat.values, heat.affine, np.isfinite(heat.values))
    away = [
        metrics.distance_to_reference(point, field.whole, field.whole_affine)
        for point in (heat.peak_ras, anywhere)
    ]
    present = Thresholds.of(store.card(reader.model).settings, heat.phrase.finding).present
    found = gated & (values >= present)
    truth = field.reference & field.region
    near = rules.settings.tolerance_mm
    return {
        "phrase": text,
        **_scores(values, field, gated),
        "iou": metrics.iou_at(values, truth, gated, rules.settings.iou_thresholds),
        "energy": metrics.energy_pointing(values, truth, gated),
        "dice": metrics.dice(found, truth),
        "hit": metrics.hit(found, truth, rules.settings.hit_dice),
        "peak": heat.peak,
        "peak_ras_mm": heat.peak_ras,
        "peak_mm": away[0],
        "peak_hit": away[0] <= near,
        "ungated_peak_mm": away[1],
        "ungated_peak_hit": away[1] <= near,
        "verdict": heat.verdict,
    }


def _scores(values: NDArray[np.float32], field: Field, gated: Mask) -> dict[str, float]:
    """Voxel metrics of any map: in region and gate, and in the whole region."""
    truth = field.reference
    return {
        "auroc": metrics.auroc(values, truth, gated),
        "ap": metrics.average_precision(values, truth, gated),
        "cnr": metrics.cnr(values, truth, gated),
        "ungated_auroc": metrics.auroc(values, truth, field.region),
        "ungated_cnr": metrics.cnr(values, truth, field.region),
    }


def _baselines(
    scan: Scan, field: Field, heat: Heatmap, gated: Mask, rules: Protocol
) -> dict[str, Report]:
    """Random maps, the centre and the HU heuristic, in the same region and gate."""
    grid = heat.values.shape, heat.affine
    drawn = []
    for seed in range(rules.settings.random_maps):
        noise = baselines.random_map(*grid, seed, rules.settings.random_sigma_mm)
        drawn.append(_with_peak(noise, heat.affine, heat.allowed, field, gated, rules))
    random = {name: float(np.mean([row[name] for row in drawn])) for name in drawn[0]}
    random["auroc_sd"] = float(np.std([row["auroc"] for row in drawn]))
    thick, affine = baselines.hu_heuristic(scan, field.coarse, field.coarse_affine)
    return {
        "random": random,
        "centre": _with_peak(
            baselines.centre_prior(gated), field.affine, gated, field, gated, rules
        ),
        "hu": _with_peak(thick, affine, None, field, gated, rules),
    }


def _with_peak(
    values: NDArray[np.float32],
    affine: NDArray[np.float64],
    allowed: Mask | None,
    field: Field,
    gated: Mask,
    rules: Protocol,
) -> Report:
    """Scores of a baseline and whether its gated peak hits."""
    raised = field.bring(values, affine)
    if allowed is None:
        peak = metrics.peak_ras(raised, field.affine, gated)
    else:
        peak = metrics.peak_ras(values, affine, allowed)
    away = metrics.distance_to_reference(peak, field.whole, field.whole_affine)
    return {**_scores(raised, field, gated), "peak_hit": away <= rules.settings.tolerance_mm}


def _mean(rows: Sequence[Report], rules: Protocol) -> Report:
    """Mean and interval over phrases, and how many peaks hit."""
    values = [row["auroc"] for row in rows if math.isfinite(row["auroc"])]
    mean, low, high = metrics.bootstrap_mean(values, rules.settings.bootstrap)
    return {
        "phrases": len(rows),
        "auroc": mean,
        "auroc_95": [low, high],
        "auroc_lowest": min(values),
        "cnr": float(np.nanmean([row["cnr"] for row in rows])),
        "ap": float(np.nanmean([row["ap"] for row in rows])),
        "peak_hits": sum(row["peak_hit"] for row in rows),
        "ungated_peak_hits": sum(row["ungated_peak_hit"] for row in rows),
    }


def _negation(reader: Reader, case: Case, rules: Protocol) -> dict[str, float]:
    """Peaks of the phrase and of its denial with parser and gate off."""
    denial = rules.templates.negated.format(phrase=case.phrase)
    return {
        "asserted": reader.ground(case.phrase, plain=True).peak,
        "negated": reader.ground(denial, plain=True).peak,
    }


def _inside(reader: Reader, field: Field, text: str) -> float:
    """Mean of a phrase's map inside the reference."""
    heat = reader.ground(text)
    values = field.bring(heat.values, heat.affine)[field.reference]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _seen(folder: Path, item: Seen, model: str, device: str) -> Report | None:
    """Verdict and side of the peak of a finding that has no mask."""
    path = folder / item.name / "ct.nii.gz"
    if not path.is_file():
        return None
    reader = _read(path, model, device)
    heat = reader.ground(item.phrase)
    point = heat.peak_ras
    return {
        "name": item.name,
        "phrase": item.phrase,
        "side": item.side,
        "verdict": heat.verdict,
        "peak": heat.peak,
        "peak_ras_mm": point,
    }


def _plain(value: Any) -> Any:
    """Turn numbers that JSON cannot hold into None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
