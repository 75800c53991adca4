"""Rows of mini's findings table: what cannot be judged, and why; what the user has added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.findings import FindingRow
from napari_ctvlp.core.vocabulary import findings, shipped

#: A lung that is cut by the field of view and smaller than this cannot be judged, in ml.
LEAST_CUT_ML = 400.0
NOT_TAUGHT = "The model was not trained to judge this finding here."
POLES = (
    "Present: mean logit of the finding over the organ, weighted toward where it is highest. "
    "Absent: the level half way between organs with and without it, fitted in training."
)


def why_not(organ: str, encoding: Encoding, anatomy: AnatomyMap) -> str:
    """Why an organ cannot be judged, or an empty text."""
    words = organ.replace("_", " ")
    if organ not in encoding.organs:
        return f"The {words} is not in this scan."
    found = anatomy.by_name.get(organ)
    if found is not None and not found.complete and found.ml < LEAST_CUT_ML:
        return f"Only {found.ml:.0f} ml of the {words} is in this scan."
    return ""


def prompts_of(finding: str) -> tuple[str, ...]:
    """Return what stands behind the two poles of a finding."""
    known = shipped().get(finding)
    title = known.title if known is not None else finding.replace("_", " ")
    return (f"the concept {title!r}, as taught", f"its level in training, half way to no {title}")


def own_rows(rows: Sequence[FindingRow]) -> list[FindingRow]:
    """Return rows of the user's own findings: as the concept they are taken for, or not judged."""
    known = {(row.organ, row.finding): row for row in rows}
    names = {row.concept: row.name for row in shipped().values() if row.concept}
    found = []
    for own in (row for row in findings().values() if row.name not in shipped()):
        for organ in own.organs:
            base = known.get((organ, names.get(own.concept, "")))
            why = f"The model was not taught {own.title}."
            found.append(
                replace(base, finding=own.name) if base else unjudged(organ, own.name, why)
            )
    return found


def unjudged(organ: str, finding: str, reason: str) -> FindingRow:
    """Return a row that says why there is no answer."""
    nan = float("nan")
    return FindingRow(organ, finding, nan, nan, nan, support=reason or "The organ has no vector.")
