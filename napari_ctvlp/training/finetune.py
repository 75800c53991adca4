"""Fine-tuning: heads for the user's labels on the embedded tower or any hosted encoder.

Several members are fitted, each with another share of the patients held out: it stops the
member and is never learnt from by it. What the members say of their held-out studies calibrates
the probabilities and is the only accuracy the card states; a test set stays the user's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Encoder, Progress, silent
from napari_ctvlp.training.heads import Head, Recipe, fit, logits_of, loss_of, new_head
from napari_ctvlp.training.trunks import Example, Tail, example

#: Patients with and without a finding that every label needs.
LEAST = 4


@dataclass(frozen=True)
class Tuned:
    """Fitted heads with their calibration.

    Attributes
    ----------
    recipe : Recipe
    labels : tuple of str
    heads : tuple of Head
        One per member.
    slope, offset : Tensor, shapes (parts, k) and (k,)
        Probability = sigmoid(sum of slope * logit over the parts of a head + offset).
    report : mapping
        Studies, out-of-fold AUROC per label, mean and spread over the members.
    organs : tuple of str
        Region the heads look at.
    model, weights : str
        Card id and SHA-256 of the trunk.
    width : int
        Channels of a cell.
    """

    recipe: Recipe
    labels: tuple[str, ...]
    heads: tuple[Head, ...]
    slope: Tensor
    offset: Tensor
    report: Mapping[str, object]
    organs: tuple[str, ...] = ("lung_left", "lung_right")
    model: str = "mini"
    weights: str = ""
    width: int = 0

    def logits(self, studies: Sequence[Example]) -> Tensor:
        """Return calibrated logits of every member, shape (members, n, k)."""
        raw = torch.stack([logits_of(head, studies) for head in self.heads])
        return (raw * self.slope).sum(2) + self.offset

    def probabilities(self, studies: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation over the members, each of shape (n, k)."""
        each = torch.sigmoid(self.logits(studies))
        return each.mean(0), each.std(0, unbiased=False)

    def apply(
        self, encoder: Encoder, scan: Scan, anatomy: AnatomyMap
    ) -> dict[str, tuple[float, float]]:
        """Return probability and spread over the members of every label, for one scan."""
        self._expect(encoder)
        means, spreads = self.probabilities([example(encoder, scan, anatomy, self.organs)])
        pairs = zip(means[0].tolist(), spreads[0].tolist(), strict=True)
        return dict(zip(self.labels, pairs, strict=True))

    def _expect(self, encoder: Encoder) -> None:
        if (encoder.card.id, weights_of(encoder)) != (self.model, self.weights):
            raise InputRefused(
                "another-trunk",
                f"the trunk of the head: {self.model} with the weights {self.weights[:12]}.",
                f"{encoder.card.id} has the weights {weights_of(encoder)[:12]}.",
                "Use that model, or fit the head again.",
            )


def weights_of(encoder: Encoder) -> str:
    """Return the SHA-256 of the first weights file of an encoder, ``""`` when it has none."""
    return next(iter(store.digests(encoder.card).values()), "")


def finetune(
    studies: Sequence[Example],
    labels: Sequence[str],
    recipe: Recipe,
    tail: Tail | None = None,
    *,
    progress: Progress = silent,
) -> Tuned:
    """Fit heads.

    Parameters
    ----------
    studies : sequence of Example
        Those of the split ``test`` are left out; those of ``validation``, where there are any,
        are held out by every member.
    labels : sequence of str
        Names of the columns of ``Example.labels``.
    recipe : Recipe
    tail : Tail, optional
        The trunk's last layers; an adapter over the tokens without it.
    progress : callable

    Raises
    ------
    InputRefused
        When a label has too few patients on either side.
    """
    used = [study for study in studies if study.split != "test"]
    check_labels([study for study in used if study.split != "validation"], labels)
    folds = folds_of(used, recipe)
    width = used[0].cells.shape[0]
    heads, seen, said = [], [], []
    for number, held in enumerate(folds):
        progress(number / len(folds), f"member {number + 1}")
        out = [study for study in used if study.patient in held]
        rest = [study for study in used if study.patient not in held]
        own = replace(recipe, seed=recipe.seed * 1000 + number)
        torch.manual_seed(own.seed)
        head = new_head(recipe.mode, tail, width, len(labels))
        fit(head, rest, out, own)
        heads.append(head)
        seen += out
        said.append(logits_of(head, out))
    truth = torch.stack([study.labels for study in seen])
    parts = torch.cat(said)
    slope, offset = calibrate(parts, truth)
    report = _report(used, labels, (parts * slope).sum(1), truth)
    progress(1.0, "fitted")
    return Tuned(recipe, tuple(labels), tuple(heads), slope, offset, report, width=width)


def check_labels(studies: Sequence[Example], labels: Sequence[str]) -> None:
    """Refuse labels with fewer than ``LEAST`` patients with and without the finding."""
    problems = []
    for column, name in enumerate(labels):
        for value, word in ((1.0, "with"), (0.0, "without")):
            own = {study.patient for study in studies if float(study.labels[column]) == value}
            if len(own) < LEAST:
                problems.append(f"{name}: {len(own)} patients {word} it")
    if problems:
        raise InputRefused(
            "too-few-studies",
            f"at least {LEAST} patients with and {LEAST} without every finding (16 in all serve).",
            f"There are too few: {'; '.join(problems)}.",
            "Label more studies or leave the column out.",
        )


def folds_of(studies: Sequence[Example], recipe: Recipe) -> list[set[str]]:
    """Return the patients that each member holds out: none is on both sides of a member.

    Patients are dealt out by their labels, so that each share holds about the same findings.
    """
    fixed = {study.patient for study in studies if study.split == "validation"}
    if fixed:
        return [fixed] * recipe.members
    patterns: dict[str, tuple[float, ...]] = {}
    for study in studies:
        row = tuple(study.labels.nan_to_num(-1).tolist())
        patterns[study.patient] = max(patterns.get(study.patient, row), row)
    patients = sorted(patterns)
    order = torch.randperm(len(patients), generator=torch.Generator().manual_seed(recipe.seed))
    patients = [patients[n] for n in order.tolist()]
    patients.sort(key=lambda patient: patterns[patient])
    shares = max(recipe.members, 3)
    return [set(patients[n::shares]) for n in range(recipe.members)]


def calibrate(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit slopes and offset per label on logits of studies the heads did not learn from.

    Parameters
    ----------
    logits : Tensor, shape (n, parts, k)
    labels : Tensor, shape (n, k)

    Returns
    -------
    tuple of Tensor, shapes (parts, k) and (k,)
        Slopes and offset. When there are few studies a weak penalty keeps all parts as loud as each
        other, one logit (root mean square) together, and the offset near 0.
    """
    _, parts, count = logits.shape
    steep = torch.zeros(parts, count, requires_grad=True)
    offset = torch.zeros(count, requires_grad=True)
    optimiser = torch.optim.LBFGS([steep, offset], max_iter=100, line_search_fn="strong_wolfe")
    loud = logits.detach().square().mean(0).sqrt().clamp(min=1e-6)
    fixed = logits.detach() / loud

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of((fixed * steep.exp() / parts).sum(1) + offset, labels)
        loss = loss + (steep.pow(2) + offset.pow(2)).sum() / len(labels)
        loss.backward()
        return loss

    optimiser.step(closure)
    return steep.detach().clamp(-3, 3).exp() / (parts * loud), offset.detach()


def auroc(scores: Tensor, labels: Tensor) -> float:
    """Return the AUROC of one label, ties by half, NaN labels left out; NaN without both sides."""
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None]
    if not positive.numel() or not negative.numel():
        return float("nan")
    wins = (positive > negative).float() + 0.5 * (positive == negative).float()
    return float(wins.mean())


def _report(
    studies: Sequence[Example], labels: Sequence[str], logits: Tensor, truth: Tensor
) -> dict[str, object]:
    given = torch.stack([study.labels for study in studies])
    judged = [n for n in range(len(labels)) if len(truth[:, n][~truth[:, n].isnan()].unique()) > 1]
    held = {labels[n]: auroc(logits[:, n], truth[:, n]) for n in judged}
    return {
        "studies": len(studies),
        "patients": len({study.patient for study in studies}),
        "positives": {name: int((given[:, n] == 1).sum()) for n, name in enumerate(labels)},
        "held_out_auroc": {name: round(value, 4) for name, value in held.items()},
    }
