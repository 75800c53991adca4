"""A loaded encoder with one phrase: what every check of a map asks again and again."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core import grounding
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.routing import route
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import compute, judging
from napari_ctvlp.engine.loaded import encoder, encoding_key, kept, loading
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute, Encoder, Progress, silent

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]
#: The score of a map is the mean of this share of its searched cells, the highest ones.
TOP = 0.001


@dataclass(frozen=True)
class Probe:
    """An encoder and a phrase.

    Attributes
    ----------
    encoder : Encoder
    phrase : Phrase
    kind : str
        Kind of map; ``""`` for the card's default.
    loaded : tuple of (Encoder, Compute), optional
        What the weights' own files gave. Only this very object may keep what it encodes: a copy
        with shuffled weights is another one.
    """

    encoder: Encoder
    phrase: Phrase
    kind: str = ""
    loaded: tuple[Encoder, Compute] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, phrase: str, model: str = "mini", device: str = "auto", kind: str = "") -> Probe:
        """Load a model and parse a phrase."""
        chosen = compute.choose(device, store.card(model))
        with loading:
            real = encoder(model, chosen)
        return cls(real, parse(phrase), kind, (real, chosen))

    @property
    def query(self) -> str:
        """What the model is asked."""
        return judging.asked(self.phrase, self.encoder.card)

    @property
    def vector(self) -> TextVector:
        """The mean of the query's wordings."""
        return judging.worded(self.encoder, self.query).mean

    def untouched(self, scan: Scan, anatomy: AnatomyMap, progress: Progress = silent) -> Encoding:
        """Return the kept encoding of a scan as it was opened, else encode and keep it.

        An encoder that is not the loaded one (shuffled, or of one's own) encodes and keeps
        nothing. Scans that were changed for a check are not worth keeping: see :meth:`heat`.
        """

        def run() -> Encoding:
            return self.encoder.encode(scan, anatomy, progress=progress)

        if self.loaded is None or self.encoder is not self.loaded[0]:
            return run()
        key = encoding_key(self.encoder.card, self.loaded[1], scan, anatomy)
        return kept(key, run, progress)

    def heat(self, scan: Scan, anatomy: AnatomyMap, progress: Progress = silent) -> Heatmap:
        """Encode a scan, ground the phrase, judge it; nothing is kept."""
        return self.heat_of(self.encoder.encode(scan, anatomy, progress=progress), anatomy)

    def heat_of(self, encoding: Encoding, anatomy: AnatomyMap) -> Heatmap:
        """Ground the phrase on an encoding and judge it."""
        with loading:
            neutral = judging.embedded(self.encoder, self.encoder.card.settings.get("neutral", ()))
            return judging.answer(
                self.encoder, encoding, self.phrase, anatomy, neutral=neutral,
                rivals=judging.rivals(self.encoder), kind=self.kind,
            )  # fmt: skip

    def raw(self, scan: Scan, anatomy: AnatomyMap) -> tuple[Array, TokenGrid]:
        """Return the raw similarity, neither smoothed nor gated, with its grid."""
        return self.raw_of(self.encoder.encode(scan, anatomy))

    def raw_of(self, encoding: Encoding) -> tuple[Array, TokenGrid]:
        """Return the raw similarity of an encoding, with its grid."""
        with loading:
            vector = self.vector
        grid = route(encoding, self.phrase, self.encoder.card.settings, self.kind).grid
        return grounding.similarity(grid, vector), grid


def step(progress: Progress, number: float, count: int, stage: str) -> Progress:
    """Return the progress of one of ``count`` steps under one name; tells it has begun."""
    progress(number / count, stage)
    return lambda share, _: progress(min(1.0, (number + share) / count), stage)


def score(heat: Heatmap) -> float:
    """Return one number for a map: the mean of its highest searched cells, NaN without any."""
    ranked = heat.ranked
    if not len(ranked):
        return float("nan")
    return float(ranked[-max(1, round(TOP * len(ranked))) :].mean(dtype=np.float64))


def randomised(given: Encoder, seed: int) -> Encoder:
    """Return an encoder whose learned numbers are shuffled within each tensor of its image side.

    The text side stays: a random phrase would be another question.
    """
    import torch

    other = copy.copy(given)
    vars(other).pop("_embedded", None)
    generator = torch.Generator().manual_seed(seed)
    for name, module in _image_modules(given).items():
        changed = copy.deepcopy(module)
        with torch.no_grad():
            for title, tensor in changed.named_parameters():
                if not _is_text(title):
                    flat = tensor.detach().flatten()
                    order = torch.randperm(flat.numel(), generator=generator)
                    tensor.copy_(flat[order.to(flat.device)].view_as(tensor))
        setattr(other, name, changed)
    return other


def _image_modules(given: Encoder) -> dict[str, nn.Module]:
    """Return an encoder's networks by attribute, without those that read text."""
    from torch import nn

    return {
        name: item
        for name, item in vars(given).items()
        if isinstance(item, nn.Module) and name not in ("text", "adapter", "head")
    }


def _is_text(name: str) -> bool:
    return name.startswith(("table", "bias", "text", "bert"))
