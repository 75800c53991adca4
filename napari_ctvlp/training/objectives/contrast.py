"""Contrast of image and text vectors with soft targets, and a memory of past vectors.

What fVLM's and BIUD's objectives share: cross-entropy of a similarity table against a table of
who belongs to whom, in both directions, with columns for vectors of earlier steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Logit of a pair that takes no part: its share is exactly 0 in single precision.
NOWHERE = -1e9


def same(meaning: Tensor, past: Tensor | None = None) -> Tensor:
    """Return who says the same as whom, shape (n, n + q), bool.

    Parameters
    ----------
    meaning : Tensor, shape (n,)
        What each text says, as a number.
    past : Tensor, shape (q,), optional
        The same of remembered texts.
    """
    every = meaning if past is None else torch.cat([meaning, past])
    return meaning[:, None] == every[None, :]


def backward_view(table: Tensor) -> Tensor:
    """Turn over the square of an (n, n + q) table of pairs: how the texts see it."""
    n = len(table)
    return torch.cat([table[:, :n].T, table[:, n:]], dim=1)


def contrast(
    images: Tensor, texts: Tensor, weights: Tensor, scale: Tensor | float, *,
    past: tuple[Tensor, Tensor] | None = None, drop: Tensor | None = None,
    peer: Tensor | None = None, trust: float = 1.0,
) -> Tensor:  # fmt: skip
    """Return the cross-entropy between similarities and targets, averaged over both directions.

    Parameters
    ----------
    images, texts : Tensor, shape (n, c)
        Unit vectors; row k of both belongs together.
    weights : Tensor, shape (n, n + q)
        How much of a positive each pair is, not negative, above 0 on the diagonal. Rows are
        divided by their sum. The identity gives InfoNCE.
    scale : Tensor or float
        Inverse temperature.
    past : pair of Tensor, shape (q, c) each, optional
        Remembered images and texts: more columns, never rows.
    drop : Tensor, shape (n, n + q), bool, optional
        Pairs that are neither positive nor negative.
    peer : Tensor, shape (n, n + q), optional
        Similarities, scaled, of another model; its softmax is mixed into the target.
    trust : float
        Share of ``weights`` in that mixture.

    Returns
    -------
    Tensor, shape ()
        In single precision whatever comes in. At best the mean entropy of the targets.
    """
    images, texts, weights = images.float(), texts.float(), weights.float()
    all_images, all_texts = images, texts
    if past is not None:
        all_images = torch.cat([images, past[0].float()])
        all_texts = torch.cat([texts, past[1].float()])
    to_text = _half(scale * images @ all_texts.T, weights, drop, peer, trust)
    drop, peer = (None if t is None else backward_view(t) for t in (drop, peer))
    to_image = _half(scale * texts @ all_images.T, backward_view(weights), drop, peer, trust)
    return (to_text + to_image) / 2


def _half(
    logits: Tensor, weights: Tensor, drop: Tensor | None, peer: Tensor | None, trust: float
) -> Tensor:
    """Cross-entropy of rows."""
    if drop is not None:
        logits, weights = logits.masked_fill(drop, NOWHERE), weights.masked_fill(drop, 0.0)
    target = weights / weights.sum(dim=1, keepdim=True)
    if peer is not None:
        theirs = peer.detach().float()
        theirs = theirs if drop is None else theirs.masked_fill(drop, NOWHERE)
        target = trust * target + (1 - trust) * theirs.softmax(dim=1)
    return -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


class Memory(nn.Module):
    """The last vectors of earlier steps, as buffers, so that a resumed run goes on exactly.

    Parameters
    ----------
    length : int
        Pairs kept; the oldest are overwritten.
    widths : (int, int)
        Lengths of an image and of a text vector. Texts may be kept as they come from the frozen
        tower, to be adapted anew at each step.
    """

    images: Tensor
    texts: Tensor
    group: Tensor
    meaning: Tensor
    next: Tensor

    def __init__(self, length: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(length, widths[0]))
        self.register_buffer("texts", torch.zeros(length, widths[1]))
        self.register_buffer("group", torch.full((length,), -1))
        self.register_buffer("meaning", torch.zeros(length, dtype=torch.int64))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    def of(self, group: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return copies of images, texts and meanings remembered of one group."""
        rows = self.group == group
        return self.images[rows], self.texts[rows], self.meaning[rows]

    @torch.no_grad()
    def add(self, images: Tensor, texts: Tensor, group: Tensor, meaning: Tensor) -> None:
        """Remember pairs, detached; of more than fit, the last."""
        length = len(self.group)
        images, texts, group, meaning = (t[-length:] for t in (images, texts, group, meaning))
        rows = (self.next + torch.arange(len(group), device=group.device)) % length
        self.images[rows] = images.detach().to(self.images)
        self.texts[rows] = texts.detach().to(self.texts)
        self.group[rows] = group
        self.meaning[rows] = meaning
        self.next += len(group)
