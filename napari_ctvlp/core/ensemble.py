"""Several wordings of one phrase: their mean, and how far they lie apart.

A card names its templates; ``{}`` stands for the phrase without its side and negation::

    [settings.templates]
    present = ["{}", "there is {}"]
    absent = ["no {}", "no evidence of {}"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_ctvlp.core.absence import Calibration, local_values, moved
from napari_ctvlp.core.encoding import TextVector, TokenGrid
from napari_ctvlp.core.heatmap import Heatmap, Wording


def filled(card: Mapping[str, Any], query: str, pole: str) -> tuple[str, ...]:
    """Return the wordings of a query by a card's settings.

    Parameters
    ----------
    card : mapping
        The card's settings.
    query : str
        What is encoded of a phrase.
    pole : {"present", "absent"}

    Returns
    -------
    tuple of str
        The query alone where the card has no positive templates, nothing without negative ones.
    """
    bare = {"present": ("{}",)}.get(pole, ())
    templates: Sequence[str] = card.get("templates", {}).get(pole, bare)
    return tuple(dict.fromkeys(t.replace("{}", query.strip().rstrip(".")) for t in templates))


def mean(vectors: Sequence[TextVector]) -> TextVector:
    """Return the mean of wordings beside the tokens: its logits are the mean of their logits.

    What the model knows of the words is taken from the first, the plain wording.
    """
    rows = np.stack([v.vector for v in vectors]).astype(np.float64)
    direction = np.asarray(rows.mean(axis=0), dtype=np.float32)
    return replace(
        vectors[0], vector=direction, bias=math.fsum(v.bias for v in vectors) / len(vectors)
    )


def spread(
    heat: Heatmap,
    grid: TokenGrid,
    texts: Sequence[str],
    vectors: Sequence[TextVector],
    calibration: Calibration | None = None,
    concept: str = "",
    sigma_mm: float = 0.0,
) -> tuple[Wording, ...]:
    """Return what each wording says at the peak of their mean.

    Parameters
    ----------
    heat : Heatmap
        Of the mean, with its clues where there is a calibration.
    grid : TokenGrid
    texts, vectors : sequence
        The wordings.
    calibration : Calibration, optional
        Turns a wording's peak into its support; the comparisons stay those of the mean, but for
        the height of the peak.
    concept : str
    sigma_mm : float
        The heatmap's smoothing.
    """
    peak = heat.peak_index
    if peak is None:
        return ()
    middle, found = _logit(heat.peak), []
    values = local_values(grid, vectors, peak, sigma_mm)
    for text, value in zip(texts, values, strict=True):
        support = math.nan
        if calibration is not None:
            clues = moved(heat.clues, _logit(value) - middle)
            support = calibration.probability(clues, heat.phrase.finding or concept)
        found.append(Wording(text, value, support))
    return tuple(found)


def flips(wordings: Sequence[Wording], present: float) -> bool:
    """Return True when some wordings reach a threshold of support, else of value, and some not."""
    values = [w.value if math.isnan(w.support) else w.support for w in wordings]
    return bool(values) and min(values) < present <= max(values)


def _logit(value: float) -> float:
    clipped = min(1 - 1e-4, max(1e-4, value))
    return math.log(clipped / (1 - clipped))
