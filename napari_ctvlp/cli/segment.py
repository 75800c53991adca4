"""``ctvlp segment``: organ labels of a CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_ctvlp.cli.options import Ct, Device, Series, series_choice
from napari_ctvlp.cli.output import NIFTI, STDOUT, Outputs, as_json, say, terminal_progress


def segment(
    ct: Ct,
    *,
    out: Annotated[Path, typer.Option(help="Labels as .nii or .nii.gz.")],
    json_out: Annotated[
        Path | None,
        typer.Option("--json", help="Table of names and ml; beside --out if left out, - prints."),
    ] = None,
    segmenter: Annotated[str, typer.Option(help="Card id of the segmenter.")] = "anatomy",
    series: Series = "",
    device: Device = "auto",
) -> None:
    """Find the organs of a CT and write them in its own frame."""
    from napari_ctvlp.engine import export, verbs
    from napari_ctvlp.io.nifti import save_on_source

    with Outputs(ct) as outputs:
        labels = outputs.add(out, NIFTI)
        progress = terminal_progress()
        scan = verbs.open_scan(ct, series=series_choice(series), progress=progress)
        anatomy = verbs.segment(scan, segmenter, device=device, progress=progress)
        save_on_source(labels, anatomy.labels, scan)
        table = export.anatomy_table(anatomy, scan)
        if json_out != STDOUT:
            outputs.write_json(json_out or export.table_path(out), table)
    for organ in anatomy.organs:
        say(f"{organ.name:<14}{organ.ml:9.1f} ml{'' if organ.complete else '  cut by the edge'}")
    if anatomy.reliability:
        say(anatomy.reliability)
    if json_out == STDOUT:
        print(as_json(table))
