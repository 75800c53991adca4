"""The report on a user's own folder as tables, and its reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_ctvlp.evaluation.tables import Table, number

Report = Mapping[str, Any]


def tables(report: Report) -> list[Table]:
    """Lay out what a folder showed."""
    return [_findings(report), _reliability(report), _calibration(report)]


def draw(report: Report, path: Path) -> None:
    """Draw the reliability diagram as ``.png``: support told against share that was there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="support told", ylabel="share that was there")
    axes.plot([0, 1], [0, 1], color="0.7")
    bins = report["reliability"]["bins"]
    axes.plot([row["support"] for row in bins], [row["there"] for row in bins], "o-")
    for row in bins:
        axes.annotate(str(row["count"]), (row["support"], row["there"]), fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path)


def _findings(report: Report) -> Table:
    head = ("finding", "there", "not there", "AUROC [95 %]", "drawn", "pointing", "signed CNR",
            "mean IoU", "Dice", "hit rate", "cannot tell")  # fmt: skip
    rows = [
        [name, str(row["there"]), str(row["not_there"]),
         _auroc(row),
         str(row["drawn"]), *(number(row[key], 2) for key in ("pointing", "cnr", "iou", "dice",
                                                            "hit")),
         str(row["cannot_tell"])]
        for name, row in report["findings"].items()
    ]  # fmt: skip
    notes = [f"{report['cases']} CTs of {report['patients']} patients; intervals over patients. "
             "Findings with fewer than 10 of either kind tell little."]  # fmt: skip
    return Table("Your folder", head, rows, notes)


def _auroc(row: Report) -> str:
    if row["auroc"] is None:
        return "-"
    return f"{number(row['auroc'], 2)} [{', '.join(number(x, 2) for x in row['auroc_95'])}]"


def _reliability(report: Report) -> Table:
    found = report["reliability"]
    rows = [[number(r["support"], 2), number(r["there"], 2), str(r["count"])]
            for r in found["bins"]]  # fmt: skip
    notes = [f"ECE {number(found['ece'])}, Brier {number(found['brier'])}."]
    return Table("Reliability", ("support told", "share there", "answers"), rows, notes)


def _calibration(report: Report) -> Table:
    made = report["calibration"]
    if made is None:
        return Table("Thresholds for this folder", ("",), [], [f"None: {report['why']}"])
    rows = [
        [
            number(made["present"]),
            number(made["absent"]),
            f"{made['false_alarm']:.0%}",
            made["made"],
            str(made["scans"]),
            str(made["positives"]),
            str(made["negatives"]),
        ]
    ]
    head = ("present from", "absent under", "false alarms", "made", "patients", "there",
            "not there")  # fmt: skip
    return Table("Thresholds for this folder", head, rows)
