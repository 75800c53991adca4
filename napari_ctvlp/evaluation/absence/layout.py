"""The report of ``ctvlp evaluate absence`` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_ctvlp.evaluation.tables import Table, number

Report = Mapping[str, Any]
#: Coverages at which the curve is printed.
COVERAGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def tables(report: Report) -> list[Table]:
    """Lay out what painted scans showed."""
    return [_false_support(report), _answers(report), _curve(report), _findings(report)]


def folder_tables(report: Report) -> list[Table]:
    """Lay out what the cases of a folder answered."""
    rows = [
        [row["scan"], row["phrase"], row["known"], row["answer"], number(row["support"], 2),
         number(row["peak"], 2), row["card"], row["reason"]]
        for row in report["answers"]
    ]  # fmt: skip
    head = ("scan", "phrase", "known", "answer", "support", "peak", "by the card", "why")
    told = [
        [known, str(n["asked"]), str(n["present"]), str(n["absent"]), str(n["cannot tell"]),
         str(n["card present"])]
        for known, n in report["totals"].items()
    ]  # fmt: skip
    total = (
        "known of the scan",
        "asked",
        "present",
        "absent",
        "cannot tell",
        "present by the card",
    )
    return [Table("Answers", head, rows), Table("In all", total, told)]


def _false_support(report: Report) -> Table:
    made = report["calibration"]
    notes = [
        f"{report['in_view']} of {report['pairs']} questions have their organ in view; "
        f"{report['positives']} findings are there, in {report['scans']} CTs.",
        f"Calibrated {made['made']} on {made['source']}: {made['scans']} CTs, {made['positives']} "
        f"there, {made['negatives']} not; false alarms {made['false_alarm']:.0%}.",
        "Intervals over painted scans; the naive rate less the check's: "
        f"{_ends(report['gain'])} (above 0: lower for sure).",
    ]
    rows = [
        [name, number(row["rate"]), _ends(row["interval"]), number(row["auroc"])]
        for name, row in report["false_support"].items()
    ]
    head = ("by", f"false support at {report['sensitivity']:.0%} sensitivity", "95 %", "AUROC")
    return Table("Does an absent finding get support?", head, rows, notes)


def _ends(interval: Sequence[float | None]) -> str:
    return " to ".join(number(end) for end in interval)


def _answers(report: Report) -> Table:
    head = ("by", "cannot tell", "error outside it", "absent called present",
            "present called absent", "present called present")  # fmt: skip
    keys = ("cannot_tell", "error", "false_present", "false_absent", "present_found")
    rows = [[name, *(number(row[key]) for key in keys)] for name, row in report["answers"].items()]
    return Table("Three answers", head, rows)


def _curve(report: Report) -> Table:
    rows = [
        [name, *(number(_at(curve, share)) for share in COVERAGES)]
        for name, curve in report["curves"].items()
    ]
    head = ("error among answered, by", *(f"{share:.0%} answered" for share in COVERAGES))
    return Table("Risk by coverage", head, rows)


def _at(curve: Mapping[str, Sequence[float]], share: float) -> float | None:
    """Return the error of the first point that answers at least this share."""
    for covered, error in zip(curve["coverage"], curve["error"], strict=True):
        if covered >= share - 1e-9:
            return error
    return None


def _findings(report: Report) -> Table:
    kinds = ("present", "cannot tell", "absent")
    rows = [
        [name, *(" / ".join(str(row[word][kind]) for kind in kinds) for word in row)]
        for name, row in report["findings"].items()
    ]
    head = ("finding", "there: present / cannot tell / absent", "not there: the same")
    return Table("By finding", head, rows)
