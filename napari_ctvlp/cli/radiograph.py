"""``ctvlp radiograph``: where a chest X-ray resembles a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_ctvlp.cli.options import Device
from napari_ctvlp.cli.output import STDOUT, Outputs, as_json, say, terminal_progress


def radiograph(
    image: Annotated[Path, typer.Argument(help="A DX or CR file, a PNG or a JPEG.")],
    phrase: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Map as .npy, float32, NaN where the model did not look.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Numbers; - prints them.")] = None,
    prior: Annotated[
        Path | None, typer.Option(help="An earlier picture of the patient, for biovil_t.")
    ] = None,
    model: Annotated[str, typer.Option(help="biovil_t or biovil.")] = "biovil_t",
    device: Device = "auto",
) -> None:
    """Look for a phrase in a chest X-ray: cosine per pixel and of the whole picture."""
    import numpy as np

    from napari_ctvlp.engine.radiographs import ground_radiograph, open_radiograph

    with Outputs(image) as outputs:
        half = outputs.add(out, (".npy",)) if out else None
        progress = terminal_progress()
        picture = open_radiograph(image)
        for message in picture.warnings:
            say(message.message)
        earlier = open_radiograph(prior) if prior else None
        found = ground_radiograph(
            picture, phrase, model, prior=earlier, device=device, progress=progress
        )
        if half:
            with half.open("wb") as file:
                np.save(file, found.values)
        row, column = found.peak_index
        numbers = {
            "model": found.model, "phrase": phrase, "shape": list(picture.shape),
            "view": picture.view, "score": found.score, "peak": found.peak,
            "peak_row_column": [row, column], "compared": bool(found.prior),
        }  # fmt: skip
        if json_out and json_out != STDOUT:
            outputs.write_json(json_out, numbers)
    say(f"Highest cosine {found.peak:.3f} in row {row}, column {column}.")
    say(f"The whole picture: {found.score:.3f}. No threshold is known for this model.")
    if json_out == STDOUT:
        print(as_json(numbers))
