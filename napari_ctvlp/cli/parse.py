"""``ctvlp parse``: what is understood of a phrase."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from napari_ctvlp.cli.output import as_json


def parse(phrase: Annotated[str, typer.Argument(help="What you would type.")]) -> None:
    """Print what is understood of a phrase: finding, anatomy, side, negation, uncertainty."""
    from napari_ctvlp.core.parser import parse as read

    understood = asdict(read(phrase))
    first = ("finding", "anatomy", "side", "negated", "uncertain")
    rest = (name for name in understood if name not in first)
    print(as_json({name: understood[name] for name in (*first, *rest)}))
