"""Hiding the words that carry the findings (BIUD's entity-focused masking).

Certain: the name, and that clinically critical words get the emphasis. Reconstruction: where it
acts and how often; that negation cues count as entities is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Label of a token that is not to be guessed.
SPARED = -100
#: Words that turn a finding into its absence.
NEGATIONS = ("no", "not", "without", "absent", "negative")


class Masked(NamedTuple):
    """Tokens to fill in.

    Attributes
    ----------
    ids : Tensor, shape (n, l), int64
        With hidden tokens replaced.
    labels : Tensor, shape (n, l), int64
        The true token where one was hidden, else ``SPARED``.
    """

    ids: Tensor
    labels: Tensor


def mask_entities(
    ids: Tensor, words: Tensor, entity: Tensor, special: Tensor, *, mask: int, vocabulary: int,
    generator: torch.Generator, often: float = 0.5, seldom: float = 0.05,
) -> Masked:  # fmt: skip
    """Hide whole words, entities more often than others.

    Parameters
    ----------
    ids : Tensor, shape (n, l), int64
        Tokens.
    words : Tensor, shape (n, l), int64
        Number of the word a token belongs to, from 0, counted per row.
    entity : Tensor, shape (n, l), bool
        Finding, anatomy, attribute or negation.
    special : Tensor, shape (n, l), bool
        Never hidden: padding, first and last token.
    mask, vocabulary : int
        Token that hides (four in five), and number of tokens (a random one, one in ten; the
        last tenth stays as it is).
    generator : torch.Generator
        On the CPU; equal seeds give equal masks.
    often, seldom : float
        Probability for a word with an entity token, and for another.
    """
    n = len(ids)
    count = int(words.max()) + 1 if words.numel() else 0
    named = torch.zeros(n, count).scatter_reduce(1, words, (entity & ~special).float(), "amax")
    hidden_words = torch.rand(n, count, generator=generator) < torch.where(named > 0, often, seldom)
    hidden = hidden_words.gather(1, words) & ~special
    kind = torch.rand(ids.shape, generator=generator)
    other = torch.randint(vocabulary, ids.shape, generator=generator)
    shown = torch.where(kind < 0.8, mask, torch.where(kind < 0.9, other, ids))
    return Masked(torch.where(hidden, shown, ids), torch.where(hidden, ids, SPARED))
