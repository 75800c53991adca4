"""``ctvlp view``: the window, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from napari_ctvlp.cli.options import Ct
from napari_ctvlp.errors import InputRefused


def view(
    ct: Ct,
    wait: Annotated[bool, typer.Option(help="Return when the window is closed.")] = True,
) -> None:
    """Open a CT in the reading room."""
    if not ct.exists():
        raise InputRefused(
            "missing-file",
            "a NIfTI file or a DICOM folder.",
            f"There is no {ct}.",
            "Look at the path and try again.",
        )
    command = [sys.executable, "-m", "napari_ctvlp.ui", "view", str(ct)]
    if wait:
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    subprocess.Popen(command)
