"""Distilling a 2D expert found by language, and contrast that corrects false negatives.

After Cao et al., "Bootstrapping Chest CT Image Understanding by Distilling Knowledge from X-ray
Expert Models" (BIUD, CVPR 2024, arXiv:2404.04936). Certain, from its abstract: a CT is matched
by language to its semantically closest radiograph, whose expert features are distilled pair by
pair and as relations; then image and report are contrasted, false negatives being identified and
corrected. Neither equations, constants nor code were readable: every formula here is a
reconstruction, from the family of methods it belongs to.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.objectives.contrast import NOWHERE, contrast, same

#: Temperatures of the distilled relations and of the contrastive form.
RELATION_TAU, PAIR_TAU = 0.1, 0.07
#: Likeness of reports from which a pair is taken for a false negative.
ALIKE = 0.9


class Retrieved(NamedTuple):
    """Which studies of a pool teach each item.

    Attributes
    ----------
    rows : Tensor, shape (n, k), int64
        Of the pool, the likest first.
    weight : Tensor, shape (n, k)
        Sums to 1 per row.
    has : Tensor, shape (n,), bool
        False where nothing in the pool is like enough: no teacher.
    """

    rows: Tensor
    weight: Tensor
    has: Tensor


def retrieve(
    queries: Tensor, pool: Tensor, *, most: int = 1, tau: float = 0.05, floor: float = 0.5
) -> Retrieved:
    """Find the studies whose reports are likest to each report.

    Parameters
    ----------
    queries : Tensor, shape (n, d)
        Report vectors of any length.
    pool : Tensor, shape (m, d)
    most : int
        Teachers per item; 1 is the reading nearest to the abstract.
    tau : float
        Temperature of the weights.
    floor : float
        Least cosine of the likest study.
    """
    likeness = _unit(queries) @ _unit(pool).T
    top = likeness.topk(min(most, len(pool)), dim=1)
    return Retrieved(top.indices, (top.values / tau).softmax(dim=1), top.values[:, 0] >= floor)


def taught(found: Retrieved, vectors: Tensor) -> Tensor:
    """Return the weighted mean of the teachers' vectors, shape (n, c)."""
    return torch.einsum("nk,nkc->nc", found.weight, vectors[found.rows])


def pairwise(
    student: Tensor, teacher: Tensor, has: Tensor,
    form: Literal["cosine", "contrastive", "regression"] = "cosine",
) -> Tensor:  # fmt: skip
    """Return how far each student vector is from its teacher's.

    Parameters
    ----------
    student, teacher : Tensor, shape (n, c)
        Projected student and frozen teacher; no gradient reaches the teacher.
    has : Tensor, shape (n,), bool
        Rows that have a teacher; the others count for nothing.
    form : str
        ``"cosine"`` 1 - cosine; ``"contrastive"`` InfoNCE among the batch's teachers;
        ``"regression"`` mean square after normalising mean and variance of both.

    Returns
    -------
    Tensor, shape ()
        Mean over rows with a teacher, 0 when there is none.
    """
    if not bool(has.any()):
        return _nothing(student)
    student, teacher = student[has].float(), teacher[has].detach().float()
    if form == "regression":
        shape = student.shape[1:]
        left, right = (functional.layer_norm(x, shape) for x in (student, teacher))
        return functional.mse_loss(left, right)
    if form == "contrastive":
        logits = _unit(student) @ _unit(teacher).T / PAIR_TAU
        return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
    return (1 - functional.cosine_similarity(student, teacher, dim=1)).mean()


def anchored(
    student: Tensor, teacher: Tensor, has: Tensor, anchors: tuple[Tensor, Tensor],
    tau: tuple[float, float] = (RELATION_TAU, RELATION_TAU),
) -> Tensor:  # fmt: skip
    """Return the divergence of relations to anchor texts: the favoured reading.

    Parameters
    ----------
    student, teacher : Tensor, shapes (n, c) and (n, d)
    has : Tensor, shape (n,), bool
    anchors : pair of Tensor, shapes (k, c) and (k, d)
        The same texts in the student's and in the teacher's space.
    tau : pair of float
        Temperatures of student and teacher.

    Returns
    -------
    Tensor, shape ()
        Squared temperature of the student times the mean KL divergence from the teacher's.
    """
    if not bool(has.any()):
        return _nothing(student)
    ours = student[has].float() @ anchors[0].float().T / tau[0]
    theirs = teacher[has].float() @ anchors[1].float().T / tau[1]
    return tau[0] ** 2 * _divergence(theirs, ours)


def related(student: Tensor, teacher: Tensor, has: Tensor, tau: float = RELATION_TAU) -> Tensor:
    """Return the divergence of relations within the batch: the other reading.

    Vectors are normalised, so that neither scale matters. Two rows have one relation each and
    say nothing: below three with a teacher the loss is 0.

    Parameters
    ----------
    student, teacher : Tensor, shapes (n, c) and (n, d)
    has : Tensor, shape (n,), bool
    tau : float
    """
    if int(has.sum()) < 3:
        return _nothing(student)
    ours, theirs = (_unit(x[has]) for x in (student, teacher))
    self_pairs = torch.eye(len(ours), dtype=torch.bool, device=ours.device)
    logits = [(x @ x.T / tau).masked_fill(self_pairs, NOWHERE) for x in (theirs, ours)]
    return _divergence(*logits)


def alike(reports: Tensor, past: Tensor | None = None, floor: float = ALIKE) -> Tensor:
    """Return likeness weights from report vectors, shape (n, n + q).

    1 on the diagonal; the cosine where it exceeds ``floor`` (a false negative); else 0. Vectors
    are of a frozen or slow encoder: no gradient comes back.

    Parameters
    ----------
    reports : Tensor, shape (n, d)
    past : Tensor, shape (q, d), optional
    floor : float
        1 or more switches the correction off.
    """
    rows = _unit(reports.detach())
    every = rows if past is None else torch.cat([rows, _unit(past.detach())])
    likeness = rows @ every.T
    weights = torch.where(likeness > floor, likeness, 0.0) * (floor < 1)
    return weights.fill_diagonal_(1.0)


def overlap(labels: Tensor, past: Tensor | None = None) -> Tensor:
    """Return the Jaccard overlap of sets of findings, shape (n, n + q); two empty sets give 1.

    Parameters
    ----------
    labels : Tensor, shape (n, k), bool
    past : Tensor, shape (q, k), bool, optional
    """
    rows = labels.float()
    every = rows if past is None else torch.cat([rows, past.float()])
    both = rows @ every.T
    either = rows.sum(1)[:, None] + every.sum(1)[None] - both
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def healthy(normal: Tensor, past: Tensor | None = None) -> Tensor:
    """Return 1 for two all-normal reports and for a report and itself (fVLM's rule).

    Parameters
    ----------
    normal : Tensor, shape (n,), bool
    past : Tensor, shape (q,), bool, optional
    """
    numbers = torch.arange(1, len(normal) + 1, device=normal.device) * ~normal
    return same(numbers, None if past is None else -past.logical_not().long()).float()


def robust_contrast(
    images: Tensor, texts: Tensor, weights: Tensor, scale: Tensor | float, *,
    mode: Literal["soft", "mask"] = "soft", past: tuple[Tensor, Tensor] | None = None,
    peer: Tensor | None = None, alpha: float = 0.0,
) -> Tensor:  # fmt: skip
    """Return the symmetric contrast with false negatives corrected.

    Parameters
    ----------
    images, texts : Tensor, shape (n, c)
        Unit vectors.
    weights : Tensor, shape (n, n + q)
        From :func:`alike`, :func:`overlap` or :func:`healthy`; 1 on the diagonal.
    scale : Tensor or float
        Inverse temperature.
    mode : str
        ``"soft"``: false negatives share the target; ``"mask"``: they take no part.
    past : pair of Tensor, shape (q, c), optional
        Remembered images and texts.
    peer : Tensor, shape (n, n + q), optional
        Scaled similarities of a slow copy; ``alpha`` of the target is its softmax.
    alpha : float
    """
    own = torch.eye(*weights.shape, device=weights.device)
    drop = (weights > 0) & (own == 0) if mode == "mask" else None
    target = own if mode == "mask" else weights
    trust = 1.0 - alpha
    return contrast(images, texts, target, scale, past=past, drop=drop, peer=peer, trust=trust)


def _divergence(theirs: Tensor, ours: Tensor) -> Tensor:
    """Mean KL divergence of the rows' softmax; the first of both is the truth."""
    truth = theirs.detach().log_softmax(dim=1)
    return functional.kl_div(ours.log_softmax(1), truth, reduction="batchmean", log_target=True)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors.float(), dim=1)


def _nothing(student: Tensor) -> Tensor:
    return student.new_zeros((), dtype=torch.float32)
