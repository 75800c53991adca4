"""The report of a crop as vectors: sentences of the grammar, or the study's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ctvlp.training.data import IGNORE, MAYBE_EMPHYSEMA
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, FINDINGS, Chance
from napari_ctvlp.training.synthesis.crops import Crop
from napari_ctvlp.training.synthesis.reports import Sentence, write
from napari_ctvlp.training.targets import concepts

#: An anatomy is in view from this many tokens on (64 mm3 each).
LEAST = 64
#: Sentence vectors kept.
KEPT = 50_000
Own = Mapping[str, Sequence[Sentence]]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


class Reporter:
    """Writes the reports of crops and turns them into vectors.

    Parameters
    ----------
    embed : callable, optional
        Sentences to unit vectors, shape (n, 384); the chosen text tower when left out.
    own : mapping of str to sentences, optional
        By case name: what a radiologist wrote. Of it the sentences about anatomies in view are
        taken, but those that a painted finding makes untrue.
    """

    def __init__(self, embed: Embed | None = None, own: Own | None = None) -> None:
        if embed is None:
            from napari_ctvlp.models.text_choice import chosen_tower, load_tower

            embed = load_tower(chosen_tower()).embed
        self._embed, self.own = embed, own or {}
        self._known: dict[str, NDArray[np.float32]] = {}

    def arrays(self, crop: Crop, seed: int) -> dict[str, Any]:
        """Return texts, vectors, organs and meanings; see :class:`batch.Sentences`."""
        said = self.sentences(crop, seed)
        vectors = [self.vector(sentence.text) for sentence in said]
        return {
            "texts": tuple(sentence.text for sentence in said),
            "vectors": np.stack(vectors) if said else np.zeros((0, 384), np.float32),
            "organ": np.array([ANATOMIES.index(s.organ) for s in said], np.int64),
            "meaning": np.array([meaning(s) for s in said], np.int64),
        }

    def sentences(self, crop: Crop, seed: int) -> tuple[Sentence, ...]:
        """Return the report of what is in view."""
        own = self.own.get(crop.case)
        view = in_view(crop)
        if own is None:
            return write(crop.painted, view, Chance(seed), unsure=unsure(crop)).sentences
        painted = write(crop.painted, (), Chance(seed), unsure=FINDINGS).sentences
        touched = {(s.organ, name) for s in painted for name in ("", s.finding)}
        true = [s for s in own if s.state == "present" or (s.organ, s.finding) not in touched]
        return (*(s for s in true if s.organ in view), *painted)

    def vector(self, text: str) -> NDArray[np.float32]:
        """Return one sentence's vector; alone, so that it never depends on its neighbours."""
        if text not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[text] = self._embed([text])[0].astype(np.float32)
        return self._known[text]


def meaning(sentence: Sentence) -> int:
    """Return 0 when a sentence says that nothing is there, else 1 + the concept's index."""
    if sentence.state in ("normal", "absent") or sentence.finding not in concepts():
        return 0
    return 1 + concepts().index(sentence.finding)


def in_view(crop: Crop) -> list[str]:
    """Return the anatomies in view about which a report may speak: no left-out finding is there."""
    counts = torch.bincount(crop.organs.flatten().long(), minlength=len(ANATOMIES) + 1)
    silent = torch.nn.functional.max_pool3d((crop.flags & IGNORE).float()[None, None], 2)[0, 0]
    dumb = set(torch.unique(crop.organs[silent > 0]).tolist())
    return [
        name
        for number, name in enumerate(ANATOMIES, 1)
        if int(counts[number]) >= LEAST and number not in dumb
    ]


def unsure(crop: Crop) -> tuple[str, ...]:
    """Return the findings that the CT may hold beside the painted ones."""
    if bool((crop.flags & IGNORE).any()):
        return FINDINGS
    listed = ("lymph_node",) if crop.unknown_findings else ()
    return (*listed, "emphysema") if bool((crop.flags & MAYBE_EMPHYSEMA).any()) else listed
