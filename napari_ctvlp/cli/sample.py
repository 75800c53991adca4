"""``ctvlp sample``: data to try things with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_ctvlp.cli.output import NIFTI, Outputs, say


class Sample(StrEnum):
    """What there is."""

    CHEST_CT = "chest-ct"
    PHANTOM = "phantom"


def sample(
    name: Annotated[Sample, typer.Argument(help="Which sample.")],
    out: Annotated[Path | None, typer.Option(help="Where to write it, .nii or .nii.gz.")] = None,
) -> None:
    """Print the path of a sample, after writing it to --out if given."""
    from napari_ctvlp.core.resources import sample_folder

    if name is Sample.CHEST_CT:
        path = sample_folder() / "ct.nii.gz"
        say("LIDC-IDRI-0001, a chest CT with a nodule in the left lower lobe (CC BY 3.0).")
        if out:
            _write(lambda half: shutil.copyfile(path, half), out, path)
        print(out or path)
    else:
        target = out or Path("phantom.nii.gz")
        _write(_phantom, target)
        print(target)


def _phantom(path: Path) -> None:
    from napari_ctvlp.core.phantom import phantom
    from napari_ctvlp.io.nifti import save_on_source

    scan = phantom()
    save_on_source(path, scan.hu, scan)


def _write(make: Callable[[Path], object], out: Path, *inputs: Path) -> None:
    with Outputs(*inputs) as outputs:
        make(outputs.add(out, NIFTI))
