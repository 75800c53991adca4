"""``ctvlp score``: findings by anatomy."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_ctvlp.cli.options import (
    Ct,
    Device,
    Labels,
    Model,
    Names,
    Segmenter,
    Series,
    drawn,
    series_choice,
)
from napari_ctvlp.cli.output import STDOUT, Outputs, as_json, say, terminal_progress

COLUMNS = (
    "organ", "finding", "present", "absent", "margin", "probability", "percentile", "support",
)  # fmt: skip


def score(
    ct: Ct,
    *,
    out: Annotated[Path, typer.Option(help="Scores as .csv.")],
    json_out: Annotated[
        Path | None, typer.Option("--json", help="The same rows as JSON; - prints them.")
    ] = None,
    model: Model = "mini",
    segmenter: Segmenter = "anatomy",
    labels: Labels = None,
    names: Names = "",
    series: Series = "",
    device: Device = "auto",
    answers: Annotated[
        bool, typer.Option("--answers", help="Also answer each row: present, absent, cannot tell.")
    ] = False,
) -> None:
    """Score every finding by anatomy; a row that cannot be judged says why."""
    from napari_ctvlp.engine import by_organ, export, verbs

    with Outputs(ct) as outputs:
        half = outputs.add(out, (".csv",))
        progress = terminal_progress()
        scan = verbs.open_scan(ct, series=series_choice(series), progress=progress)
        anatomy = drawn(labels, names, scan, progress)
        how: dict[str, Any] = {
            "anatomy": anatomy, "model": model, "segmenter": segmenter, "device": device,
            "progress": progress,
        }  # fmt: skip
        table = verbs.score(scan, **how)
        if answers:
            table = by_organ.verdicts(scan, table.rows, **how)
        rows = export.score_rows(table, answers=answers)
        with half.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, (*COLUMNS, *(export.ANSWERED if answers else ())))
            writer.writeheader()
            writer.writerows(rows)
        told = {"model": model, "scan": export.scan_facts(scan), "rows": rows}
        if json_out and json_out != STDOUT:
            outputs.write_json(json_out, told)
    judged = [row for row in rows if row["margin"] is not None]
    say(f"{len(judged)} of {len(rows)} rows could be judged. Highest margins:")
    for row in sorted(judged, key=lambda row: -row["margin"])[:5]:
        say(f"{row['organ']:<14}{row['finding']:<36}{row['margin']:+.3f}{_beside(row)}")
    if any(row["probability"] is not None for row in judged):
        say("Probabilities are those of each finding's prompt pair, uncalibrated.")
    if json_out == STDOUT:
        print(as_json(told))


def _beside(row: dict[str, Any]) -> str:
    """Return a row's probability and percentile in words, where the model has them."""
    told = "" if row["probability"] is None else f"   probability {row['probability']:.3f}"
    if row["percentile"] is not None:
        told += f", about percentile {row['percentile']:.0f}"
    return told
