"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Ct = Annotated[Path, typer.Argument(metavar="CT", help="A NIfTI file or a DICOM folder.")]
Series = Annotated[str, typer.Option(metavar="N|UID", help="Which series of a folder.")]
Model = Annotated[str, typer.Option(help="Card id of the encoder.")]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]


def series_choice(text: str) -> str | int | None:
    """Return a series number, a series UID, or None when nothing was chosen."""
    if not text:
        return None
    return int(text) if text.isdigit() else text
