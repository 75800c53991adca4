"""What the objectives take from a report: one vector, and the set of findings it names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from napari_ctvlp.training.batch import Sentences

#: Length of a sentence vector and of a token.
SENTENCE, TOKEN = 384, 64
#: Concepts that fit into a set written as one number.
MOST_CONCEPTS = 62


def finding_set(meaning: Tensor) -> int:
    """Return the set of what sentences say is there as one number: bit k is concept k.

    Parameters
    ----------
    meaning : Tensor, shape (k,), int64
        0, or 1 + the concept's index.
    """
    return sum(1 << (number - 1) for number in set(meaning.tolist()) if number > 0)


def members(sets: Tensor) -> Tensor:
    """Return sets written as numbers as a table, shape (n, ``MOST_CONCEPTS``), bool."""
    bits = torch.arange(MOST_CONCEPTS, device=sets.device)
    return (sets[:, None] >> bits & 1).bool()


def report_vector(vectors: Tensor) -> Tensor:
    """Return one unit vector for a report, the direction of its sentences' mean, shape (384,)."""
    return functional.normalize(vectors.float().mean(0), dim=0)


def report_of(sentences: Sentences, organ: int | None = None) -> tuple[Tensor, int] | None:
    """Return vector and finding set of a report, or of its part on one organ; None if empty.

    The vector is of the sentences that say something is there; of all when none does: normal
    sentences are much alike in every report and would drown the others.
    """
    keep = torch.ones_like(sentences.organ, dtype=torch.bool)
    if organ is not None:
        keep = sentences.organ == organ
    if not bool(keep.any()):
        return None
    said = keep & (sentences.meaning > 0)
    chosen = said if bool(said.any()) else keep
    return report_vector(sentences.vectors[chosen]), finding_set(sentences.meaning[chosen])


class Adapter(nn.Module):
    """Sentence vectors to unit vectors beside the tokens."""

    def __init__(self, outside: int = TOKEN) -> None:
        super().__init__()
        self.line = nn.Linear(SENTENCE, outside, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Turn (..., 384) into (..., 64)."""
        return functional.normalize(self.line(vectors.float()), dim=-1)


class Temperature(nn.Module):
    """A learned temperature between two bounds."""

    def __init__(self, start: float = 0.07, bounds: tuple[float, float] = (0.001, 0.5)) -> None:
        super().__init__()
        self.log, self.bounds = nn.Parameter(torch.tensor(math.log(start))), bounds

    def scale(self) -> Tensor:
        """Return its inverse."""
        low, high = (-math.log(b) for b in reversed(self.bounds))
        return (-self.log).clamp(low, high).exp()
