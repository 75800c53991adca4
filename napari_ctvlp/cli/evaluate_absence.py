"""``ctvlp evaluate absence``: whether the model supports what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ctvlp.cli.output import Outputs, say, terminal_progress
from napari_ctvlp.errors import InputRefused

if TYPE_CHECKING:
    from napari_ctvlp.evaluation.absence.pairs import Pair
    from napari_ctvlp.training.data import Chest

#: Given instead of a folder of cases.
PHANTOMS = "phantoms"
#: Seed of the paintings, which no fit uses.
SEED = 800_000_000


def absence(
    cases: Path | None,
    model: str,
    device: str,
    chests: Sequence[Chest],
    each: int,
    *,
    out: Path | None,
    markdown: Path | None,
    png: Path | None,
) -> None:
    """Measure the absence check on painted CTs, or show its answers on real cases.

    Parameters
    ----------
    cases : Path or None
        A folder of cases, or ``phantoms``.
    model, device : str
    chests : sequence of Chest
        Prepared validation CTs, for the phantoms.
    each : int
        Scans per finding and CT.
    out, markdown, png : Path or None
        Where numbers, tables and the risk-coverage curve go.

    Raises
    ------
    InputRefused
        If the model has no calibration, or nothing can be asked.
    """
    from napari_ctvlp.evaluation import tables
    from napari_ctvlp.evaluation.absence import chart, folder, layout
    from napari_ctvlp.evaluation.runner import plain

    if cases is None:
        raise InputRefused(
            "no-cases", "a folder of cases, or 'phantoms'.", "Neither was given.",
            "Write 'ctvlp evaluate absence phantoms --data DIR'.",
        )  # fmt: skip
    painted = str(cases) == PHANTOMS
    with Outputs(cases) as outputs:
        found = (
            _phantoms(model, device, chests, each)
            if painted
            else folder.run(cases, model, device, terminal_progress())
        )
        report = plain(found)
        laid_out = layout.tables(report) if painted else layout.folder_tables(report)
        if out:
            outputs.write_json(out, report)
        if markdown:
            half = outputs.add(markdown, (".md",))
            half.write_text(tables.markdown(laid_out) + "\n", encoding="utf-8")
        if png and painted:
            chart.draw(report, outputs.add(png, (".png",)))
    print(tables.text(laid_out))


def _phantoms(model: str, device: str, chests: Sequence[Chest], each: int) -> dict[str, Any]:
    """Paint the validation CTs and ask for every finding in a wording kept from training."""
    from napari_ctvlp.engine.calibrations import calibration
    from napari_ctvlp.evaluation.absence.curves import report
    from napari_ctvlp.evaluation.protocol import protocol
    from napari_ctvlp.evaluation.reader import Model

    loaded = Model.load(model, device)
    known = calibration(loaded.card)
    if known is None:
        raise InputRefused(
            "no-calibration", f"a calibration of the absence check for {model}.",
            "There is none for these weights.", "Make one with 'ctvlp train absence'.",
        )  # fmt: skip
    phrases = {name: words.held_out[0] for name, words in protocol().catalogue.items()}
    return report(list(asked(chests, loaded, phrases, each, SEED)), known)


def asked(
    chests: Sequence[Chest], loaded: Any, phrases: dict[str, str], each: int, seed: int, **few: int
) -> Iterator[Pair]:
    """Paint CTs and ask each for every finding; says how far it is.

    ``few`` is handed on to :func:`~napari_ctvlp.training.absence.painted_scans`.
    """
    from napari_ctvlp.evaluation.absence.pairs import pairs
    from napari_ctvlp.evaluation.reader import Reader
    from napari_ctvlp.training.absence import painted_scans

    for number, made in enumerate(painted_scans(chests, each, seed, **few)):
        reader = Reader(made.scan, made.anatomy, loaded)
        yield from pairs(made, reader, phrases)
        there = ", ".join(made.there) or "nothing"
        say(f"{number + 1}: {made.name} with {there}, encoded in {reader.seconds:.0f} s")
