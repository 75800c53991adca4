"""The absence check on the protocol's real cases: what it says of every finding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation.protocol import Protocol, protocol
from napari_ctvlp.models.protocol import Progress, silent

Report = dict[str, Any]
#: Phrases no chest CT of these can show: parts outside the field and words nobody trained.
IMPOSSIBLE = (
    "fracture of the femur",
    "brain tumour",
    "knee effusion",
    "appendicitis",
    "hip prosthesis",
)


def run(
    folder: Path, model: str = "mini", device: str = "auto", progress: Progress = silent
) -> Report:
    """Ask every case for its own finding, for all others and for impossible ones.

    Returns
    -------
    dict
        ``answers`` (rows) and ``totals`` by what is known: ``"there"`` (contoured or seen),
        ``"not stated"`` and ``"impossible"``. Nobody certified a case free of a finding, so
        "not stated" is no error rate.

    Raises
    ------
    InputRefused
        If no case is there.
    """
    rules = protocol()
    there = [name for name in _known(rules) if (folder / name / "ct.nii.gz").is_file()]
    if not there:
        raise InputRefused(
            "no-cases", f"a folder with {', '.join(_known(rules))}.", f"{folder} holds none.",
            "Give the folder that holds one folder per case, or 'phantoms'.",
        )  # fmt: skip
    rows: list[Report] = []
    for number, name in enumerate(there):
        progress(number / len(there), name)
        scan = verbs.open_scan(folder / name / "ct.nii.gz")
        rows += _asked(name, scan, _known(rules)[name], rules, model, device)
    kinds = ("there", "not stated", "impossible")
    return {"answers": rows, "totals": {kind: _total(rows, kind) for kind in kinds}}


def _known(rules: Protocol) -> dict[str, tuple[str, ...]]:
    """Return the findings known of each case."""
    found: dict[str, tuple[str, ...]] = {}
    for case in rules.cases:
        found[case.name] = (*found.get(case.name, ()), case.finding)
    for seen in rules.seen:
        found[seen.name] = (*found.get(seen.name, ()), *_findings_of(seen.phrase))
    return found


def _findings_of(phrase: str) -> tuple[str, ...]:
    from napari_ctvlp.core.parser import parse

    finding = parse(phrase).finding
    return (finding,) if finding else ()


def _asked(
    name: str, scan: Scan, known: tuple[str, ...], rules: Protocol, model: str, device: str
) -> Iterator[Report]:
    anatomy = verbs.segment(scan, device=device)
    encoding = verbs.encode(scan, anatomy, model, device=device)
    asked = {findings()[n].title: n for n in rules.catalogue} | dict.fromkeys(IMPOSSIBLE, "")
    for phrase, finding in asked.items():
        heat = verbs.ground(
            scan, phrase, anatomy=anatomy, encoding=encoding, model=model, device=device
        )
        kind = "there" if finding in known else "not stated" if finding else "impossible"
        yield {
            "scan": name, "phrase": phrase, "known": kind, "answer": heat.verdict,
            "support": heat.support, "peak": heat.peak, "card": heat.naive, "reason": heat.reason,
        }  # fmt: skip


def _total(rows: list[Report], kind: str) -> Report:
    own = [row for row in rows if row["known"] == kind]
    said = {answer: sum(row["answer"] == answer for row in own)
            for answer in ("present", "absent", "cannot tell")}  # fmt: skip
    card = sum(row["card"] == "present" for row in own)
    return {"asked": len(own), **said, "card present": card}
