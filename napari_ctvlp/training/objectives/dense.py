"""Dense grounding: every token says of every concept whether it is there.

The loss is ours: class-balanced binary cross-entropy per concept, with the hardest negatives
counted again (online hard example mining, Shrivastava et al. 2016, arXiv:1604.03540), plus a
softmax cross-entropy that makes the findings compete where there is one, and one that makes
places compete for a finding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dense_loss(
    logits: Tensor, target: Tensor, *, hard: float = 0.9, hard_share: float = 0.01,
    absent_weight: float = 0.35,
) -> Tensor:  # fmt: skip
    """Return the balanced binary loss over tokens and concepts.

    Parameters
    ----------
    logits : Tensor, shape (tokens, concepts)
    target : Tensor, shape (tokens, concepts)
        1 present, 0 absent, -1 nothing said (no gradient).
    hard : float
        Weight of the mean over the hardest negatives.
    hard_share : float
        Share of the tokens counted as hardest, per concept.
    absent_weight : float
        Weight of concepts with no positive token here, against 1.

    Returns
    -------
    Tensor, shape ()
        Weighted mean over the concepts about which anything is said; 0 when there is none.
    """
    present, absent = target == 1, target == 0
    positive = _mean(functional.softplus(-logits), present)
    costs = functional.softplus(logits)
    negative = _mean(costs, absent)
    most = max(1, int(hard_share * logits.shape[0]))
    top = torch.where(absent, logits, float("-inf")).topk(most, dim=0)
    hardest = _mean(costs.gather(0, top.indices), torch.isfinite(top.values))
    weight = torch.where(present.any(0), 1.0, absent_weight)
    weight = torch.where((present | absent).any(0), weight, 0.0)
    each = positive + negative + hard * hardest
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)


def rivalry_loss(logits: Tensor, kind: Tensor, rivals: Tensor) -> Tensor:
    """Return softmax cross-entropy between concepts at tokens that hold a finding.

    Parameters
    ----------
    logits : Tensor, shape (tokens, concepts)
    kind : Tensor, shape (tokens,)
        Index of the true finding, -1 where there is none (no gradient).
    rivals : Tensor, shape (k,)
        Columns that compete; the first ones are the findings, in order.

    Returns
    -------
    Tensor, shape ()
        Mean over the findings present (each counts the same), 0 when there is none.
    """
    here = kind >= 0
    if not bool(here.any()):
        return logits.sum() * 0.0
    truth = kind[here].long()
    costs = functional.cross_entropy(logits[here][:, rivals], truth, reduction="none")
    sums = costs.new_zeros(len(rivals)).index_add(0, truth, costs)
    counts = torch.bincount(truth, minlength=len(rivals))
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum()


def pointing_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return how far the present tokens of a concept are from holding its highest value.

    For each concept softplus(lse(absent) - lse(present)): minus the logarithm of the share that
    the present tokens have in a softmax over the crop. Contrast over places instead of over
    concepts; ours.

    Parameters
    ----------
    logits : Tensor, shape (tokens, concepts)
    target : Tensor, shape (tokens, concepts)
        1 present, 0 absent, -1 nothing said (no gradient).

    Returns
    -------
    Tensor, shape ()
        Mean over the concepts with present and absent tokens; 0 when there is none.
    """
    present, absent = target == 1, target == 0
    both = present.any(0) & absent.any(0)
    if not bool(both.any()):
        return logits.sum() * 0.0
    high = [
        torch.where(mask, logits, float("-inf"))[:, both].logsumexp(0) for mask in (absent, present)
    ]
    return functional.softplus(high[0] - high[1]).mean()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Column means over a mask, 0 where it is empty."""
    total = torch.where(mask, values, 0.0).sum(0)
    return total / mask.sum(0).clamp(min=1)
