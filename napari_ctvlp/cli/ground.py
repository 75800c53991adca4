"""``ctvlp ground``: a phrase becomes a heatmap and an answer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ctvlp.cli.options import (
    Ct,
    Device,
    Labels,
    Model,
    Names,
    Segmenter,
    Series,
    drawn,
    series_choice,
)
from napari_ctvlp.cli.output import NIFTI, STDOUT, Outputs, as_json, say, terminal_progress

if TYPE_CHECKING:
    from napari_ctvlp.core.heatmap import Heatmap
    from napari_ctvlp.core.scan import Scan


class Maps(StrEnum):
    """What the values are, for a model that has several kinds of map."""

    SPLIT = "split"
    COSINE = "cosine"


class Grid(StrEnum):
    """Which grid the heatmap is written on."""

    SCAN = "scan"
    TOKENS = "tokens"


def ground(
    ct: Ct,
    phrase: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Heatmap as .nii or .nii.gz.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Numbers and verdict; - prints them.")
    ] = None,
    grid: Annotated[Grid, typer.Option(help="Grid of the written heatmap.")] = Grid.SCAN,
    gate: Annotated[bool, typer.Option(help="Search only where the phrase says.")] = True,
    parser: Annotated[bool, typer.Option(help="Understand side and negation.")] = True,
    several: Annotated[bool, typer.Option(help="Mean of several wordings, or as typed.")] = True,
    maps: Annotated[Maps | None, typer.Option(help="Kind of map, where there are several.")] = None,
    model: Model = "mini",
    segmenter: Segmenter = "anatomy",
    labels: Labels = None,
    names: Names = "",
    series: Series = "",
    device: Device = "auto",
) -> None:
    """Look for a phrase in a CT: heatmap, peak in RAS mm, verdict, shares per organ."""
    from napari_ctvlp.engine import export, verbs

    with Outputs(ct) as outputs:
        half = outputs.add(out, NIFTI) if out else None
        progress = terminal_progress()
        scan = verbs.open_scan(ct, series=series_choice(series), progress=progress)
        anatomy = drawn(labels, names, scan, progress)
        heatmap = verbs.ground(
            scan, phrase, anatomy=anatomy, model=model, gate=gate, parser=parser, several=several,
            maps=maps or "", segmenter=segmenter, device=device, progress=progress,
        )  # fmt: skip
        if half:
            _save(half, heatmap, scan, grid)
        stats = export.heatmap_stats(heatmap, scan)
        if json_out and json_out != STDOUT:
            outputs.write_json(json_out, stats)
    _summarise(stats)
    if json_out == STDOUT:
        print(as_json(stats))


def _save(path: Path, heatmap: Heatmap, scan: Scan, grid: Grid) -> None:
    from napari_ctvlp.engine.export import heatmap_on_scan
    from napari_ctvlp.io.nifti import save_ipl, save_on_source

    if grid is Grid.TOKENS:
        save_ipl(path, heatmap.values, heatmap.affine)
    else:
        save_on_source(path, heatmap_on_scan(heatmap, scan), scan)


def _summarise(stats: dict[str, Any]) -> None:
    """Say the answer in a few lines."""
    say(f"{stats['verdict']}: {stats['reason']}")
    say(stats["gate"]["words"])
    if stats["peak_ras_mm"] is None:
        say("Nothing may be searched, so there is no peak.")
        return
    x, y, z = stats["peak_ras_mm"]
    say(f"Peak {stats['peak']:.3f} at R {x:.1f}, A {y:.1f}, S {z:.1f} mm.")
    if len(stats["wordings"]) > 1:
        values = [row["value"] for row in stats["wordings"]]
        flips = "; the answer depends on the wording" if stats["flips"] else ""
        say(f"Over {len(values)} wordings {min(values):.3f} to {max(values):.3f}{flips}.")
    shares = sorted(stats["shares"].items(), key=lambda item: -item[1])[:5]
    if shares:
        say("Share of the heatmap: " + ", ".join(f"{name} {share:.0%}" for name, share in shares))
