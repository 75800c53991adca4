"""``ctvlp train`` on the user's own studies: check, prepare, finetune, apply; and fetch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_ctvlp.cli.options import Model
from napari_ctvlp.cli.output import say, terminal_progress

own = typer.Typer(no_args_is_help=True, help="Train on your own studies.")

Manifest = Annotated[Path, typer.Option("--data", help="manifest.csv or a CT-RATE-like folder.")]
Organs = Annotated[str, typer.Option(help="Regions to judge, with commas between.")]
LUNGS = "lung_left,lung_right"


@own.command("check-data")
def check_data(
    *,
    data: Manifest,
    labels: Annotated[bool, typer.Option(help="Ask for labels, not for reports.")] = False,
) -> None:
    """Check a manifest: every problem is listed at once, nothing is trained."""
    from napari_ctvlp.training.manifest import read_manifest

    studies = read_manifest(data, "labels" if labels else "report", progress=terminal_progress())
    say(f"{len(studies)} studies of {len({study.patient for study in studies})} patients are fine")


@own.command("prepare-data")
def prepare_data(
    *,
    data: Manifest,
    out: Annotated[Path, typer.Option(help="Folder that receives the prepared studies.")],
    segmenter: Annotated[str, typer.Option(help="Finds lungs, airways and bones.")] = "anatomy",
) -> None:
    """Check a manifest and prepare its studies for training with their own reports."""
    from napari_ctvlp.training.manifest import read_manifest
    from napari_ctvlp.training.studies import prepare_studies

    studies = read_manifest(data, progress=terminal_progress())
    made = prepare_studies(studies, out, segmenter=segmenter, progress=terminal_progress())
    say(f"{len(made)} studies with {sum(len(s.sentences) for s in made)} sentences prepared")


@own.command()
def finetune(
    *,
    data: Manifest,
    out: Annotated[Path, typer.Option(help="Folder that receives head and card.")],
    model: Model = "mini",
    mode: Annotated[
        str, typer.Option(help="frozen: linear head; tuned: last layers too.")
    ] = "tuned",
    organs: Organs = LUNGS,
    seed: Annotated[int, typer.Option(help="Of folds, heads and mirroring.")] = 0,
) -> None:
    """Fit heads for the labels of a manifest, on the embedded or a hosted encoder."""
    from napari_ctvlp.training.headfile import fit_manifest

    tuned = fit_manifest(
        data, out, model=model, mode=mode, organs=organs.split(","), seed=seed,
        progress=terminal_progress(),
    )  # fmt: skip
    print(json.dumps(tuned.report, indent=2))


@own.command("apply-head")
def apply_head(
    head: Annotated[Path, typer.Argument(help="Folder of a fitted head.")],
    ct: Annotated[Path, typer.Argument(help="A CT.")],
    *,
    model: Model = "mini",
) -> None:
    """Print the probability of every label of a fitted head for one CT, with its spread."""
    from napari_ctvlp.training.headfile import apply_to

    rows = apply_to(head, ct, model=model)
    print(json.dumps({name: {"p": p, "spread": s} for name, (p, s) in rows.items()}, indent=2))


@own.command()
def fetch(
    folder: Annotated[Path, typer.Argument(help="Receives one folder of DICOM per CT.")],
    *,
    only: Annotated[str, typer.Option(help="Names of training CTs, with commas between.")] = "",
    dry: Annotated[bool, typer.Option(help="Only print sources and licences.")] = False,
) -> None:
    """Fetch the public originals of the training CTs from their archive (needs idc-index)."""
    from napari_ctvlp.training import fetch as originals

    names = [name for name in only.split(",") if name]
    print(originals.plan(folder, names))
    if not dry:
        originals.fetch(folder, names, progress=terminal_progress())
