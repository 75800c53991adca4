"""``ctvlp inspect``: what a file or folder holds, before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ctvlp.cli.options import Series, series_choice
from napari_ctvlp.cli.output import as_json, terminal_progress
from napari_ctvlp.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ctvlp.core.scan import Message
    from napari_ctvlp.io.result import ReadResult, Volume

_REFUSED = 3


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An image file or DICOM folder.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="[R,A,S]...", hidden=True)] = None,
    *,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="R,A,S", help="Print the value at this world point (RAS mm)."),
    ] = None,
    series: Series = "",
) -> None:
    """Print volumes, objects, warnings and notices as JSON, all on the stored grids."""
    points = [_point(text) for text in [*(at or []), *(more or [])]]
    from napari_ctvlp.io.read import read_path

    result = read_path(path, series_choice(series), terminal_progress())
    print(as_json(report(result, points)))
    if result.refused is not None:
        typer.echo(str(result.refused), err=True)
        raise typer.Exit(_REFUSED)


def report(result: ReadResult, points: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Return what was read as plain JSON types.

    Parameters
    ----------
    result : ReadResult
        From :func:`napari_ctvlp.io.read.read_path`.
    points : sequence of (r, a, s)
        World points in mm whose values are wanted.
    """
    content: dict[str, Any] = {
        "volumes": [_volume(v, points) for v in result.volumes],
        "objects": list(result.objects),
        "warnings": _messages(result.warnings),
        "notices": _messages(result.notices),
    }
    if result.refused is not None:
        content["error"] = result.refused.as_dict()
    return content


def _volume(volume: Volume, points: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """One volume; a grid of uneven slices has positions instead of an affine."""
    entry: dict[str, Any] = {
        "index": volume.index,
        "series": volume.series,
        "series_uid": volume.uid,
        "modality": volume.modality,
        "n_files": len(volume.files),
        "shape": list(volume.stored_shape),
        "spacing_mm": volume.spacing_mm,
        "orientation": volume.orientation,
        "affine_ras": volume.affine.tolist() if volume.origins is None else None,
        "unit": volume.unit,
        "range": volume.range,
        "samples": [_sample(volume, point) for point in points],
    }
    if volume.origins is not None:
        depth = volume.origins @ volume.affine[:3, 2]
        entry["slice_positions_mm"] = [round(float(d), 4) for d in depth]
        entry["slice_origins_ras"] = volume.origins.tolist()
    if volume.segments:
        entry["segments"] = list(volume.segments)
    return entry


def _sample(volume: Volume, point: tuple[float, float, float]) -> dict[str, Any]:
    """Value of the voxel that holds a point; null outside and where it is not a number."""
    voxel = volume.voxel_at(point)
    if voxel is None:
        return {"ras": list(point), "value": None}
    values = volume.data[voxel]
    if volume.data.ndim == 3:
        return {"ras": list(point), "value": _finite(values)}
    several = [_finite(v) for v in values]
    return {"ras": list(point), "value": several[0], "values": several}


def _finite(value: Any) -> float | None:
    """A number JSON can hold."""
    number = float(value)
    return number if abs(number) < float("inf") else None


def _messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Codes with their words."""
    return [{"code": m.code, "message": m.message} for m in messages]


def _point(text: str) -> tuple[float, float, float]:
    """Parse ``R,A,S`` in mm."""
    try:
        r, a, s = (float(x) for x in text.replace(";", ",").split(","))
    except ValueError:
        raise InputRefused(
            "bad-number",
            "a world point as three numbers, R,A,S in mm.",
            f"'{text[:60]}' is none.",
            "Write it like --at=-12.5,30,-140.",
        ) from None
    return r, a, s
