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

import torch
from torch import Tensor

from napari_ctvlp.training.objectives.contrast import contrast, same

#: Bounds of the learned temperature, and where it starts.
TAU_RANGE, TAU_START = (0.001, 0.5), 0.07


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
