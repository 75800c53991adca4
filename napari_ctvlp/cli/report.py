"""``ctvlp report`` and ``ctvlp draft``: a report beside a scan, and sentences from one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ctvlp.cli.options import Ct, Device, Model, Series, series_choice
from napari_ctvlp.cli.output import STDOUT, Outputs, as_json, say, terminal_progress
from napari_ctvlp.errors import InputRefused

if TYPE_CHECKING:
    from napari_ctvlp.core.checking import ReportTable

Json = Annotated[Path | None, typer.Option("--json", help="The same as JSON; - prints it.")]


def report(
    ct: Ct,
    text: Annotated[Path, typer.Argument(metavar="REPORT", help="A report as .txt; - reads it.")],
    *,
    out: Annotated[Path | None, typer.Option(help="The rows as .csv.")] = None,
    json_out: Json = None,
    gate: Annotated[bool, typer.Option(help="Search only where a sentence says.")] = True,
    model: Model = "mini",
    series: Series = "",
    device: Device = "auto",
) -> None:
    """Check a report against a CT: polarity, place, score per sentence, and disagreements."""
    from napari_ctvlp.engine import export, reporting, verbs

    words = _read(text)
    with Outputs(ct, text) as outputs:
        half = outputs.add(out, (".csv",)) if out else None
        progress = terminal_progress()
        scan = verbs.open_scan(ct, series=series_choice(series), progress=progress)
        table = reporting.report(
            scan, words, model=model, gate=gate, device=device, progress=progress
        )
        if half:
            half.write_text(reporting.report_csv(table), encoding="utf-8")
        facts = {
            "model": model, "scan": export.scan_facts(scan),
            "rows": [export.plain(row) for row in table.rows],
        }  # fmt: skip
        if json_out and json_out != STDOUT:
            outputs.write_json(json_out, facts)
    if json_out == STDOUT:
        print(as_json(facts))
    else:
        _show(table)


def draft(
    ct: Ct,
    *,
    out: Annotated[Path | None, typer.Option(help="The draft as .txt.")] = None,
    json_out: Json = None,
    model: Model = "mini",
    series: Series = "",
    device: Device = "auto",
) -> None:
    """Write a draft report by organ, each sentence with its number; abstains where it must."""
    from napari_ctvlp.core.drafting import draft_text
    from napari_ctvlp.engine import export, reporting, verbs

    with Outputs(ct) as outputs:
        half = outputs.add(out, (".txt",)) if out else None
        progress = terminal_progress()
        scan = verbs.open_scan(ct, series=series_choice(series), progress=progress)
        written = reporting.draft(scan, model=model, device=device, progress=progress)
        words = draft_text(written)
        if half:
            half.write_text(words, encoding="utf-8")
        facts = {"scan": export.scan_facts(scan), "text": words, "draft": export.plain(written)}
        if json_out and json_out != STDOUT:
            outputs.write_json(json_out, facts)
    print(as_json(facts) if json_out == STDOUT else words, end="\n" if json_out else "")


def _read(path: Path) -> str:
    """Return the text of a report.

    Raises
    ------
    InputRefused
        If there is no such file or it is no text.
    """
    try:
        return sys.stdin.read() if path == STDOUT else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputRefused(
            "not-a-report",
            "a report as a text file in UTF-8.",
            f"{path.name} cannot be read: {type(error).__name__}.",
            "Save the report as plain text, or give - and paste it.",
        ) from None


def _show(table: ReportTable) -> None:
    """Print the rows: what the report says, what the model says, whether they agree."""
    for row in table.rows:
        said = f"{row.polarity or '-':<10}{row.verdict or '-':<12}{row.agreement:<12}"
        print(f"{row.sentence:>3} {said}{row.text}")
        if row.phrase:
            value = "-" if row.score != row.score else f"{row.score:.2f}"
            print(f"    {row.phrase} [{value}]: {row.reason}")
    split = sum(row.agreement == "disagree" for row in table.rows)
    asked = sum(bool(row.phrase) for row in table.rows)
    say(f"{asked} statements asked, {split} disagree. For research; not a diagnosis.")
