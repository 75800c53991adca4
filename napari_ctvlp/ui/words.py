"""Nouns in plain sentences, for docks and the demo's terminal."""

from __future__ import annotations

import math
from html import escape
from itertools import groupby

from napari_ctvlp.core.findings import FindingRow
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.ui.palette import organ_title


def chip_words(phrase: Phrase, part: str) -> str:
    """Return what a chip says of a part of a phrase."""
    if part == "finding":
        known = findings().get(phrase.finding)
        return known.title if known is not None else "free text"
    if part == "anatomy":
        return organ_title(phrase.anatomy) if phrase.anatomy else "anywhere"
    if part == "side":
        return {"": "either side", "both": "both sides"}.get(phrase.side, phrase.side)
    if part == "negated":
        return "denied" if phrase.negated else "asserted"
    if part == "uncertain":
        return "left open" if phrase.uncertain else "certain"
    return "any size" if phrase.size_mm is None else f"{phrase.size_mm:g} mm"


def marked_words(phrase: Phrase) -> str:
    """Return a phrase as rich text: cues bold, what they act on underlined."""
    cues = [span for span in phrase.spans if span.scope is not None]
    shown = {n for span in phrase.spans for n in range(span.start, span.end)}
    acted = {n for span in cues for n in range(*(span.scope or (0, 0)))}
    out = []
    kinds = ((n in shown, n in acted) for n in range(len(phrase.text)))
    for (bold, line), run in groupby(zip(kinds, phrase.text, strict=True), lambda pair: pair[0]):
        text = escape("".join(letter for _, letter in run))
        text = f"<b>{text}</b>" if bold else text
        out.append(f"<u>{text}</u>" if line else text)
    others = ", ".join(one.finding.replace("_", " ") for one in phrase.also)
    return "".join(out) + (f"<br>Also in it: {others}." if others else "")


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
    lines += wording_words(heatmap)
    return " ".join(lines)


def wording_words(heatmap: Heatmap) -> list[str]:
    """Return how far the wordings of a phrase lie apart, and whether the answer hangs on them."""
    values = [wording.value for wording in heatmap.wordings]
    if len(values) < 2:
        return []
    told = f"Over {len(values)} wordings {min(values):.2f} to {max(values):.2f}"
    return [told + ("; the answer depends on the wording." if heatmap.flips else ".")]


def finding_phrase(row: FindingRow) -> str:
    """Return the phrase that grounds a row of the findings table."""
    finding = row.finding.replace("_", " ")
    organ = organ_title(row.organ)
    return finding if organ.lower() in finding else f"{finding} in the {organ}"
