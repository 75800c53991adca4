"""FindingsTable: zero-shot scores by anatomy and finding, and the phrase that asks for a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase, PhraseSide
from napari_ctvlp.core.vocabulary import findings, places
from napari_ctvlp.core.wording import spoken

_SIDES: dict[str, PhraseSide] = {"left": "left", "right": "right"}


@dataclass(frozen=True)
class FindingRow:
    """One finding in one anatomy.

    Attributes
    ----------
    organ, finding : str
        House names.
    present, absent : float
        Similarity of the organ to the positive and the negative pole; NaN when the model
        cannot judge. What the poles are, the table's ``poles`` says.
    margin : float
        ``present - absent``.
    percentile : float
        Of the margin among reference scans, NaN where no reference exists.
    support : str
        Empty, or why the model cannot judge this row.
    probability : float
        The model's own softmax over the two prompts; NaN where it has none. Not calibrated.
    prompts : tuple of str
        What stands behind the two poles: the positive and the negative prompts.
    verdict : {"", "present", "absent", "cannot tell"}
        As :func:`napari_ctvlp.engine.by_organ.finding` answers; ``""`` before it was asked.
    calibrated : float
        Support of that answer, 0..1; NaN without a calibration.
    reason : str
        The answer as a sentence.
    """

    organ: str
    finding: str
    present: float
    absent: float
    margin: float
    percentile: float = float("nan")
    support: str = ""
    probability: float = float("nan")
    prompts: tuple[str, ...] = ()
    verdict: str = ""
    calibrated: float = float("nan")
    reason: str = ""


@dataclass(frozen=True)
class FindingsTable:
    """All rows of one scan.

    Attributes
    ----------
    rows : tuple of FindingRow
    model : str
        Card id.
    scan : str
        Digest of the scan.
    reference : str
        What the percentiles are among, with its size: ``"412 scans of STORE"``; ``""`` for the
        model's own.
    poles : str
        What the two similarities are, as a sentence.
    unit : {"cosine", "logit"}
        What they are measured in.
    """

    rows: tuple[FindingRow, ...]
    model: str
    scan: str
    reference: str = ""
    poles: str = ""
    unit: str = "cosine"


def row_phrase(row: FindingRow) -> str:
    """Return the phrase that asks for a row: "nodule in the left lung"."""
    known, place = findings().get(row.finding), places().get(row.organ)
    if known is not None and place is not None:
        side = _SIDES.get(place.side, "")
        return spoken(Phrase("", known.title, row.finding, row.organ, side))
    finding, organ = row.finding.replace("_", " "), row.organ.replace("_", " ")
    return finding if not organ or organ.lower() in finding else f"{finding} in the {organ}"


def organs_of(row: FindingRow, heat: Heatmap | None, known: Iterable[str]) -> frozenset[str]:
    """Return the organs of an anatomy, among ``known`` names, that a row is about.

    Those of the row's organ or region; for a model's own organ, those its heatmap was searched in.
    """
    place = places().get(row.organ)
    searched = heat.gate.anatomy if heat is not None else ()
    named = (place.members or (place.name,)) if place is not None else searched
    members = (places()[name].members or (name,) for name in named if name in places())
    return frozenset(name for group in members for name in group) & frozenset(known)


def answered(row: FindingRow, heat: Heatmap) -> FindingRow:
    """Return a row with the answer of its heatmap."""
    return replace(row, verdict=heat.verdict, calibrated=heat.support, reason=heat.reason)


def merged(table: FindingsTable, rows: Iterable[FindingRow]) -> FindingsTable:
    """Return a table in which rows of the same organ and finding have these rows' answers."""
    new = {(row.organ, row.finding): row for row in rows}

    def known(row: FindingRow) -> FindingRow:
        other = new.get((row.organ, row.finding))
        if other is None:
            return row
        return replace(row, verdict=other.verdict, calibrated=other.calibrated, reason=other.reason)

    return replace(table, rows=tuple(map(known, table.rows)))
