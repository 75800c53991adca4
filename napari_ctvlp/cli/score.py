"""``ctvlp score``: findings by anatomy."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from napari_ctvlp.cli.options import Ct, Device, Model, Series, series_choice
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
    series: Series = "",
    device: Device = "auto",
) -> None:
    """Score every finding by anatomy; a row that cannot be judged says why."""
    from napari_ctvlp.engine import export, verbs

    with Outputs(ct) as outputs:
        half = outputs.add(out, (".csv",))
        progress = terminal_progress()
        scan = verbs.open_scan(ct, series=series_choice(series), progress=progress)
        rows = export.score_rows(verbs.score(scan, model=model, device=device, progress=progress))
        with half.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        table = {"model": model, "scan": export.scan_facts(scan), "rows": rows}
        if json_out and json_out != STDOUT:
            outputs.write_json(json_out, table)
    judged = [row for row in rows if row["margin"] is not None]
    say(f"{len(judged)} of {len(rows)} rows could be judged. Highest margins:")
    for row in sorted(judged, key=lambda row: -row["margin"])[:5]:
        say(f"{row['organ']:<14}{row['finding']:<24}{row['margin']:+.3f}")
    if json_out == STDOUT:
        print(as_json(table))
