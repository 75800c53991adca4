"""Painted findings in CTs nobody trained on: pointing, finding type, presence, words.

Who paints is no matter of this module: it takes scans with one known finding each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.regions import side_of
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.evaluation import metrics
from napari_ctvlp.evaluation.bars import bar
from napari_ctvlp.evaluation.cases import near_cells
from napari_ctvlp.evaluation.protocol import Protocol
from napari_ctvlp.evaluation.reader import Reader
from napari_ctvlp.evaluation.words import OTHER, mass_share, mean_in

Report = dict[str, Any]
#: Anatomies of the abdomen, for its own pointing bar.
ABDOMEN = (
    "liver", "gallbladder", "spleen", "pancreas", "stomach", "kidney_left", "kidney_right",
    "abdomen",
)  # fmt: skip
#: A scan painted with the second is no example of the first being absent.
ALSO = {"nodule": ("calcified_nodule",), "effusion": ()}
LARGE_MM, SMALL_MM = 10.0, (5.0, 10.0)


@dataclass(frozen=True)
class Sample:
    """A scan with at most one painted finding.

    Attributes
    ----------
    scan : Scan
    anatomy : AnatomyMap
    name : str
        The CT it was painted into.
    finding, organ, side : str
        What was painted; empty when nothing was.
    size_mm : float
        NaN for a diffuse finding.
    truth : ndarray, shape (i, p, l), bool
        On the scan's grid.
    """

    scan: Scan
    anatomy: AnatomyMap
    name: str
    finding: str
    organ: str
    side: str
    size_mm: float
    truth: NDArray[np.bool_]


def trial(sample: Sample, reader: Reader, rules: Protocol) -> Report:
    """Ask for every finding of the catalogue in a wording kept from training.

    Returns
    -------
    dict
        ``peaks``: per finding the highest value in its region, on the patient's left, right and
        anywhere; with a painted finding ``means``: per finding the mean over its cells, and what
        :func:`_pointed` and :func:`_worded` add.
    """
    row: Report = {
        "scan": sample.name,
        "finding": sample.finding,
        "organ": sample.organ,
        "side": sample.side,
        "size_mm": sample.size_mm,
    }
    painted = bool(sample.finding)
    peaks, means = {}, {}
    places: dict[Any, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    for name, wording in rules.catalogue.items():
        heat = reader.product(wording.held_out[0])
        key = heat.values.shape, heat.affine.tobytes()
        if key not in places:
            places[key] = _place(sample, heat, rules)
        across, inside = places[key]
        seen = np.where(heat.allowed & np.isfinite(heat.values), heat.values, -np.inf)
        sides = {"left": seen[across > 0], "right": seen[across < 0], "": seen}
        peaks[name] = {side: float(values.max(initial=-np.inf)) for side, values in sides.items()}
        if painted:
            means[name] = mean_in(heat.values, inside)
    row["peaks"] = peaks
    if painted:
        row |= {"means": means, **_pointed(sample, reader, rules), **_worded(sample, reader, rules)}
    return row


def _place(
    sample: Sample, heat: Heatmap, rules: Protocol
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a map's cells by their mm to the patient's left, and those in what was painted."""
    grid = heat.values.shape, heat.affine
    within = rules.settings.tolerance_mm
    inside, _ = near_cells(sample.truth, sample.scan.affine, *grid, within)
    return side_of(sample.anatomy, *grid), inside


def _pointed(sample: Sample, reader: Reader, rules: Protocol) -> Report:
    """Hits of the held-out wordings, by the product's rule and raw."""
    hits: list[bool] = []
    raw_hits: list[bool] = []
    for text in rules.catalogue[sample.finding].held_out:
        heat, raw = reader.product(text), reader.raw(text)
        for found, point in (
            (hits, heat.peak_ras),
            (raw_hits, metrics.peak_ras(raw, reader.grid.affine, np.isfinite(raw))),
        ):
            away = metrics.distance_to_reference(point, sample.truth, sample.scan.affine)
            found.append(away <= rules.settings.tolerance_mm)
    return {"hits": hits, "raw_hits": raw_hits}


def _worded(sample: Sample, reader: Reader, rules: Protocol) -> Report:
    """Stability of the map over wordings, and whether a named side wins, parser and gate off."""
    wording = rules.catalogue[sample.finding]
    main = reader.plain(wording.phrase).values
    others = [reader.plain(text).values for text in wording.held_out]
    stable = [metrics.correlation(main, values, reader.grid.valid) for values in others]
    row: Report = {"stability": float(np.mean(stable))}
    if sample.side in OTHER:
        across = side_of(sample.anatomy, main.shape, reader.grid.affine)
        for key, side in (("true_side", sample.side), ("swapped_side", OTHER[sample.side])):
            values = reader.plain(f"{wording.phrase} on the {side} side").values
            row[key] = mass_share(values, reader.grid.valid, across, side) > 0.5
    return row


def summary(trials: Sequence[Report], rules: Protocol) -> Report:
    """Sum trials up: by finding, and what the bars need."""
    painted = [row for row in trials if row["finding"]]
    rows = {
        name: _finding([row for row in painted if row["finding"] == name], name, trials)
        for name in rules.catalogue
        if any(row["finding"] == name for row in painted)
    }
    groups = {
        "large": [row for row in painted if not _abdominal(row) and not row["size_mm"] <= LARGE_MM],
        "small": [row for row in painted if row["finding"] == "nodule" and _small(row)],
        "abdomen": [row for row in painted if _abdominal(row)],
    }
    sided = [row for row in painted if "true_side" in row]
    return {
        "scans": len(trials),
        "findings": rows,
        "not_painted": [name for name in rules.catalogue if name not in rows],
        "pointing": {name: _hits(found, rules) for name, found in groups.items()},
        "swaps": {
            "stability": _average(row["stability"] for row in painted),
            "true_side": _average(row["true_side"] for row in sided),
            "swapped_side": _average(row["swapped_side"] for row in sided),
            "suppression": _average(_suppression(row) for row in painted),
        },
    }


def synthetic_bars(found: Mapping[str, Any], rules: Protocol) -> list[Report]:
    """Judge a summary: pointing by group, finding type, presence."""
    rows = found["findings"]
    judged = [
        bar(f"painted, pointing, {name}", row["hits"], rules.bars[f"pointing_{name}"])
        for name, row in found["pointing"].items()
    ]
    first = [row["first"] for row in rows.values()]
    presence = [area for row in rows.values() for area in row["presence"].values()]
    return [
        *judged,
        bar("painted, finding type right, mean", _average(first), rules.bars["type_mean"]),
        bar("painted, finding type right, least", min(first), rules.bars["type_least"]),
        bar("painted, presence AUROC, mean", _average(presence), rules.bars["presence"]),
    ]


def _finding(own: Sequence[Report], name: str, trials: Sequence[Report]) -> Report:
    """One finding: hits, type, what it is taken for, presence by anatomy."""
    called = [max(row["means"], key=row["means"].__getitem__) for row in own]
    wrong = [other for other in called if other != name]
    organs = dict.fromkeys(row["organ"] for row in own)
    return {
        "scans": len(own),
        "hits": _average(hit for row in own for hit in row["hits"]),
        "raw_hits": _average(hit for row in own for hit in row["raw_hits"]),
        "first": _average(other == name for other in called),
        "taken_for": max(wrong, key=wrong.count) if wrong else "",
        "presence": {organ: presence(name, organ, trials) for organ in organs},
    }


def presence(name: str, organ: str, trials: Sequence[Report]) -> float:
    """AUROC of a finding's peak on the organ's side: painted there against not painted there.

    Scans painted with the finding in another organ count as negatives on this organ's side
    only when the organ has one.
    """
    side = organ.rpartition("_")[2] if organ.rpartition("_")[2] in OTHER else ""
    scores, labels = [], []
    for row in trials:
        here = row["finding"] == name and row["organ"] == organ
        same = row["finding"] == name and not here
        if row["finding"] in ALSO.get(name, ()) or (same and not (side and row["side"] != side)):
            continue
        scores.append(row["peaks"][name][side])
        labels.append(here)
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.bool_)
    return metrics.auroc(values, truth, np.ones(len(truth), dtype=np.bool_))


def _hits(rows: Sequence[Report], rules: Protocol) -> Report:
    """Share of hits with its interval over scans."""
    if not rows:
        return {"scans": 0, "hits": math.nan, "hits_95": [math.nan, math.nan], "raw_hits": math.nan}
    shares = [float(np.mean(row["hits"])) for row in rows]
    mean, low, high = metrics.bootstrap_mean(shares, rules.settings.bootstrap)
    raw = _average(hit for row in rows for hit in row["raw_hits"])
    return {"scans": len(rows), "hits": mean, "hits_95": [low, high], "raw_hits": raw}


def _suppression(row: Report) -> float:
    """1 - mean of the other findings' maps in the painted one."""
    return 1 - _average(mean for name, mean in row["means"].items() if name != row["finding"])


def _abdominal(row: Report) -> bool:
    return row["organ"] in ABDOMEN


def _small(row: Report) -> bool:
    return bool(SMALL_MM[0] <= row["size_mm"] <= SMALL_MM[1])


def _average(values: Iterator[Any] | Sequence[Any]) -> float:
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else math.nan
