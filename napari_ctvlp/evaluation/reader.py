"""A scan with what one set of weights computed from it, and the three maps of a phrase."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core import grounding
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.raw import ground
from napari_ctvlp.core.routing import route
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import compute
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Encoder, ModelCard


@dataclass(frozen=True)
class Model:
    """One set of weights, loaded.

    Attributes
    ----------
    name : str
        Its column in the report.
    card : ModelCard
    encoder : Encoder
    """

    name: str
    card: ModelCard
    encoder: Encoder

    @classmethod
    def load(cls, model: str, device: str = "auto", folder: Path | None = None) -> Model:
        """Load what ships under a card id, or older weights from a folder with their card.

        Parameters
        ----------
        model : str
            Card id.
        device : {"auto", "cuda", "mps", "cpu"}
        folder : Path, optional
            Holds ``<model>.toml``, or one card of another name, and its weights files.

        Raises
        ------
        ModelRefused
            If the card or the weights are missing or not what they should be.
        """
        card = store.card(model) if folder is None else store.read_card(_card_in(folder, model))
        if card.kind != "encoder":
            raise ModelRefused(
                "wrong-kind",
                "a model of the kind encoder.",
                f"{card.id} is of the kind {card.kind}.",
                "Choose an encoder.",
            )
        chosen = compute.choose(device, card)
        compute.limit_threads(chosen)
        where = store.verify(card, folder)
        module, name = str(card.settings["entry"]).split(":")
        kind = getattr(import_module(f"napari_ctvlp.models.{module}"), name)
        encoder: Encoder = kind.load(card, where, chosen)
        return cls(folder.name if folder else model, card, encoder)


def _card_in(folder: Path, model: str) -> Path:
    """Return the card of a folder: that of the model's name, else the only one there is."""
    others = sorted(folder.glob("*.toml"))
    named = folder / f"{model}.toml"
    return others[0] if len(others) == 1 and not named.is_file() else named


@dataclass
class Reader:
    """A scan as one model sees it.

    Attributes
    ----------
    scan, anatomy, model
    encoding : Encoding
    seconds : float
        What encoding took.
    """

    scan: Scan
    anatomy: AnatomyMap
    model: Model
    encoding: Encoding = field(init=False)
    seconds: float = field(init=False)
    _vectors: dict[str, TextVector] = field(init=False, default_factory=dict)
    _peaks: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Encode the scan."""
        start = time.perf_counter()
        self.encoding = self.model.encoder.encode(self.scan, self.anatomy)
        self.seconds = time.perf_counter() - start

    @cached_property
    def grid(self) -> TokenGrid:
        """The grid of :meth:`plain` and :meth:`raw`: of a model's organs, its card's default.

        What :meth:`product` says may lie on another one, that of the organ a phrase names.
        """
        return route(self.encoding, Phrase("", ""), self.model.card.settings).grid

    def vectors(self, texts: Sequence[str]) -> list[TextVector]:
        """Return the vectors of texts, each embedded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        self._vectors.update(zip(new, self.model.encoder.embed(new), strict=True))
        return [self._vectors[text] for text in texts]

    def product(self, text: str) -> Heatmap:
        """Ground a phrase as the window does: parser, gate, the card's rule, neutral phrases."""
        phrase = parse(text)
        neutral = self.vectors(self.model.card.settings.get("neutral", ()))
        return self._heatmap(phrase, gate_applied=True, background=neutral)

    def plain(self, text: str) -> Heatmap:
        """Ground a phrase with parser and gate off."""
        return self._heatmap(Phrase(text, text), gate_applied=False)

    def plain_peak(self, text: str) -> float:
        """Return the peak of :meth:`plain`, worked out once: neutral phrases come again."""
        if text not in self._peaks:
            self._peaks[text] = self.plain(text).peak
        return self._peaks[text]

    def raw(self, text: str) -> NDArray[np.float32]:
        """Similarity to the text as it stands, no smoothing, (i, p, l), NaN where not looked."""
        (vector,) = self.vectors([text])
        return grounding.similarity(self.grid, vector)

    def _heatmap(
        self, phrase: Phrase, *, gate_applied: bool, background: Sequence[TextVector] = ()
    ) -> Heatmap:
        (vector,) = self.vectors([phrase.query])
        return ground(
            self.encoding,
            vector,
            phrase,
            self.anatomy,
            settings=self.model.card.settings,
            gate_applied=gate_applied,
            background=background,
        )
