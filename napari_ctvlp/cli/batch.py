"""``ctvlp batch``: the scans of a folder or manifest into a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_ctvlp.cli.options import Device, Model
from napari_ctvlp.cli.output import as_json, say, terminal_progress
from napari_ctvlp.models.protocol import Progress

#: Without a terminal a line is printed each time so much more is done.
STEP = 0.05
STOPPED = 130


def batch(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A folder, or a manifest (CSV).")],
    *,
    out: Annotated[Path, typer.Option(help="The store: a folder, new or begun.")],
    phrases: Annotated[Path | None, typer.Option(help="Text file, a phrase in each line.")] = None,
    tokens: Annotated[bool, typer.Option(help="Keep tokens and labels for the window.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; as many as fit; 0 for this one.")
    ] = None,
    scheduler: Annotated[str, typer.Option(help="Address of a running Dask scheduler.")] = "",
    retry: Annotated[bool, typer.Option(help="Try again what failed before.")] = False,
    model: Model = "mini",
    segmenter: Annotated[str, typer.Option(help="Card id of the segmenter.")] = "anatomy",
    device: Device = "auto",
) -> None:
    """Segment, encode, score and ground every scan; a scan that fails is a row too.

    The same command goes on where it was stopped, and computes only what is missing or stale.
    """
    from napari_ctvlp.cohort.batch import batch as run

    asked = phrases.read_text(encoding="utf-8").splitlines() if phrases else []
    try:
        report = run(
            source, out, phrases=asked, model=model, segmenter=segmenter, device=device,
            workers=workers, scheduler=scheduler, tokens=tokens, retry=retry, progress=_progress(),
        )  # fmt: skip
    except KeyboardInterrupt:
        say("\nStopped. What was done is in the store; the same command goes on from there.")
        raise typer.Exit(STOPPED) from None
    for note in report.notes:
        say(note)
    say(
        f"{report.found} scans: {report.fresh} were there, {report.done} computed, "
        f"{report.failed} of them failed, in {report.seconds:.0f} s."
    )
    print(as_json(vars(report)))


def _progress() -> Progress:
    """Return one line that changes on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        return terminal_progress()
    told = -STEP

    def show(share: float, words: str) -> None:
        nonlocal told
        if share >= told + STEP or share >= 1.0:
            told = share
            say(f"{share:4.0%} {words}")

    return show
