"""``ctvlp evaluate``: the frozen protocol on a folder of cases, or on painted findings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ctvlp.cli.options import Device, Model
from napari_ctvlp.cli.output import Outputs, early, say, terminal_progress
from napari_ctvlp.errors import InputRefused

if TYPE_CHECKING:
    from napari_ctvlp.training.data import Chest

#: Given instead of a folder: findings painted into the validation CTs; the absence check.
SYNTHETIC, ABSENCE, PHANTOMS = "synthetic", "absence", "phantoms"
#: What a folder may be.
CASES, STORE, OWN = "a folder of cases", "a store", "a folder with labels.csv"
Report = dict[str, Any]
#: Options that each kind of evaluation reads; all of them take ``device`` and ``out``.
READS = {
    CASES: {"markdown", "previous", "seeds", "segmenter", "model"},
    SYNTHETIC: {"markdown", "previous", "seeds", "data", "each", "model"},
    ABSENCE: {"cases", "png", "markdown", "data", "each", "model"},
    STORE: {"calibrate"},
    OWN: {"png", "calibrate", "markdown", "segmenter", "model"},
}


def evaluate(
    ctx: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|synthetic|absence",
            help="One folder per case, your own with labels.csv, a store; or painted findings.",
        ),
    ],
    cases: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR|phantoms]", help="Of 'absence': cases, or painted CTs."),
    ] = None,
    *,
    png: Annotated[
        Path | None,
        typer.Option(callback=early(".png"), help="Risk by coverage, or reliability, as .png."),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option(help="Answer by thresholds of your own folder from now on.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(callback=early(".json"), help="All numbers as .json.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(callback=early(".md"), help="The tables as .md.")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Older weights and their card, beside.")
    ] = None,
    seeds: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Weights of another seed; repeat.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Prepared CTs, for 'synthetic': those of role validation.")
    ] = None,
    each: Annotated[int, typer.Option(help="Scans per painted finding, for 'synthetic'.")] = 3,
    segmenter: Annotated[str, typer.Option(help="Card id of the segmenter.")] = "anatomy",
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """Measure a model on the protocol's cases, beside four baselines and older weights."""
    from napari_ctvlp.evaluation import runner, tables

    kind = _kind(folder)
    _refuse_unread(ctx, kind)
    if kind == ABSENCE:
        from napari_ctvlp.cli.evaluate_absence import absence

        chests = validation_chests(data) if str(cases) == PHANTOMS else []
        absence(cases, model, device, chests, each, out=out, markdown=markdown, png=png)
        return
    if kind == STORE:
        from napari_ctvlp.cli.evaluate_store import from_store

        from_store(folder, device, calibrate=calibrate, out=out)
        return
    if kind == OWN:
        from napari_ctvlp.cli.evaluate_own import own

        own(folder, model, device, segmenter, calibrate, out=out, markdown=markdown, png=png)
        return
    sets = runner.load_sets(model, device, previous, seeds or ())
    with Outputs(folder) as outputs:
        if kind == SYNTHETIC:
            report = _synthetic(data, each, sets)
        else:
            report = runner.run(
                folder, sets, device=device, segmenter=segmenter, progress=terminal_progress()
            )
        laid_out = tables.tables(report)
        if out:
            outputs.write_json(out, report)
        if markdown:
            half = outputs.add(markdown, (".md",))
            half.write_text(tables.markdown(laid_out) + "\n", encoding="utf-8")
    print(tables.text(laid_out))


def _kind(folder: Path) -> str:
    """Tell which of :data:`READS` is asked for."""
    if str(folder) in (SYNTHETIC, ABSENCE):
        return str(folder)
    if (folder / "store.json").is_file():
        return STORE
    return OWN if (folder / "labels.csv").is_file() else CASES


def _refuse_unread(ctx: typer.Context, kind: str) -> None:
    """Refuse options that this kind of evaluation would not read."""
    read = READS[kind] | {"folder", "device", "out"}
    sources = {name: ctx.get_parameter_source(name) for name in set(ctx.params) - read}
    given = sorted(name for name, source in sources.items() if source and source.name != "DEFAULT")
    if given:
        named = ", ".join("a second folder" if n == "cases" else f"--{n}" for n in given)
        raise InputRefused(
            "unread-option", f"options that evaluating {kind} reads.", f"{named} came too.",
            "Leave them out; 'ctvlp evaluate --help' lists what there is.",
        )  # fmt: skip


def _synthetic(data: Path | None, each: int, sets: Any) -> Report:
    """Paint findings into the validation CTs and measure every set of weights on them."""
    from napari_ctvlp.evaluation.runner import run_synthetic
    from napari_ctvlp.training.unseen import samples

    chests = validation_chests(data)
    say(f"Painting {each} scans per finding into {len(chests)} CTs.")
    return run_synthetic(samples(chests, each), sets)


def validation_chests(data: Path | None) -> list[Chest]:
    """Load the prepared validation CTs of a folder.

    Raises
    ------
    InputRefused
        If it holds none.
    """
    from napari_ctvlp.training.data import Chest, cases

    names = [case.name for case in cases("validation")]
    chests = [Chest.load(data / f"{n}.npz") for n in names if data and (data / f"{n}.npz").exists()]
    if not chests:
        raise InputRefused(
            "no-chests",
            f"--data, a folder of prepared CTs with {' or '.join(names)}.",
            f"{data} holds none of them.",
            "Make one with 'ctvlp train prepare'.",
        )
    return chests
