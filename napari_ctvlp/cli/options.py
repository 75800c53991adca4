"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from napari_ctvlp.core.anatomy import AnatomyMap
    from napari_ctvlp.core.scan import Scan
    from napari_ctvlp.models.protocol import Progress

Ct = Annotated[Path, typer.Argument(metavar="CT", help="A NIfTI file or a DICOM folder.")]
Series = Annotated[str, typer.Option(metavar="N|UID", help="Which series of a folder.")]
Model = Annotated[str, typer.Option(help="Card id of the encoder.")]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]
Segmenter = Annotated[str, typer.Option(help="Card id of the segmenter that finds the organs.")]
Labels = Annotated[
    Path | None,
    typer.Option(help="Organs that another program drew: a label map, DICOM SEG or RTSTRUCT."),
]


def series_choice(text: str) -> str | int | None:
    """Return a series number, a series UID, or None when nothing was chosen."""
    if not text:
        return None
    return int(text) if text.isdigit() else text


def drawn(labels: Path | None, scan: Scan, progress: Progress) -> AnatomyMap | None:
    """Return the organs that another program drew, None where a segmenter is to find them."""
    from napari_ctvlp.engine.labelled import open_anatomy

    return None if labels is None else open_anatomy(labels, scan, progress=progress)
