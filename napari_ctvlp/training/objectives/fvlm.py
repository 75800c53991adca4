"""Anatomy-level contrast with calibrated false negatives.

After Shui et al., "Large-scale and Fine-grained Vision-language Pre-training for Enhanced CT
Image Understanding" (fVLM, ICLR 2025, arXiv:2501.14548): each organ's image vector is contrasted
with the texts of the same organ only, and two normal organs are no negatives of one another.

Certain, and tested against the released code's numbers: :func:`fvlm_loss` without a peer,
:func:`meanings` and :func:`complete`. Reconstruction: co-teaching (``peer``), which the paper
describes and the released code leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.training.objectives.contrast import NOWHERE, Memory, contrast, same
from napari_ctvlp.training.objectives.reports import (
    SENTENCE,
    TOKEN,
    Adapter,
    Temperature,
    report_of,
)

if TYPE_CHECKING:
    from napari_ctvlp.training.batch import Batch

#: Anatomies of reports.
ORGANS = 15


def meanings(texts: Sequence[str], normal: Sequence[bool]) -> Tensor:
    """Return a number per text: 0 for every normal one, equal numbers for equal texts.

    Parameters
    ----------
    texts : sequence of str
        Of one organ, a patient each.
    normal : sequence of bool

    Returns
    -------
    Tensor, shape (n,), int64
    """
    numbers: dict[str, int] = {}
    pairs = zip(texts, normal, strict=True)
    ids = [0 if good else numbers.setdefault(text, len(numbers) + 1) for text, good in pairs]
    return torch.tensor(ids, dtype=torch.int64)


def complete(organs: Tensor, count: int) -> Tensor:
    """Return which organs are seen whole: present, and on none of the six faces of the crop.

    Parameters
    ----------
    organs : Tensor, shape (n, i, p, l)
        0, or 1 + number of the organ.
    count : int
        Organs.

    Returns
    -------
    Tensor, shape (n, count), bool
    """
    seen = _numbers(organs.flatten(1), count)
    for axis in (1, 2, 3):
        for face in (0, -1):
            seen &= ~_numbers(organs.select(axis, face).flatten(1), count)
    return seen


def fvlm_loss(
    images: Tensor, texts: Tensor, meaning: Tensor, scale: Tensor, *,
    past: tuple[Tensor, Tensor] | None = None, past_meaning: Tensor | None = None,
    peer: Tensor | None = None, alpha: float = 0.5,
) -> Tensor:  # fmt: skip
    """Return the symmetric contrast of one organ's vectors within a batch.

    Parameters
    ----------
    images, texts : Tensor, shape (n, c)
        Unit vectors; row k of both belongs to patient k.
    meaning : Tensor, shape (n,)
        What each text says, as a number; 0 is "normal". Pairs of equal meaning are positives of
        one another (the false-negative calibration), so the target row is spread evenly over
        them. All different gives InfoNCE.
    scale : Tensor, shape ()
        Inverse temperature.
    past, past_meaning : (images, texts) of shape (q, c) and Tensor of shape (q,), optional
        The organ in earlier batches, as further columns; ours, for small batches.
    peer : Tensor, shape (n, n + q), optional
        Scaled similarities of a second model. The target becomes ``alpha`` times ours plus
        ``1 - alpha`` times the peer's softmax. A reconstruction of the paper's co-teaching.
    alpha : float

    Returns
    -------
    Tensor, shape ()
        Mean cross-entropy over both directions; 0 without a gradient when all mean the same
        (one patient, or all normal): there is nothing to tell apart.
    """
    weights = same(meaning, past_meaning)
    if bool(weights.all()):
        return images.new_zeros((), dtype=torch.float32)
    return contrast(images, texts, weights, scale, past=past, peer=peer, trust=alpha)


def _numbers(labels: Tensor, count: int) -> Tensor:
    """Which of the numbers 1 to ``count`` occur per row, shape (n, count)."""
    wanted = torch.arange(1, count + 1, device=labels.device)
    return torch.stack([torch.isin(wanted, row) for row in labels])


class Parts(nn.Module):
    """Heads: a query and a projection per organ over its tokens, the texts' adapter, the past."""

    def __init__(self, past: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(ORGANS, TOKEN))
        self.project = nn.Parameter(torch.eye(TOKEN).repeat(ORGANS, 1, 1))
        self.adapter = Adapter()
        self.temperature = Temperature()
        self.memory = Memory(past, (TOKEN, SENTENCE))

    def forward(self, tokens: Tensor, mask: Tensor, organ: int) -> Tensor:
        """Pool an organ's tokens, (n, 64, k) where ``mask`` (n, k), to unit vectors (n, 64)."""
        logits = torch.einsum("nck,c->nk", tokens, self.query[organ]) / TOKEN**0.5
        share = logits.masked_fill(~mask, NOWHERE).softmax(dim=1)
        pooled = torch.einsum("nck,nk->nc", tokens, share)
        return functional.normalize(pooled @ self.project[organ], dim=1)


class Objective:
    """Contrast by organ of what a crop shows with what its report says.

    Beside the released loss, ours: crops hold few organs whole, so by default a cut organ counts
    too (its report is of the crop); texts of one set of findings mean the same, being
    paraphrases; and organs of earlier crops are further columns. The mean is over organs.

    Parameters
    ----------
    past : int
        Organs remembered.
    whole : bool
        Only organs that touch no face of the crop count, as released.
    least : int
        Tokens an organ must have.
    """

    name = "fvlm"

    def __init__(self, past: int = 1024, whole: bool = False, least: int = 16) -> None:
        self.whole, self.least = whole, least
        self._parts = Parts(past)

    def parts(self) -> nn.Module:
        """Return the heads."""
        return self._parts

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean over the organs in view of which something can be told apart."""
        losses, new = [], []
        if batch.organs is None or not batch.sentences:
            return batch.tokens.new_zeros(())
        for organ, masks in enumerate(self._seen(batch.organs).unbind(1)):
            if pairs := self._pairs(batch, masks, organ):
                losses.append(self._organ(organ, *pairs))
                new.append((*pairs, torch.full_like(pairs[2], organ)))
        for images, texts, meaning, group in new:
            self._parts.memory.add(images, texts, group, meaning)
        losses = [loss for loss in losses if loss.requires_grad]
        return torch.stack(losses).mean() if losses else batch.tokens.new_zeros(())

    def _seen(self, organs: Tensor) -> Tensor:
        """Masks of the organs that count, shape (n, 15, tokens); empty ones do not."""
        numbers = torch.arange(1, ORGANS + 1, device=organs.device)
        masks = organs.flatten(1)[:, None] == numbers[:, None]
        counted = masks.sum(dim=2) >= self.least
        if self.whole:
            counted &= complete(organs, ORGANS)
        return masks & counted[:, :, None]

    def _pairs(
        self, batch: Batch, masks: Tensor, organ: int
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Image vectors, raw text vectors and meanings of the crops that show an organ."""
        said = [report_of(sentences, organ) for sentences in batch.sentences]
        both = zip(said, masks.any(dim=1).tolist(), strict=True)
        kept = [(n, *one) for n, (one, seen) in enumerate(both) if one is not None and seen]
        if not kept:
            return None
        rows, texts, sets = zip(*kept, strict=True)
        images = self._parts(batch.tokens[list(rows)].flatten(2), masks[list(rows)], organ)
        return images, torch.stack(texts), torch.tensor(sets, device=images.device)

    def _organ(self, organ: int, images: Tensor, texts: Tensor, meaning: Tensor) -> Tensor:
        parts = self._parts
        past_images, past_texts, past_meaning = parts.memory.of(organ)
        with torch.no_grad():
            past = past_images, parts.adapter(past_texts)
        scale = parts.temperature.scale()
        return fvlm_loss(
            images, parts.adapter(texts), meaning, scale, past=past, past_meaning=past_meaning
        )
