"""Nouns in plain sentences, for docks and the demo's terminal."""

from __future__ import annotations

import math

from napari_ctvlp.core.findings import FindingRow
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.ui.palette import organ_title


def parsed_words(phrase: Phrase) -> str:
    """Return what was understood of a phrase, part by part."""
    parts = [f"finding: {phrase.finding.replace('_', ' ') or 'free text'}"]
    if phrase.anatomy:
        parts.append(f"anatomy: {organ_title(phrase.anatomy)}")
    if phrase.side:
        parts.append(f"side: {phrase.side}")
    parts += [f"location: {words}" for words in phrase.location]
    if phrase.size_mm is not None:
        parts.append(f"size: {phrase.size_mm:.0f} mm")
    if phrase.negated:
        parts.append("negated")
    if phrase.uncertain:
        parts.append("uncertain")
    return " | ".join(parts)


def peak_words(heatmap: Heatmap) -> str:
    """Return where the peak is, in RAS mm and in letters, and how high."""
    peak = heatmap.peak_ras
    if peak is None:
        return "No place could be searched."
    letters = (("R", "L"), ("A", "P"), ("S", "I"))
    spoken = ", ".join(
        f"{pair[0] if value >= 0 else pair[1]} {abs(value):.0f}"
        for value, pair in zip(peak, letters, strict=True)
    )
    numbers = ", ".join(f"{value:.1f}" for value in peak)
    return f"Peak {heatmap.peak:.2f} at RAS ({numbers}) mm, that is {spoken} mm."


def verdict_words(heatmap: Heatmap) -> str:
    """Return the verdict with its margin and its place among neutral phrases."""
    if heatmap.phrase.negated:
        lines = [heatmap.reason or "Not asserted: the map shows where it was looked for."]
        if not math.isnan(heatmap.margin):
            lines.append(f"Absence margin {heatmap.margin:+.2f}.")
    else:
        lines = [f"{heatmap.verdict.capitalize()}. {heatmap.reason}".strip()]
        if not math.isnan(heatmap.margin):
            lines.append(f"Margin to the decision threshold {heatmap.margin:+.2f}.")
    if not math.isnan(heatmap.background.p_value):
        count = len(heatmap.background.values)
        lines.append(f"p = {heatmap.background.p_value:.2f} among {count} neutral phrases.")
    return " ".join(lines)


def finding_phrase(row: FindingRow) -> str:
    """Return the phrase that grounds a row of the findings table."""
    finding = row.finding.replace("_", " ")
    organ = organ_title(row.organ)
    return finding if organ.lower() in finding else f"{finding} in the {organ}"
