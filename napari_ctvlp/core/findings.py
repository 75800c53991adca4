"""FindingsTable: zero-shot scores by anatomy and finding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FindingRow:
    """One finding in one anatomy.

    Attributes
    ----------
    organ, finding : str
        House names.
    present, absent : float
        Similarity of the organ's vector to the positive and the negative prompt; NaN when the
        model cannot judge.
    margin : float
        ``present - absent``.
    percentile : float
        Of the margin among reference scans, NaN where no reference exists.
    support : str
        Empty, or why the model cannot judge this row.
    probability : float
        The model's own softmax over the two prompts; NaN where it has none. Not calibrated.
    """

    organ: str
    finding: str
    present: float
    absent: float
    margin: float
    percentile: float = float("nan")
    support: str = ""
    probability: float = float("nan")


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
    """

    rows: tuple[FindingRow, ...]
    model: str
    scan: str
    reference: str = ""
