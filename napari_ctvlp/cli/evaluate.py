"""``ctvlp evaluate``: the frozen protocol on a folder of cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_ctvlp.cli.options import Device, Model
from napari_ctvlp.cli.output import Outputs, terminal_progress


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds one folder per case.")],
    *,
    out: Annotated[Path | None, typer.Option(help="All numbers as .json.")] = None,
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """Measure a model on the protocol's cases: one table, beside three baselines."""
    from napari_ctvlp.evaluation.runner import run
    from napari_ctvlp.evaluation.tables import table

    with Outputs(folder) as outputs:
        report = run(folder, model=model, device=device, progress=terminal_progress())
        if out:
            outputs.write_json(out, report)
    print(table(report))
