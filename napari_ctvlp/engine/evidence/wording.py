"""Which words of a phrase drive its similarity: each is left out in turn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.routing import route
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import judging
from napari_ctvlp.engine.evidence.probe import Probe


def driving_words(probe: Probe, scan: Scan, anatomy: AnatomyMap) -> tuple[tuple[str, float], ...]:
    """Return how much the similarity at the phrase's own peak falls without each word.

    Parameters
    ----------
    probe : Probe
        Its phrase is read as typed, side and denial too: the words are what is asked about.
    scan : Scan
    anatomy : AnatomyMap

    Returns
    -------
    tuple of (str, float)
        In the order of the words, in the raw unit of the map (logit, cosine or part of a score);
        empty where nothing can be searched.
    """
    encoder, phrase = probe.encoder, probe.phrase
    encoding = probe.untouched(scan, anatomy)
    heat = judging.answer(encoder, encoding, phrase, anatomy, kind=probe.kind, several=False)
    if heat.peak_index is None:
        return ()
    grid = route(encoding, phrase, encoder.card.settings, probe.kind).grid
    token = grid.tokens[heat.peak_index].astype(np.float32)

    def measure(text: str) -> float:
        (vector,) = judging.embedded(encoder, [text])
        return float(np.vecdot(token, vector.vector)) + vector.bias

    return by_occlusion(measure, phrase.text)


def by_occlusion(measure: Callable[[str], float], phrase: str) -> tuple[tuple[str, float], ...]:
    """Return how much a score falls when each word is left out, in the order of the words.

    Parameters
    ----------
    measure : callable
        Text to score.
    phrase : str
        A single word is compared with a full stop.
    """
    words = phrase.split()
    whole = measure(phrase)
    return tuple(
        (word, whole - measure(" ".join(words[:n] + words[n + 1 :]) or "."))
        for n, word in enumerate(words)
    )
