"""The bars of the release: what was measured, what is needed, whether it is reached."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from napari_ctvlp.evaluation.protocol import Protocol

Report = dict[str, Any]
#: Names of the baselines whose AUROC the model must beat on every case.
RIVALS = {"hu": "the HU rule", "centre": "the centre prior", "blob": "the blob rule"}


def bars(
    rows: Sequence[Report], seen: Sequence[Report], facts: Mapping[str, Report], rules: Protocol
) -> list[Report]:
    """Judge one model.

    Parameters
    ----------
    rows : sequence of dict
        One per contoured case, as the runner measures it.
    seen : sequence of dict
        One per finding seen by eye.
    facts : mapping of case name to dict
        What does not depend on the model, the baselines among it.
    rules : Protocol

    Returns
    -------
    list of dict
        ``bar``, ``value``, ``needed``, ``passed``; a value that does not exist is NaN and fails.
    """
    judged = [row for row in rows if facts[row["name"]]["bar"]]
    found = [*_means(judged, rules), *_pointing(rows, rules)]
    for row in judged:
        found += _against(row, facts[row["name"]], rules)
    for row in rows:
        found += _words(row, rules)
    for row in seen:
        found += _seen(row, rules)
    return found


def bar(name: str, value: float, needed: float, *, strict: bool = False) -> Report:
    """Judge one number; ``strict`` asks for more than ``needed``."""
    passed = value > needed if strict else value >= needed
    return {"bar": name, "value": float(value), "needed": float(needed), "passed": bool(passed)}


def at_most(name: str, value: float, needed: float) -> Report:
    """Judge a number that must not be higher than ``needed``."""
    return {
        "bar": name,
        "value": float(value),
        "needed": float(needed),
        "most": True,
        "passed": bool(value <= needed),
    }


def _means(rows: Sequence[Report], rules: Protocol) -> Iterator[Report]:
    """Mean AUROC over cases, trained and held-out, and the lowest case of both."""
    if not rows:
        return
    for group in ("trained", "held_out"):
        values = [row["means"][group]["auroc"] for row in rows]
        phrases = group.replace("_", "-")
        mean = f"AUROC, {phrases} phrases, mean of {len(rows)} cases"
        yield bar(mean, sum(values) / len(values), rules.bars[f"auroc_{group}"])
        worst = math.nan if any(map(math.isnan, values)) else min(values)
        yield bar(f"AUROC, {phrases} phrases, lowest case", worst, rules.bars["auroc_worst"])


def _pointing(rows: Sequence[Report], rules: Protocol) -> Iterator[Report]:
    """Share of (case, trained phrase) pairs whose peak hits, raw and by the product's rule."""
    pairs = [phrase for row in rows for phrase in row["phrases"]["trained"]]
    if not pairs:
        return
    for key, rule in (("raw_peak_hit", "raw_hits"), ("peak_hit", "product_hits")):
        name = "raw peaks" if key.startswith("raw") else "product peaks"
        share = sum(bool(pair[key]) for pair in pairs) / len(pairs)
        yield bar(f"{name} that hit, of {len(pairs)} pairs", share, rules.bars[rule])


def _against(row: Report, fact: Report, rules: Protocol) -> Iterator[Report]:
    """One bar case: above each baseline, contrast to noise."""
    name, means = row["name"], row["means"]["trained"]
    for rival, words in RIVALS.items():
        needed = fact["baselines"][rival]["auroc"]
        yield bar(f"{name}: AUROC above {words}", means["auroc"], needed, strict=True)
    yield bar(f"{name}: signed CNR", means["cnr"], rules.bars["cnr"])


def _words(row: Report, rules: Protocol) -> Iterator[Report]:
    """Any contoured case: false blobs, denial, finding type, side."""
    name = row["name"]
    most = row["means"]["trained"]["blobs_most"]
    yield at_most(f"{name}: false blobs above the lesion, most", most, rules.bars["false_blobs"])
    yield bar(f"{name}: 'no ...' lower, in SDs", row["negation"]["sds"], rules.bars["negation_sds"])
    rank = row["ranking"]
    rival = f"{name}: mass or nodule above all others ({rank['rival']})"
    yield bar(rival, rank["margin"], 0.0, strict=True)
    yield bar(f"{name}: the named side wins, gate off", row["sides"]["gate_off"], 1.0)
    yield bar(f"{name}: the wrong side scores lower, gate on", row["sides"]["gate_on"], 1.0)


def _seen(row: Report, rules: Protocol) -> Iterator[Report]:
    """A finding seen by eye: box, rank over the whole scan, denial."""
    name = f"{row['name']}, {row['phrase']}"
    if "box" in row:
        yield bar(f"{name}: peak in the box", float(row["box"]["plain"]), 1.0)
    if "whole_scan" in row:
        for other, lead in row["whole_scan"]["leads"].items():
            yield bar(f"{name}: whole scan, above {other}", lead, 0.0, strict=True)
    yield bar(f"{name}: 'no ...' lower, in SDs", row["negation"]["sds"], rules.bars["negation_sds"])
