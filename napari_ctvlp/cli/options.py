"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ctvlp.errors import InputRefused

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


Names = Annotated[
    str,
    typer.Option(
        metavar="PROGRAM|FILE",
        help="What the numbers of --labels mean: totalsegmentator, wholebody, or a JSON file of "
        "label to organ; left out where the file says it.",
    ),
]
#: Programs whose numbering is known.
_PROGRAMS = ("totalsegmentator", "wholebody")


def series_choice(text: str) -> str | int | None:
    """Return a series number, a series UID, or None when nothing was chosen."""
    if not text:
        return None
    return int(text) if text.isdigit() else text


def drawn(labels: Path | None, names: str, scan: Scan, progress: Progress) -> AnatomyMap | None:
    """Return the organs that another program drew, None where a segmenter is to find them.

    Raises
    ------
    InputRefused
        If the file is no segmentation of the scan, or the names cannot be read.
    """
    from napari_ctvlp.engine.labelled import numbered, open_anatomy

    if labels is None:
        return None
    table = numbered(names) if names in _PROGRAMS else _table(names)
    return open_anatomy(labels, scan, names=table, progress=progress)


def _table(names: str) -> dict[str, str]:
    """Read a table of label to organ; a bare number is the label of that number."""
    if not names:
        return {}
    try:
        rows = json.loads(Path(names).read_text(encoding="utf-8")).items()
    except (OSError, ValueError, AttributeError) as error:
        raise InputRefused(
            "bad-names",
            f"{' or '.join(_PROGRAMS)}, or a JSON file of label to organ.",
            f"{names} is neither ({error}).",
            'Write it like {"1": "liver", "2": "spleen"}.',
        ) from None
    return {f"label {key}" if key.isdigit() else key: str(organ) for key, organ in rows}
