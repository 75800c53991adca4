"""A report beside what a model says: one row per statement, and where the two disagree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.sentences import CHECKED, sentences
from napari_ctvlp.core.wording import spoken

Polarity = Literal["present", "absent", "uncertain", ""]
Agreement = Literal["agree", "disagree", "cannot tell", "not asked"]


@dataclass(frozen=True)
class ReportRow:
    """One statement of a report, beside the model's answer.

    Attributes
    ----------
    sentence : int
        Counted from 1; a sentence with two findings has two rows.
    section, text : str
    start, end : int
        Where the sentence stands in the report.
    phrase : str
        What was asked: read as the sentence's finding is; ``""`` when nothing was asked.
    finding, anatomy, side, change : str
        As in :class:`~napari_ctvlp.core.phrase.Phrase`.
    size_mm : float or None
    polarity : {"present", "absent", "uncertain", ""}
        What the report says of the finding; ``""`` without one.
    verdict : str
        The model's answer, or ``""``.
    score, support : float
        Peak of the heatmap and calibrated probability; NaN where there is none.
    peak_ras : tuple of float or None
        RAS mm.
    agreement : {"agree", "disagree", "cannot tell", "not asked"}
    reason : str
        Why, in a sentence.
    """

    sentence: int
    section: str
    text: str
    start: int
    end: int
    phrase: str = ""
    finding: str = ""
    anatomy: str = ""
    side: str = ""
    change: str = ""
    size_mm: float | None = None
    polarity: Polarity = ""
    verdict: str = ""
    score: float = math.nan
    support: float = math.nan
    peak_ras: tuple[float, float, float] | None = None
    agreement: Agreement = "not asked"
    reason: str = ""


@dataclass(frozen=True)
class ReportTable:
    """All rows of a report.

    Attributes
    ----------
    rows : tuple of ReportRow
        In reading order.
    model : str
        Card id.
    scan : str
        Digest of the scan.
    """

    rows: tuple[ReportRow, ...]
    model: str
    scan: str


def statements(report: str) -> tuple[ReportRow, ...]:
    """Return the statements of a report before a model was asked, in reading order."""
    return tuple(_rows(report))


def answered(row: ReportRow, heatmap: Heatmap) -> ReportRow:
    """Return a row with the model's answer beside it.

    A doubt in the report is neither confirmed nor denied: the model's answer stands beside it.
    """
    said = {
        ("present", "present"): "agree",
        ("absent", "absent"): "agree",
        ("present", "absent"): "disagree",
        ("absent", "present"): "disagree",
    }.get((row.polarity, heatmap.verdict), "cannot tell")
    agreement: Agreement = "agree" if said == "agree" else "cannot tell"
    if said == "disagree":
        agreement = "disagree"
    start = ""
    if row.polarity == "uncertain":
        start = f"The report leaves it open; the model says {heatmap.verdict}. "
    elif agreement == "disagree":
        start = f"The report says {row.polarity}, the model says {heatmap.verdict}. "
    return replace(
        row,
        verdict=heatmap.verdict,
        score=heatmap.peak,
        support=heatmap.support,
        peak_ras=heatmap.peak_ras,
        agreement=agreement,
        reason=start + heatmap.reason,
    )


def _rows(report: str) -> Iterator[ReportRow]:
    for number, one in enumerate(sentences(report), 1):
        row = ReportRow(number, one.section, one.text, one.start, one.end)
        found = [phrase for phrase in parse(one.text).every if phrase.finding]
        if one.section not in CHECKED:
            yield replace(row, reason=f"The section {one.section} does not speak of this scan.")
        elif not found:
            yield replace(row, reason="The sentence names no finding that the vocabulary knows.")
        for phrase in found if one.section in CHECKED else ():
            yield _stated(row, phrase)


def _stated(row: ReportRow, phrase: Phrase) -> ReportRow:
    polarity: Polarity = "uncertain" if phrase.uncertain else "present"
    return replace(
        row,
        phrase=spoken(replace(phrase, change="")),
        finding=phrase.finding,
        anatomy=phrase.anatomy,
        side=phrase.side,
        change=phrase.change,
        size_mm=phrase.size_mm,
        polarity="absent" if phrase.negated else polarity,
    )
