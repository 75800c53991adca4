"""Heads for the user's own labels, and how one is fitted.

Two modes (BIUD's third use of its encoder, the released text of which says no more than that a
head is fitted on a trunk that is frozen or trained along; everything below is ours):

* ``frozen``: logistic regression on mean and maximum of the trunk's tokens in the region;
* ``tuned``: beside that, the trunk's last layers and a token classifier learn together. A study's
  logit is the mean over the tokens that speak loudest for the label (2 ml of them), as in
  multiple-instance learning, because a finding fills a small part of an organ. How much each of
  the two counts is settled by what they say of held-out patients.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.training.trunks import Example, Tail, TokenTail

Mode = Literal["frozen", "tuned"]
MODES: tuple[Mode, ...] = ("frozen", "tuned")
#: Volume of the loudest tokens, in ml, and their least number.
LOUDEST_ML, LEAST = 2.0, 4
#: Ridge penalties tried for the frozen head.
PENALTIES = (1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Recipe:
    """How heads are fitted.

    Attributes
    ----------
    mode : {"frozen", "tuned"}
    members : int
        Heads that are fitted, each with another share of the patients held out.
    seed : int
    steps, batch : int
        Most steps of a member, and studies per step.
    checks, patience : int
        How often the held-out loss is looked at, and how many looks without a lower one stop it.
    rate : float
        Peak learning rate of the last layers; the classifier learns ten times as fast.
    """

    mode: Mode = "tuned"
    members: int = 4
    seed: int = 0
    steps: int = 72
    batch: int = 4
    checks: int = 12
    patience: int = 8
    rate: float = 1e-3


class FrozenHead(nn.Module):
    """Linear in mean and maximum of the trunk's tokens.

    Parameters
    ----------
    tail : Tail
        The trunk's last layers, which stay as they are.
    count : int
        Labels.
    """

    def __init__(self, tail: Tail, count: int) -> None:
        super().__init__()
        self.tail = copy.deepcopy(tail).requires_grad_(False)
        self.register_buffer("shift", torch.zeros(2 * tail.width))
        self.register_buffer("scale", torch.ones(2 * tail.width))
        self.linear = nn.Linear(2 * tail.width, count)

    shift: Tensor
    scale: Tensor

    def pooled(self, study: Example) -> Tensor:
        """Return mean and maximum of the tokens inside, shape (2 c,)."""
        tokens = self.tail(study.cells[None].float())[0][:, study.inside]
        return torch.cat([tokens.mean(1), tokens.amax(1)])

    def forward(self, study: Example) -> Tensor:
        """Return logits, shape (1, k)."""
        logits: Tensor = self.linear((self.pooled(study) - self.shift) / self.scale)
        return logits[None]


class TunedHead(nn.Module):
    """The linear head, and a classifier of tokens that is pooled over the loudest ones.

    Parameters
    ----------
    tail : Tail
        Copied and trained.
    count : int
        Labels.
    """

    def __init__(self, tail: Tail, count: int) -> None:
        super().__init__()
        self.plain = FrozenHead(tail, count)
        self.tail = copy.deepcopy(tail)
        self.token = nn.Linear(tail.width, count)
        nn.init.zeros_(self.token.weight)
        nn.init.zeros_(self.token.bias)

    def forward(self, study: Example) -> Tensor:
        """Return logits of the linear head and of the classifier, shape (2, k)."""
        return torch.cat([self.plain(study), self.loudest(study)[None]])

    def loudest(self, study: Example) -> Tensor:
        """Return logits of the classifier, shape (k,)."""
        logits = self.evidence(study.cells)[:, study.inside]
        most = max(LEAST, round(LOUDEST_ML / study.cell_ml))
        return logits.topk(min(most, logits.shape[1]), dim=1).values.mean(1)

    def evidence(self, cells: Tensor) -> Tensor:
        """Return the logit of every token, (c, i, p, l) to (k, i, p, l)."""
        device = cells.device.type
        with torch.autocast(device, torch.bfloat16, enabled=fast_bfloat16(device)):
            tokens = self.tail(cells[None].float())[0].permute(1, 2, 3, 0)
        found: Tensor = self.token(tokens.float())
        return found.permute(3, 0, 1, 2)


Head = FrozenHead | TunedHead


def new_head(mode: Mode, tail: Tail | None, width: int, count: int) -> Head:
    """Return an unfitted head; without a tail of the trunk's own an adapter takes its place."""
    last = tail if tail is not None else TokenTail(width)
    return FrozenHead(last, count) if mode == "frozen" else TunedHead(last, count)


def logits_of(head: Head, studies: Sequence[Example]) -> Tensor:
    """Return logits without gradients, shape (n, parts, k)."""
    head.eval()
    with torch.inference_mode():
        return torch.stack([head(study) for study in studies])


def loss_of(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy over what was judged; NaN labels cost nothing.

    Parameters
    ----------
    logits, labels : Tensor, shape (n, k)
    weight : Tensor, shape (k,), optional
        Of positives, against class imbalance.
    """
    judged = ~labels.isnan()
    target = torch.where(judged, labels, torch.zeros_like(labels))
    each = functional.binary_cross_entropy_with_logits(
        logits, target, pos_weight=weight, reduction="none"
    )
    return (each * judged).sum() / judged.sum().clamp(min=1)


def imbalance(labels: Tensor) -> Tensor:
    """Return negatives per positive of every label, between 0.1 and 10, shape (k,)."""
    positives, negatives = (labels == 1).sum(0), (labels == 0).sum(0)
    return (negatives / positives.clamp(min=1)).clamp(0.1, 10.0)


def fit(head: Head, train: Sequence[Example], held: Sequence[Example], recipe: Recipe) -> None:
    """Fit a head in place.

    Parameters
    ----------
    head : FrozenHead or TunedHead
    train, held : sequence of Example
        Held-out studies choose the penalty or the epoch, and are learnt from by other members.
    recipe : Recipe
    """
    _fit_frozen(head if isinstance(head, FrozenHead) else head.plain, train, held)
    if isinstance(head, TunedHead):
        _fit_tuned(head, train, held, recipe)


def _fit_frozen(head: FrozenHead, train: Sequence[Example], held: Sequence[Example]) -> None:
    with torch.no_grad():
        rows = torch.stack([head.pooled(study) for study in train])
        tests = torch.stack([head.pooled(study) for study in held])
        head.shift.copy_(rows.mean(0))
        head.scale.copy_(rows.std(0) + 1e-3)
        rows, tests = ((part - head.shift) / head.scale for part in (rows, tests))
    labels, truth = _labels(train), _labels(held)
    best, kept = math.inf, copy.deepcopy(head.linear.state_dict())
    for penalty in PENALTIES:
        _logistic(head.linear, rows, labels, penalty)
        with torch.no_grad():
            loss = float(loss_of(head.linear(tests), truth))
        if loss < best:
            best, kept = loss, copy.deepcopy(head.linear.state_dict())
    head.linear.load_state_dict(kept)


def _logistic(linear: nn.Linear, rows: Tensor, labels: Tensor, penalty: float) -> None:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    weight = imbalance(labels)
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of(linear(rows), labels, weight) + penalty * linear.weight.pow(2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)


def _fit_tuned(
    head: TunedHead, train: Sequence[Example], held: Sequence[Example], recipe: Recipe
) -> None:
    generator = torch.Generator().manual_seed(recipe.seed)
    rates = [recipe.rate, 10 * recipe.rate]
    groups = [{"params": list(part.parameters())} for part in (head.tail, head.token)]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=recipe.steps, pct_start=0.2
    )
    truth, weight = _labels(held), imbalance(_labels(train))
    best, kept, since = math.inf, copy.deepcopy(head.state_dict()), 0
    batches = _batches(train, recipe, generator)
    for step in range(1, recipe.steps + 1):
        head.train()
        chosen = next(batches)
        optimiser.zero_grad()
        logits = torch.stack([head.loudest(study) for study in chosen])
        loss_of(logits, _labels(chosen), weight).backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % max(1, recipe.steps // recipe.checks):
            continue
        loss = float(loss_of(logits_of(head, held)[:, 1], truth, weight))
        since += 1
        if loss < best:
            best, kept, since = loss, copy.deepcopy(head.state_dict()), 0
        if since >= recipe.patience:
            break
    head.load_state_dict(kept)


def _batches(
    train: Sequence[Example], recipe: Recipe, generator: torch.Generator
) -> Iterator[list[Example]]:
    """Yield mirrored studies without end, every one once before any comes again."""
    while True:
        for batch in torch.randperm(len(train), generator=generator).split(recipe.batch):
            yield [_mirrored(train[n], generator) for n in batch.tolist()]


def _mirrored(study: Example, generator: torch.Generator) -> Example:
    """Turn a study's cells over along each axis by chance: cells, not HU, so an approximation."""
    axes = [n for n in range(3) if float(torch.rand((), generator=generator)) < 0.5]
    cells = study.cells.flip([n + 1 for n in axes])
    return replace(study, cells=cells, inside=study.inside.flip(axes))


def _labels(studies: Sequence[Example]) -> Tensor:
    return torch.stack([study.labels for study in studies])
