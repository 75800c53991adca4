"""Anatomy-level contrast with calibrated false negatives.

After Shui et al., "Large-scale and Fine-grained Vision-language Pre-training for Enhanced CT
Image Understanding" (fVLM, ICLR 2025, arXiv:2501.14548): each organ's image vector is contrasted
with the texts of the same organ only, and two normal organs are no negatives of one another.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def fvlm_loss(images: Tensor, texts: Tensor, meaning: Tensor, scale: Tensor) -> Tensor:
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

    Returns
    -------
    Tensor, shape ()
        Mean cross-entropy over both directions, minus the entropy of the target: 0 when the
        similarities match it exactly.
    """
    similarity = scale * images @ texts.T
    same = (meaning[:, None] == meaning[None, :]).to(similarity.dtype)
    target = same / same.sum(dim=1, keepdim=True)
    entropy = -torch.special.xlogy(target, target).sum(dim=1).mean()
    to_text = -(target * functional.log_softmax(similarity, dim=1)).sum(dim=1).mean()
    to_image = -(target * functional.log_softmax(similarity.T, dim=1)).sum(dim=1).mean()
    loss: Tensor = (to_text + to_image) / 2 - entropy
    return loss
