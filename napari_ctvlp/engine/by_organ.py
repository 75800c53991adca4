"""The answer behind a row of the findings table: its map inside the organ, and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.findings import FindingRow, FindingsTable, answered, row_phrase
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import judging, verbs
from napari_ctvlp.engine.compute import choose
from napari_ctvlp.engine.loaded import encoder as loaded_encoder
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Looking, Progress, silent


def finding(
    scan: Scan,
    row: FindingRow,
    *,
    anatomy: AnatomyMap | None = None,
    encoding: Encoding | None = None,
    model: str = "mini",
    segmenter: str = "anatomy",
    maps: str = "",
    device: str = "auto",
    progress: Progress = silent,
) -> Heatmap:
    """Find where a row of the findings table comes from.

    Parameters
    ----------
    scan, anatomy, encoding, model, segmenter, maps, device, progress
        As in :func:`napari_ctvlp.engine.verbs.ground`.
    row : FindingRow
        Of this scan and model.

    Returns
    -------
    Heatmap
        Of the row's phrase, searched only where the model looks for findings of this organ; for
        a model that does not say where, only where the phrase says.

    Raises
    ------
    InputRefused
        ``not-judged`` when the row has no score to explain.
    ModelRefused, OutOfResources
        As :func:`napari_ctvlp.engine.verbs.segment` does.
    """
    if row.support:
        raise InputRefused(
            "not-judged",
            "a finding in an organ that the model can judge.",
            f"{row_phrase(row).capitalize()}: {row.support}",
            "Choose another row, or ask for it as a phrase.",
        )
    found, tokens = verbs.looked_at(scan, anatomy, encoding, model, segmenter, device, progress)
    progress(0.9, "heatmap")
    return _asking(model, device, tokens, found)(row, maps)


def verdicts(
    scan: Scan,
    rows: Sequence[FindingRow],
    *,
    anatomy: AnatomyMap | None = None,
    encoding: Encoding | None = None,
    model: str = "mini",
    segmenter: str = "anatomy",
    device: str = "auto",
    progress: Progress = silent,
) -> FindingsTable:
    """Answer rows of the findings table with present, absent or cannot tell.

    Parameters
    ----------
    scan, anatomy, encoding, model, segmenter, device, progress
        As in :func:`napari_ctvlp.engine.verbs.ground`.
    rows : sequence of FindingRow
        Those that cannot be judged are answered "cannot tell" with the reason they have.

    Returns
    -------
    FindingsTable
        These rows, each with its answer; the same as :func:`finding` gives.
    """
    found, tokens = verbs.looked_at(scan, anatomy, encoding, model, segmenter, device, progress)
    ask = _asking(model, device, tokens, found)
    told = list(rows)
    # one finding's organs follow each other: they share its map
    order = sorted(range(len(rows)), key=lambda place: rows[place].finding)
    for number, place in enumerate(order):
        row = rows[place]
        progress(0.9 + 0.1 * number / len(rows), row_phrase(row))
        told[place] = _unasked(row) if row.support else answered(row, ask(row))
    return FindingsTable(tuple(told), model, scan.digest)


def _unasked(row: FindingRow) -> FindingRow:
    return replace(row, verdict="cannot tell", reason=row.support)


def _asking(
    model: str, device: str, tokens: Encoding, anatomy: AnatomyMap
) -> Callable[..., Heatmap]:
    """Return what answers a row, and a kind of map, on an encoded scan."""
    chosen = choose(device, store.card(model))
    encoder = loaded_encoder(model, chosen)
    told, rivals = verbs.neutral(model, chosen), judging.rivals(encoder)
    places = encoder.looked_at(tokens, anatomy) if isinstance(encoder, Looking) else {}

    def ask(row: FindingRow, maps: str = "") -> Heatmap:
        heat = judging.answer(
            encoder, tokens, parse(row_phrase(row)), anatomy, neutral=told, rivals=rivals,
            kind=maps, within=places.get(row.organ),
        )  # fmt: skip
        return replace(heat, within=row.organ)

    return ask
