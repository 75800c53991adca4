"""``ctvlp evidence``: where an answer comes from, and whether its map can be trusted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_ctvlp.cli.options import Ct, Device, Model
from napari_ctvlp.cli.output import (
    NIFTI,
    STDOUT,
    Outputs,
    as_json,
    early,
    say,
    terminal_progress,
)
from napari_ctvlp.errors import InputRefused

if TYPE_CHECKING:
    from napari_ctvlp.core.anatomy import AnatomyMap
    from napari_ctvlp.core.checks import Curves
    from napari_ctvlp.core.scan import Scan
    from napari_ctvlp.engine.evidence.probe import Probe

evidence = typer.Typer(no_args_is_help=True, help="Ask where an answer comes from, and test it.")

Words = Annotated[str, typer.Argument(metavar="PHRASE", help="What is looked for.")]
At = Annotated[tuple[float, float, float], typer.Option("--at", help="R A S in mm.")]
Out = Annotated[
    Path | None,
    typer.Option(callback=early(*NIFTI), help="Map as .nii or .nii.gz, with its affine."),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", callback=early(".json"), help="Numbers as .json; - prints them."),
]


@evidence.command()
def pieces(
    ct: Ct,
    phrase: Words,
    *,
    level: Annotated[float, typer.Option(help="Threshold in the map's own unit.")] = 0.5,
    least: Annotated[float, typer.Option(help="Drop smaller pieces, in ml.")] = 0.0,
    out: Out = None,
    json_out: Json = None,
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """Cut the map at a threshold: pieces with ml, mm, peak and mean HU, saved as labels."""
    from napari_ctvlp.engine import verbs
    from napari_ctvlp.engine.evidence import places

    scan, anatomy = _open(ct, device)
    heat = verbs.ground(scan, phrase, anatomy=anatomy, model=model, device=device)
    labels, found = places.pieces(heat, scan, level, least)
    with Outputs(ct) as outputs:
        if out:
            places.save_pieces(outputs.add(out, NIFTI), labels, scan)
        _told({"level": level, "pieces": found}, json_out, outputs)
    for piece in found:
        x, y, z = piece.peak_ras
        say(f"{piece.id}: {piece.ml:.2f} ml, {piece.mm:.0f} mm, peak {piece.peak:.3f} at "
            f"R {x:.0f} A {y:.0f} S {z:.0f}, mean {piece.mean_hu:.0f} HU")  # fmt: skip
    if not found:
        say("Nothing reaches this threshold.")


@evidence.command(context_settings={"ignore_unknown_options": True})
def words(
    ct: Ct,
    *,
    at: At,
    among: Annotated[list[str] | None, typer.Option(help="Words to compare; repeat.")] = None,
    json_out: Json = None,
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """List the words that one place resembles most."""
    from napari_ctvlp.engine import verbs
    from napari_ctvlp.engine.evidence import places

    probe, scan, anatomy = _start(ct, "nodule", model, device)
    encoding = verbs.encode(scan, anatomy, model, device=device)
    found = places.words_at(probe.encoder, encoding, at, among or ()).words
    with Outputs(ct) as outputs:
        _told({"at": at, "words": dict(found)}, json_out, outputs)
    for word, score in found:
        say(f"{score:+.2f}  {word}")
    if not found:
        say("The model did not look at this place.")


@evidence.command()
def phrase(
    ct: Ct, phrase: Words, *, json_out: Json = None, model: Model = "mini", device: Device = "auto"
) -> None:
    """Weigh the words of a phrase: how much its similarity falls without each."""
    from napari_ctvlp.engine.evidence.wording import driving_words

    found = driving_words(*_start(ct, phrase, model, device))
    for word, fall in found:
        say(f"{fall:+.3f}  {word}")
    with Outputs(ct) as outputs:
        rows = [{"word": word, "fall": fall} for word, fall in found]
        _told({"phrase": phrase, "words": rows}, json_out, outputs)


@evidence.command(context_settings={"ignore_unknown_options": True})
def similar(
    ct: Ct,
    *,
    at: At,
    out: Out = None,
    json_out: Json = None,
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """Map how much every place resembles one place: cosine of tokens, no words."""
    import numpy as np

    from napari_ctvlp.engine import verbs
    from napari_ctvlp.engine.evidence import places

    scan, anatomy = _open(ct, device)
    encoding = verbs.encode(scan, anatomy, model, device=device)
    values = places.resembling(encoding, at)
    with Outputs(ct) as outputs:
        _save(out, values, encoding.grids[0].affine, outputs)
        _told({"at": at, "mean": float(np.nanmean(values))}, json_out, outputs)


@evidence.command()
def locality(
    ct: Ct, *, json_out: Json = None, model: Model = "mini", device: Device = "auto"
) -> None:
    """Correlate how places resemble each other before and after projection beside text."""
    from napari_ctvlp.engine.evidence import places

    probe, scan, anatomy = _start(ct, "nodule", model, device)
    found = places.locality_of(probe.encoder, scan, anatomy)
    say(f"{model}: locality {found:.3f} (1: neighbours stay neighbours)")
    with Outputs(ct) as outputs:
        _told({"model": model, "locality": found}, json_out, outputs)


@evidence.command()
def relevance(
    ct: Ct,
    phrase: Words,
    *,
    level: Annotated[Literal["4mm", "8mm", "16mm"], typer.Option(help="Cells.")] = "8mm",
    out: Out = None,
    json_out: Json = None,
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """Map Grad-CAM of a phrase on a convolutional encoder: relevance, not attention."""
    from napari_ctvlp.engine.evidence.relevance import relevance as run

    probe, scan, anatomy = _start(ct, phrase, model, device)
    found = run(probe, scan, anatomy, level)
    with Outputs(ct) as outputs:
        _save(out, found.values, found.affine, outputs)
        _told({"level": level, "score": found.score, "words": found.words}, json_out, outputs)
    say(found.words)


@evidence.command(context_settings={"ignore_unknown_options": True})
def attention(
    ct: Ct,
    *,
    at: At,
    to: Annotated[bool, typer.Option("--to/--from", help="What looks there, or whither.")] = False,
    layer: Annotated[int | None, typer.Option(help="One layer, from 0; the mean of all.")] = None,
    head: Annotated[int | None, typer.Option(help="One head, from 0; the mean of all.")] = None,
    rollout: Annotated[bool, typer.Option(help="Rollout over all layers.")] = False,
    organ: Annotated[str, typer.Option(help="The model's organ whose window is read.")] = "",
    out: Out = None,
    json_out: Json = None,
    model: Model = "fvlm",
    device: Device = "auto",
) -> None:
    """Map the attention from or to one place, of an encoder that has attention."""
    from napari_ctvlp.engine.evidence.attention import attend

    probe, scan, anatomy = _start(ct, "nodule", model, device)
    found = attend(probe.encoder, scan, anatomy, at, to=to, organ=organ)
    layers, heads = found.heads.shape[:2]
    if (layer or 0) not in range(layers) or (head or 0) not in range(heads):
        raise InputRefused(
            "no-such-head", f"a layer of 0 to {layers - 1} and a head of 0 to {heads - 1}.",
            f"Layer {layer}, head {head} was asked for.", "Choose others.",
        )  # fmt: skip
    values = found.map(layer, head, rollout)
    with Outputs(ct) as outputs:
        _save(out, values, found.affine, outputs)
        told = {"layers": layers, "heads": heads, "cell": found.cell, "direction": found.direction}
        _told(told, json_out, outputs)
    say(f"{layers} layers of {heads} heads; cell {found.cell} of {found.rollout.shape}.")


@evidence.command()
def check(
    ct: Ct,
    phrases: Annotated[list[str], typer.Argument(metavar="PHRASE...", help="One or several.")],
    *,
    organ: Annotated[str, typer.Option(help="Organ the phrases are about, to erase it.")] = "",
    other: Annotated[str, typer.Option(help="Another organ, which is erased too.")] = "",
    steps: Annotated[str, typer.Option(help="Per cent deleted and inserted.")] = "0,1,5,20,50,100",
    shuffles: Annotated[int, typer.Option(help="Times the weights are shuffled.")] = 3,
    json_out: Json = None,
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """Test maps: parts that sum, shuffled weights, deletion and insertion, erased organs."""
    from dataclasses import replace

    from napari_ctvlp.core.parser import parse
    from napari_ctvlp.engine.evidence import sanity

    percent, both, progress, told = _percent(steps), (organ, other), terminal_progress(), []
    probe, scan, anatomy = _start(ct, phrases[0], model, device)
    probes = [replace(probe, phrase=parse(text)) for text in phrases]
    erased = sanity.erase_organs(probes, scan, anatomy, *both, progress) if any(both) else ()
    weights = sanity.weights_matter(probes, scan, anatomy, shuffles, progress)
    for number, one in enumerate(probes):
        curves = sanity.delete_and_insert(one, scan, anatomy, steps=percent, progress=progress)
        sums = sanity.sums_to_score(one, one.untouched(scan, anatomy))
        told.append(_checked(one.phrase.text, weights[number].correlations, curves, sums))
        if erased:
            told[-1]["erasure"] = {**dataclasses.asdict(erased[number]),
                                   "passed": erased[number].passed}  # fmt: skip
            say(f"  {erased[number].words}")
    with Outputs(ct) as outputs:
        _told({"model": model, "phrases": told}, json_out, outputs)


def _percent(steps: str) -> list[float]:
    """Return the steps of deletion and insertion."""
    try:
        found = [float(step) for step in steps.split(",")]
        if len(found) > 1 and found == sorted(found) and found[0] >= 0 and found[-1] <= 100:
            return found
    except ValueError:
        pass
    raise InputRefused(
        "bad-steps", "two or more numbers of 0 to 100, rising: 0,5,20,100.",
        f"--steps {steps} was asked for.", "Choose others, or leave them out.",
    )  # fmt: skip


def _checked(
    phrase: str, ranks: tuple[float, ...], curves: Curves, sums: float | None
) -> dict[str, Any]:
    """Say what the checks of one phrase found, and return it."""
    say(phrase)
    listed = ", ".join(f"{rank:+.2f}" for rank in ranks)
    say(f"  Rank correlation with shuffled weights: {listed} (below 0.30 wanted)")
    say(f"  Insertion beats blobs by {curves.insertion_gain:+.3f}, deletion by "
        f"{curves.deletion_gain:+.3f} (area; above 0 wanted)")  # fmt: skip
    if sums is not None:
        say(f"  Parts of the score sum to it within {sums:.1e} (1e-4 wanted)")
    return {
        "phrase": phrase, "correlations": ranks, **dataclasses.asdict(curves),
        "insertion_gain": curves.insertion_gain, "deletion_gain": curves.deletion_gain,
        "parts_off": sums,
    }  # fmt: skip


@evidence.command()
def sensitivity(
    ct: Ct, phrase: Words, *, json_out: Json = None, model: Model = "mini", device: Device = "auto"
) -> None:
    """Answer again in other wordings, on shifted scans and at other HU."""
    from napari_ctvlp.engine.evidence.sensitivity import sensitivity as run

    probe, scan, anatomy = _start(ct, phrase, model, device)
    rows = run(probe, scan, anatomy, terminal_progress())
    for row in rows:
        say(f"{row.group:<10}{row.label:<28}peak {row.peak:.3f}  support {row.support:.2f}  "
            f"moved {row.moved_mm:.0f} mm  {row.verdict}")  # fmt: skip
    with Outputs(ct) as outputs:
        _told({"readings": rows}, json_out, outputs)


@evidence.command()
def equivariance(
    ct: Ct,
    phrases: Annotated[list[str], typer.Argument(metavar="PHRASE...", help="One or several.")],
    *,
    json_out: Json = None,
    model: Model = "mini",
    device: Device = "auto",
) -> None:
    """Store, move and mirror the scan: does the answer go along with the patient."""
    from dataclasses import replace

    from napari_ctvlp.core.parser import parse
    from napari_ctvlp.engine.evidence.equivariance import equivariance as run

    probe, scan, anatomy = _start(ct, phrases[0], model, device)
    probes = [replace(probe, phrase=parse(text)) for text in phrases]
    trials = run(probes, scan, anatomy, progress=terminal_progress())
    for trial in trials:
        word = "holds" if trial.holds else "does NOT hold"
        say(f"{trial.phrase:<24}{trial.kind:<8}{trial.label:<26}{word:<15}{trial.number:.3g} "
            f"{trial.unit}")  # fmt: skip
    say(f"{sum(t.holds for t in trials)} of {len(trials)} hold for {model}.")
    with Outputs(ct) as outputs:
        _told({"model": model, "trials": trials}, json_out, outputs)


def _open(ct: Path, device: str) -> tuple[Scan, AnatomyMap]:
    """Open and segment a scan."""
    from napari_ctvlp.engine import verbs

    scan = verbs.open_scan(ct, progress=terminal_progress())
    return scan, verbs.segment(scan, device=device)


def _start(ct: Path, phrase: str, model: str, device: str) -> tuple[Probe, Scan, AnatomyMap]:
    """Open and segment a scan, load a model."""
    from napari_ctvlp.engine.evidence.probe import Probe

    return Probe.of(phrase, model, device), *_open(ct, device)


def _save(out: Path | None, values: Any, affine: Any, outputs: Outputs) -> None:
    from napari_ctvlp.io.nifti import save_ipl

    if out:
        save_ipl(outputs.add(out, NIFTI), values, affine)


def _told(content: dict[str, Any], json_out: Path | None, outputs: Outputs) -> None:
    from napari_ctvlp.engine.export import plain

    if json_out == STDOUT:
        print(as_json(plain(content)))
    elif json_out:
        outputs.write_json(json_out, plain(content))
