"""A draft report: sentences by organ with what stands behind them, and what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_ctvlp.core.findings import FindingRow, FindingsTable, row_phrase
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.vocabulary import concepts, findings, places

_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
HEAD = (
    "DRAFT, computed by {model} for research. It is no reading and no diagnosis: every sentence "
    "is the answer of a model to one question and has to be checked on the images."
)


@dataclass(frozen=True)
class DraftLine:
    """What a model answers for one finding in one organ.

    Attributes
    ----------
    organ, finding : str
        House names.
    phrase : str
        What was asked.
    verdict : {"present", "absent", "cannot tell"}
    score, support : float
        Peak of the heatmap and calibrated probability; NaN where there is none.
    margin, percentile : float
        Of the findings table.
    peak_ras : tuple of float or None
        RAS mm.
    reason : str
        Why, in a sentence.
    """

    organ: str
    finding: str
    phrase: str
    verdict: str
    score: float
    support: float
    margin: float
    percentile: float
    peak_ras: tuple[float, float, float] | None
    reason: str


@dataclass(frozen=True)
class Draft:
    """A draft report.

    Attributes
    ----------
    lines : tuple of DraftLine
        By organ, in the order of the findings table.
    unsupported : tuple of FindingRow
        What the table could not judge, with the reason.
    model : str
        Card id.
    scan : str
        Digest of the scan.
    """

    lines: tuple[DraftLine, ...]
    unsupported: tuple[FindingRow, ...]
    model: str
    scan: str


def asked(table: FindingsTable) -> Iterator[tuple[FindingRow, str]]:
    """Yield the rows of a findings table that a draft speaks of, each with its phrase.

    Unions ("opacity") are left out: their members have lines of their own.
    """
    unions = {concept.name for concept in concepts() if concept.kind == "union"}
    for row in table.rows:
        known = findings().get(row.finding)
        if known is not None and not row.support and known.concept not in unions:
            yield row, row_phrase(row)


def line(row: FindingRow, phrase: str, heatmap: Heatmap) -> DraftLine:
    """Return a row of the findings table with the heatmap's answer."""
    return DraftLine(
        row.organ, row.finding, phrase, heatmap.verdict, heatmap.peak, heatmap.support,
        row.margin, row.percentile, heatmap.peak_ras, heatmap.reason,
    )  # fmt: skip


def draft_text(draft: Draft) -> str:
    """Return a draft as plain text: one heading per organ, one sentence per answer.

    What the model found and what it did not find are sentences with their number; what it
    cannot tell is listed by name with the number that did not suffice.
    """
    parts = [HEAD.format(model=draft.model)]
    for organ in dict.fromkeys(one.organ for one in draft.lines):
        mine = [one for one in draft.lines if one.organ == organ]
        title = _organ(organ)
        parts.append("\n".join([f"{title[:1].upper()}{title[1:]}", *_sentences(mine)]))
    if draft.unsupported:
        names = (f"{_name(r.finding)} ({_organ(r.organ)})" for r in draft.unsupported)
        parts.append(f"Not judged: {', '.join(names)}.")
    return "\n\n".join(parts) + "\n"


def _sentences(lines: Sequence[DraftLine]) -> Iterator[str]:
    for one in lines:
        if one.verdict == "present":
            name = _name(one.finding)
            yield f"{name[:1].upper()}{name[1:]} [{_evidence(one)}]."
    for one in lines:
        if one.verdict == "absent":
            yield f"No {_name(one.finding)} [{_evidence(one)}]."
    open_ones = [f"{_name(o.finding)} [{_number(o)}]" for o in lines if o.verdict == "cannot tell"]
    if open_ones:
        yield f"Cannot tell: {', '.join(open_ones)}."


def _evidence(one: DraftLine) -> str:
    """Return the numbers behind a sentence: support, peak and its place, the table's margin."""
    parts = [_number(one)]
    if one.verdict == "present" and one.peak_ras is not None:
        pairs = zip(one.peak_ras, _LETTERS, strict=True)
        at = ", ".join(f"{letters[n < 0]} {abs(n):.0f}" for n, letters in pairs)
        parts.append(f"peak at {at} mm")
    if not math.isnan(one.margin):
        parts.append(f"margin {one.margin:+.2f}")
    return "; ".join(parts)


def _number(one: DraftLine) -> str:
    if not math.isnan(one.support):
        return f"support {one.support:.2f}, value {one.score:.2f}"
    return "no value" if math.isnan(one.score) else f"value {one.score:.2f}"


def _organ(name: str) -> str:
    """Return the title of a house organ; an encoder's own organ keeps its name."""
    known = places().get(name)
    return known.title if known is not None else name.replace("_", " ")


def _name(finding: str) -> str:
    known = findings().get(finding)
    return known.title if known is not None else finding.replace("_", " ")
