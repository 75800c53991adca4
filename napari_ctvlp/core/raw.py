"""Heatmaps of encoders whose values are no probabilities: cosines, and parts of a score.

The values stay what they are. Nothing is smoothed, because a split adds up to its organ's score
and must go on doing so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core import grounding
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.gating import is_foreign
from napari_ctvlp.core.geometry import coarse_affine, spacing
from napari_ctvlp.core.heatmap import Background, Gate, Heatmap, Verdict
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.routing import Route, route
from napari_ctvlp.core.spread import organ_shares

Mask = NDArray[np.bool_]
#: Cells are looked at in parts of at most so many mm when they are gated.
_PART_MM = 8.0
_UNITS = {"cosine": "highest cosine", "split": "largest part of the score"}


def ground(
    encoding: Encoding,
    vector: TextVector,
    phrase: Phrase,
    anatomy: AnatomyMap,
    *,
    settings: Mapping[str, Any],
    kind: str = "",
    gate_applied: bool = True,
    background: Sequence[TextVector] = (),
    within: Mask | None = None,
) -> Heatmap:
    """Ground a phrase on whichever grid of an encoding it belongs to.

    Parameters
    ----------
    encoding : Encoding
    vector : TextVector
        Of ``phrase.query``, by the same model.
    phrase : Phrase
    anatomy : AnatomyMap
        Of the same scan.
    settings : mapping
        The card's; see :mod:`napari_ctvlp.core.routing` and :mod:`napari_ctvlp.core.grounding`.
    kind : str
        Kind of map; ``""`` for the card's default.
    gate_applied : bool
        False searches everything.
    background : sequence of TextVector
        Neutral phrases, for the p-value.
    within : ndarray of bool, on the grid that is read, optional
        Search only here; of a logit grid.

    Raises
    ------
    ModelRefused
        If the model has no map of this kind.
    """
    chosen = route(encoding, phrase, settings, kind)
    if chosen.grid.kind == "logit":
        return grounding.heatmap(
            chosen.grid, vector, phrase, anatomy, model=encoding.model, settings=settings,
            gate_applied=gate_applied, background=background, within=within,
        )  # fmt: skip
    grid = chosen.grid
    values = grounding.similarity(grid, vector)
    found, allowed = _gate(phrase, anatomy, grid, gate_applied)
    peak = float(values[allowed].max()) if allowed.any() else float("nan")
    neutral = _background(grid, background, allowed, peak)
    limits = settings.get("thresholds", {})
    verdict, reason = _verdict(phrase, chosen, limits, peak, neutral)
    margin = peak - float(limits.get("present", np.nan))
    note = str(settings.get("maps", {}).get("note", ""))
    words = " ".join(part for part in (note, chosen.words, found.words) if part)
    return Heatmap(
        values=values,
        affine=grid.affine,
        allowed=allowed,
        phrase=phrase,
        model=encoding.model,
        gate=Gate(found.applied, found.side, found.anatomy, words),
        background=neutral,
        verdict=verdict,
        reason=reason,
        margin=-margin if phrase.negated else margin,
        shares=organ_shares(values, allowed, grid.affine, anatomy, 0.0),
        kind="cosine" if grid.kind == "cosine" else "split",
        organ=chosen.organ,
        score=_score(encoding, grid, values, vector),
    )


def _gate(phrase: Phrase, anatomy: AnatomyMap, grid: TokenGrid, applied: bool) -> tuple[Gate, Mask]:
    """Return the gate; a cell may be searched when any part of it may.

    Cells of hosted encoders are larger than some organs, so their centres alone would miss them.
    """
    parts = np.ceil(spacing(grid.affine) / _PART_MM).astype(int)
    shape = tuple(int(n) for n in np.array(grid.valid.shape) * parts)
    found, fine = grounding.gate(
        phrase, anatomy, shape, coarse_affine(grid.affine, 1 / parts), applied
    )
    blocks = [n for pair in zip(grid.valid.shape, parts.tolist(), strict=True) for n in pair]
    return found, fine.reshape(blocks).any(axis=(1, 3, 5)) & grid.valid


def _score(
    encoding: Encoding, grid: TokenGrid, values: NDArray[np.float32], vector: TextVector
) -> float:
    """Return the organ's similarity to the phrase: of its vector, else the sum of the split."""
    own = encoding.organs.get(grid.organ)
    if own is not None:
        return float(own @ vector.vector)
    if grid.kind != "split" or not grid.valid.any():
        return float("nan")
    rest = 0.0 if grid.rest is None else float(grid.rest @ vector.vector)
    return float(np.nansum(values, dtype=np.float64)) + rest


def _background(
    grid: TokenGrid, neutral: Sequence[TextVector], allowed: Mask, peak: float
) -> Background:
    """Return the peaks of neutral phrases in the same gate and how often they reach this one."""
    if not neutral or not np.isfinite(peak):
        return Background()
    rows = grid.tokens[allowed].astype(np.float32)
    table = np.stack([vector.vector for vector in neutral])
    peaks = (rows @ table.T).max(axis=0)
    reached = int((peaks >= peak).sum())
    return Background(tuple(peaks.tolist()), (1 + reached) / (1 + len(peaks)))


def _verdict(
    phrase: Phrase, chosen: Route, limits: Mapping[str, Any], peak: float, neutral: Background
) -> tuple[Verdict, str]:
    """Return one of three answers and the sentence that explains it.

    Without thresholds on the card no model gets to say present or absent.
    """
    start = grounding.DENIED if phrase.negated else ""
    if chosen.missing or is_foreign(phrase.text):
        return "cannot tell", start + (chosen.missing or "The model does not know these words.")
    if not np.isfinite(peak):
        return "cannot tell", f"{start}There is nothing to search: the place is not in this scan."
    told = f"The {_UNITS[chosen.grid.kind]} is {peak:.2g}"
    if neutral.values:
        told += f" (neutral phrases reach it with p = {neutral.p_value:.2f})"
    if "present" not in limits:
        return "cannot tell", f"{start}{told}; no threshold is known for this model."
    if peak >= float(limits["present"]):
        return "present", f"{start}{told}, at least {limits['present']:.2g}."
    if peak < float(limits.get("absent", limits["present"])):
        return "absent", f"{start}{told}, below the threshold."
    return "cannot tell", f"{start}{told}, between the thresholds."
