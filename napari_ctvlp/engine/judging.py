"""From an encoded scan and a parsed phrase to an answer: wordings, comparisons, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core import absence, ensemble, raw
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector
from napari_ctvlp.core.gating import main_concept
from napari_ctvlp.core.grounding import Settings
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.routing import route
from napari_ctvlp.core.vocabulary import findings, shipped
from napari_ctvlp.engine.calibrations import calibration
from napari_ctvlp.models.protocol import Encoder, ModelCard

#: Embedded texts that are kept per loaded encoder.
_MOST = 4000


@dataclass(frozen=True)
class Words:
    """A phrase as a model embeds it.

    Attributes
    ----------
    texts : tuple of str
        The positive wordings, the plain one first.
    vectors : tuple of TextVector
        One per wording.
    denied : TextVector or None
        Mean of the negative wordings.
    """

    texts: tuple[str, ...]
    vectors: tuple[TextVector, ...]
    denied: TextVector | None

    @property
    def mean(self) -> TextVector:
        """The mean of the wordings."""
        return ensemble.mean(self.vectors) if len(self.vectors) > 1 else self.vectors[0]


def worded(encoder: Encoder, query: str, *, several: bool = True) -> Words:
    """Embed a query in the card's wordings, or as it stands."""
    settings = encoder.card.settings
    texts = ensemble.filled(settings, query, "present") if several else (query,)
    negative = ensemble.filled(settings, query, "absent")
    vectors = embedded(encoder, [*texts, *negative])
    denied = ensemble.mean(vectors[len(texts) :]) if negative else None
    return Words(texts, tuple(vectors[: len(texts)]), denied)


def answer(
    encoder: Encoder,
    encoding: Encoding,
    phrase: Phrase,
    anatomy: AnatomyMap,
    *,
    neutral: Sequence[TextVector] = (),
    rivals: Mapping[str, TextVector] | None = None,
    kind: str = "",
    gate_applied: bool = True,
    several: bool = True,
    within: NDArray[np.bool_] | None = None,
) -> Heatmap:
    """Ground a phrase and judge its peak.

    Parameters
    ----------
    encoder : Encoder
    encoding : Encoding
    phrase : Phrase
    anatomy : AnatomyMap
    neutral : sequence of TextVector
        Phrases that mean nothing.
    rivals : mapping of str to TextVector, optional
        Other findings.
    kind, gate_applied
        As in :func:`napari_ctvlp.core.raw.ground`.
    several : bool
        The mean of the card's wordings, or the phrase as it stands.
    within : ndarray of bool, shape (i, p, l), optional
        As in :func:`napari_ctvlp.core.raw.ground`.
    """
    card = encoder.card
    words = worded(encoder, asked(phrase, card), several=several)
    vector = words.mean
    heat = raw.ground(
        encoding, vector, phrase, anatomy, settings=card.settings, kind=kind,
        gate_applied=gate_applied, background=neutral, within=within,
    )  # fmt: skip
    if heat.kind != "probability":
        return heat
    grid = route(encoding, phrase, card.settings, kind).grid
    others = absence.Others(tuple(neutral), words.denied, rivals or {})
    concept = main_concept(vector)
    known = calibration(card)
    found = absence.clues(heat, grid, anatomy, others, taken_for(phrase) or concept)
    heat = absence.judged(heat, found, known, anatomy, concept)
    chosen = Settings.of(card.settings, phrase.finding or concept)
    said = ensemble.spread(heat, grid, words.texts, words.vectors, known, concept, chosen.sigma_mm)
    limit = known.present if known else chosen.present
    return replace(heat, wordings=said, flips=ensemble.flips(said, limit))


def rivals(encoder: Encoder) -> dict[str, TextVector]:
    """Return the findings a model was taught, each by its title."""
    known = encoder.card.settings.get("concepts", ())
    names = [row.name for row in shipped().values() if row.concept and row.concept in known]
    vectors = embedded(encoder, [shipped()[name].title for name in names])
    return dict(zip(names, vectors, strict=True))


def taken_for(phrase: Phrase) -> str:
    """Return the finding of ours that a phrase is answered with: its own, or a user's choice."""
    finding = findings().get(phrase.finding)
    if finding is None or not finding.own or finding.name in shipped():
        return phrase.finding
    same = (row.name for row in shipped().values() if row.concept == finding.concept)
    return next(same, phrase.finding) if finding.concept else phrase.finding


def asked(phrase: Phrase, card: ModelCard) -> str:
    """Return what a model is asked for a phrase.

    A word that only the user's vocabulary knows is said in the words of the finding it stands
    for, since no model was taught it; a new finding only where a model was taught concepts:
    others read its own words.
    """
    taught, finding = "concepts" in card.settings, findings().get(phrase.finding)
    base = shipped().get(taken_for(phrase) if taught else phrase.finding)
    if finding is None or base is None or not finding.own:
        return phrase.query
    text = phrase.query.lower()
    spelt = any(word.lower() in text for word in (base.title, *base.words, *base.also))
    return phrase.query if spelt else base.title


def embedded(encoder: Encoder, texts: Sequence[str]) -> list[TextVector]:
    """Return the vectors of texts; each is embedded once per loaded encoder."""
    kept: dict[str, TextVector] = vars(encoder).setdefault("_embedded", {})
    if len(kept) + len(texts) > _MOST:
        kept.clear()
    new = [text for text in dict.fromkeys(texts) if text not in kept]
    if new:
        kept.update(zip(new, encoder.embed(new), strict=True))
    return [kept[text] for text in texts]
