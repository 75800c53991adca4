"""Distilling a 2D expert found by language, and contrast that corrects false negatives.

After Cao et al., "Bootstrapping Chest CT Image Understanding by Distilling Knowledge from X-ray
Expert Models" (BIUD, CVPR 2024, arXiv:2404.04936). Certain, from its abstract: a CT is matched
by language to its semantically closest radiograph, whose expert features are distilled pair by
pair and as relations; then image and report are contrasted, false negatives being identified and
corrected. Neither equations, constants nor code were readable: every formula here is a
reconstruction, from the family of methods it belongs to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.training.objectives.contrast import NOWHERE, Memory, contrast, same
from napari_ctvlp.training.objectives.reports import (
    SENTENCE,
    TOKEN,
    Adapter,
    Temperature,
    members,
    report_of,
)
from napari_ctvlp.training.objectives.teacher import load

if TYPE_CHECKING:
    from napari_ctvlp.training.batch import Batch

Form = Literal["cosine", "contrastive", "regression"]
Correction = Literal["overlap", "healthy", "alike", "mask", "none"]

#: Temperatures of the distilled relations and of the contrastive form.
RELATION_TAU, PAIR_TAU = 0.1, 0.07
#: Reports of the bank that relations are to.
ANCHORS = 128
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
    form: Form = "cosine",
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


class Parts(nn.Module):
    """Heads: crop to token space, to the teacher's space, reports' adapter, the past.

    What the bank holds is moved between devices with them, but not saved again.
    """

    images: Tensor
    reports: Tensor
    anchors: Tensor
    meant: Tensor

    def __init__(self, past: int, bank: str) -> None:
        super().__init__()
        self.image = nn.Linear(2 * TOKEN, TOKEN)
        self.adapter = Adapter()
        self.temperature = Temperature(bounds=(0.01, 0.5))
        self.memory = Memory(past, (TOKEN, SENTENCE))
        self.has_bank = bool(bank)
        if bank:
            self.student = nn.Linear(TOKEN, TOKEN)
            expert, known, _ = load(Path(bank))
            spread = known.reports[:: max(1, len(known.reports) // ANCHORS)][:ANCHORS]
            with torch.no_grad():
                meant = expert.adapter(spread)
            kept = {"images": known.images, "reports": known.reports}
            for name, value in {**kept, "anchors": spread, "meant": meant}.items():
                self.register_buffer(name, value, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool the tokens of crops, (n, 64, t, t, t), to (n, 64): their mean and their peaks."""
        pooled = torch.cat([tokens.mean(dim=(2, 3, 4)), tokens.amax(dim=(2, 3, 4))], dim=1)
        out: Tensor = self.image(pooled)
        return out


class Objective:
    """Robust contrast of crops with their reports, and distillation of the 2D expert.

    The teacher of a crop is the radiograph whose report is likest, out of the expert's bank; it
    need not be of the same study.

    Parameters
    ----------
    bank : str
        File written by ``training/expert.py``; empty for contrast alone.
    pairwise, relational : float
        Weights of the two distilled terms, against 1 of the contrast.
    form : str
        Of the pair-wise term; see :func:`pairwise`.
    correction : str
        What makes a false negative: ``"overlap"`` of findings, two ``"healthy"`` reports,
        report vectors ``"alike"``, the same but taken out (``"mask"``), or ``"none"``.
    past : int
        Crops remembered.
    teachers : int
        Radiographs averaged per crop.
    floor : float
        Least likeness of a teacher's report.
    """

    name = "biud"

    def __init__(
        self, bank: str = "", pairwise: float = 1.0, relational: float = 1.0,
        form: Form = "cosine", correction: Correction = "overlap", past: int = 256,
        teachers: int = 1, floor: float = 0.5,
    ) -> None:  # fmt: skip
        if form not in get_args(Form) or correction not in get_args(Correction):
            raise InputRefused(
                "bad-objective",
                f"form out of {get_args(Form)}, correction out of {get_args(Correction)}.",
                f"form is {form!r}, correction {correction!r}.",
                "Change [objectives.biud] in the config.",
            )
        self.pairwise, self.relational = pairwise, relational
        self.form: Form = form
        self.correction: Correction = correction
        self.teachers, self.floor = teachers, floor
        self._parts = Parts(past, bank)

    def parts(self) -> nn.Module:
        """Return the heads."""
        return self._parts

    def loss(self, batch: Batch) -> Tensor:
        """Return contrast plus weighted distillation over the crops that have a report."""
        said = [report_of(sentences) for sentences in batch.sentences]
        rows = [number for number, one in enumerate(said) if one is not None]
        if not rows:
            return batch.tokens.new_zeros(())
        reports = torch.stack([one[0] for one in said if one is not None])
        sets = torch.tensor([one[1] for one in said if one is not None], device=reports.device)
        crops = self._parts(batch.tokens[rows])
        loss = self._contrast(_unit(crops), reports, sets)
        if self._parts.has_bank:
            loss = loss + self._distil(crops, reports)
        return loss

    def _contrast(self, images: Tensor, reports: Tensor, sets: Tensor) -> Tensor:
        parts = self._parts
        past_images, past_reports, past_sets = parts.memory.of(0)
        weights = self._weights(reports, sets, past_reports, past_sets)
        with torch.no_grad():
            past = past_images, parts.adapter(past_reports)
        parts.memory.add(images, reports, torch.zeros_like(sets), sets)
        if len(images) + len(past_images) < 2:
            return _nothing(images)
        mode: Literal["soft", "mask"] = "mask" if self.correction == "mask" else "soft"
        texts, scale = parts.adapter(reports), parts.temperature.scale()
        return robust_contrast(images, texts, weights, scale, mode=mode, past=past)

    def _weights(
        self, reports: Tensor, sets: Tensor, past_reports: Tensor, past_sets: Tensor
    ) -> Tensor:
        if self.correction == "overlap":
            return overlap(members(sets), members(past_sets))
        if self.correction == "healthy":
            return healthy(sets == 0, past_sets == 0)
        return alike(reports, past_reports, floor=1.0 if self.correction == "none" else ALIKE)

    def _distil(self, crops: Tensor, reports: Tensor) -> Tensor:
        """Distil the retrieved teachers: their vectors, and their relations to anchor reports."""
        parts = self._parts
        found = retrieve(reports, parts.reports, most=self.teachers, floor=self.floor)
        theirs = taught(found, parts.images)
        near = pairwise(parts.student(crops), theirs, found.has, self.form)
        anchors = parts.adapter(parts.anchors), parts.meant
        shared = anchored(_unit(crops), _unit(theirs), found.has, anchors)
        return self.pairwise * near + self.relational * shared
