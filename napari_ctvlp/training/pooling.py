"""Second phase, with the tower frozen: organ vectors, and how findings show in whole organs.

A bag is one organ of a whole training CT, with or without a painted finding in it. Its text is
the direction of that finding's concept, or the organ's own "nothing found".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.core.geometry import coarse_affine
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.models.encoders.mini_pool import ORGANS, Pool, organ_masks, pooled
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.training.check import auroc
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.objectives.fvlm import fvlm_loss
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.targets import MAYBE_CALCIUM, MAYBE_REAL
from napari_ctvlp.training.unseen import anatomy, scan_of
from napari_ctvlp.training.whole import Painted

#: How sharply a finding may pick its tokens; the sharpest that separates best is taken.
FOCUS = (0.0, 0.5, 1.0, 2.0, 4.0)
#: Tokens kept per bag for the organ's vector, painted ones always.
MOST = 2000
#: An organ holds the finding from this many painted tokens on.
LEAST = 3
#: Bags with and without a finding that a pair of organ and finding is fitted on, at least.
WITH, WITHOUT = 2, 4
#: What a painting may bring along: nothing is said of it in the same organ.
BRINGS = {
    "effusion": ("atelectasis",), "mass": ("nodule", "ground_glass"), "nodule": ("mass",),
    "calcified_nodule": ("nodule",), "cavity": ("mass", "nodule"), "pneumothorax": ("emphysema",),
    "emphysema": ("pneumothorax",), "atelectasis": ("consolidation",),
    "consolidation": ("atelectasis",), "ground_glass": ("fibrosis",), "fibrosis": ("ground_glass",),
    "bronchiectasis": ("fibrosis",), "hydronephrosis": ("kidney_cyst",),
}  # fmt: skip


@dataclass(frozen=True)
class Bag:
    """One organ of one CT.

    Attributes
    ----------
    organ : int
        Index into ``ORGANS``.
    labels : Tensor, shape (findings,), int8
        1 painted there, 0 not there, -1 nothing said.
    pooled : Tensor, shape (len(FOCUS), findings), float32
        Each finding's similarity to the organ, by focus.
    tokens : Tensor, shape (n, 64), float16
    """

    organ: int
    labels: Tensor
    pooled: Tensor
    tokens: Tensor

    @property
    def meaning(self) -> int:
        """0 for nothing painted, else 1 + index of the finding."""
        there = torch.nonzero(self.labels == 1).flatten()
        return 1 + int(there[0]) if there.numel() else 0


def organ_tokens(chest: Chest) -> dict[str, NDArray[np.bool_]]:
    """Return where each of the fifteen anatomies is looked at, on the CT's token grid."""
    i, p, l = (n // 2 for n in chest.hu.shape)  # noqa: E741 - the axis is called L
    found = anatomy(chest, scan_of(chest, chest.hu))
    return organ_masks(found, (i, p, l), coarse_affine(chest.affine, 2))


def bags_of(
    tower: Tower,
    tokens: Tensor,
    painted: Painted,
    organs: dict[str, NDArray[np.bool_]],
    unknown: NDArray[np.bool_],
    silent: Sequence[str],
    generator: torch.Generator,
) -> list[Bag]:
    """Cut an encoded CT into one bag per organ.

    Parameters
    ----------
    tower : Tower
    tokens : Tensor, shape (i, p, l, 64)
    painted : Painted
    organs : mapping of str to mask
    unknown : ndarray of bool
        Left out: a real finding may be there.
    silent : sequence of str
        Findings this patient may really have, see :func:`silent_findings`.
    generator : torch.Generator
    """
    bags = []
    for number, organ in enumerate(ORGANS):
        mask = organs[organ] & ~(unknown & ~painted.truth)
        truth = painted.truth & mask
        if not mask.any() or 0 < truth.sum() < LEAST:
            continue
        rows = tokens[torch.from_numpy(mask)]
        with torch.inference_mode():
            logits = tower.logits(rows)[:, : len(FINDINGS)]
            each = torch.stack([pooled(logits, focus) for focus in FOCUS])
        rest = _some(tokens[torch.from_numpy(mask & ~truth)], generator)
        kept = torch.cat([tokens[torch.from_numpy(truth)], rest])
        labels = _labels(painted.finding if truth.any() else "", silent)
        bags.append(Bag(number, labels, each.clone(), kept.half()))
    return bags


def silent_findings(chest: Chest) -> tuple[str, ...]:
    """Return the findings a patient may have without anybody having said so."""
    return (*MAYBE_REAL, *MAYBE_CALCIUM) if chest.case.unknown_findings else ()


def judged() -> Tensor:
    """Return which findings are looked for in which organ, shape (organs, findings), bool."""
    table = torch.zeros(len(ORGANS), len(FINDINGS), dtype=torch.bool)
    for finding in findings().values():
        if finding.concept in FINDINGS:
            for organ in set(finding.organs) & set(ORGANS):
                table[ORGANS.index(organ), FINDINGS.index(finding.concept)] = True
    return table


def train_pool(
    tower: Tower, bags: Sequence[Bag], seed: int = 0, steps: int = 400, size: int = 12
) -> Pool:
    """Train the organ queries, then fit focus and levels.

    Parameters
    ----------
    tower : Tower
        Its concept table gives the texts; it is not changed.
    bags : sequence of Bag
    seed, steps : int
    size : int
        Bags of one organ contrasted at a time.
    """
    torch.manual_seed(seed)
    pool = Pool(len(FINDINGS))
    generator = torch.Generator().manual_seed(seed)
    rest = [pool.project, pool.normal, pool.scale]
    groups: list[dict[str, Any]] = [{"params": [pool.query], "lr": 1e-2}, {"params": rest}]
    optimiser = torch.optim.AdamW(groups, lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    by_organ = [[bag for bag in bags if bag.organ == n] for n in range(len(ORGANS))]
    directions = functional.normalize(tower.table.detach()[: len(FINDINGS)], dim=1)
    for _ in range(steps):
        optimiser.zero_grad()
        losses = []
        for number, own in enumerate(by_organ):
            if len(own) < WITHOUT:
                continue
            chosen = _balanced(own, size, generator)
            images = torch.stack([pool(bag.tokens.float(), number) for bag in chosen])
            meaning = torch.tensor([bag.meaning for bag in chosen])
            prompts = torch.cat([pool.absent()[number : number + 1], directions])
            losses.append(fvlm_loss(images, prompts[meaning], meaning, pool.scale.exp()))
        torch.stack(losses).mean().backward()
        optimiser.step()
        schedule.step()
    fit_levels(pool, bags)
    return pool.eval()


def fit_levels(pool: Pool, bags: Sequence[Bag]) -> None:
    """Choose how sharply each finding looks, and the level half way between with and without.

    Both sides of a paired organ share their level. What has too few bags stays NaN.
    """
    wanted = judged()
    for index in range(len(FINDINGS)):
        groups = _groups(bags, index, wanted)
        usable = {k: v for k, v in groups.items() if len(v[0]) >= WITH and len(v[1]) >= WITHOUT}
        if not usable:
            continue
        areas = [
            np.mean([_area(there[:, n], none[:, n]) for there, none in usable.values()])
            for n in range(len(FOCUS))
        ]
        best = max(range(len(FOCUS)), key=lambda n: (round(float(areas[n]), 3), n))
        pool.focus[index] = FOCUS[best]
        for name, (there, none) in usable.items():
            level = (np.median(there[:, best]) + np.median(none[:, best])) / 2
            for number, organ in enumerate(ORGANS):
                if _pair(organ) == name and wanted[number, index]:
                    pool.level[number, index] = float(level)


def judge_pool(pool: Pool, bags: Sequence[Bag]) -> dict[str, float]:
    """Return per finding the AUROC of the margin over organs with and without it."""
    out, wanted = {}, judged()
    for index, name in enumerate(FINDINGS):
        best = int(np.argmin([abs(f - float(pool.focus[index])) for f in FOCUS]))
        areas = [
            _area(there[:, best], none[:, best])
            for there, none in _groups(bags, index, wanted).values()
            if len(there) and len(none)
        ]
        out[name] = float(np.mean(areas)) if areas else float("nan")
    return out


def save_bags(bags: Sequence[Bag], path: Path) -> None:
    """Keep bags between the phases."""
    torch.save([(bag.organ, bag.labels, bag.pooled, bag.tokens) for bag in bags], path)


def load_bags(path: Path) -> list[Bag]:
    """Read what :func:`save_bags` wrote."""
    return [Bag(*row) for row in torch.load(path, weights_only=True)]


def _labels(finding: str, silent: Sequence[str]) -> Tensor:
    labels = torch.zeros(len(FINDINGS), dtype=torch.int8)
    for name in (*silent, *BRINGS.get(finding, ())):
        labels[FINDINGS.index(name)] = -1
    if finding:
        labels[FINDINGS.index(finding)] = 1
    return labels


def _groups(
    bags: Sequence[Bag], index: int, wanted: Tensor
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """By organ (both sides together): similarities with and without one finding, (n, focus)."""
    rows: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    for bag in bags:
        label = int(bag.labels[index])
        if wanted[bag.organ, index] and label >= 0:
            rows.setdefault(_pair(ORGANS[bag.organ]), ([], []))[1 - label].append(
                bag.pooled[:, index]
            )
    return {name: (_stacked(there), _stacked(none)) for name, (there, none) in rows.items()}


def _stacked(rows: list[Tensor]) -> NDArray[np.float32]:
    return torch.stack(rows).numpy() if rows else np.zeros((0, len(FOCUS)), np.float32)


def _pair(organ: str) -> str:
    return organ.removesuffix("_left").removesuffix("_right")


def _area(there: NDArray[np.float32], none: NDArray[np.float32]) -> float:
    """Probability that an organ with the finding scores higher than one without."""
    return auroc(np.concatenate([there, none]), np.arange(len(there) + len(none)) < len(there))


def _some(tokens: Tensor, generator: torch.Generator) -> Tensor:
    return tokens[torch.randperm(len(tokens), generator=generator)[:MOST]]


def _balanced(bags: Sequence[Bag], size: int, generator: torch.Generator) -> list[Bag]:
    """Draw bags so that "nothing" makes up about a third."""
    weights = torch.tensor([1.0 if bag.meaning else 0.0 for bag in bags])
    empty = 1 - weights
    weights = weights / weights.sum().clamp(min=1) + 0.5 * empty / empty.sum().clamp(min=1)
    count = min(size, len(bags))
    return [bags[n] for n in torch.multinomial(weights, count, generator=generator).tolist()]
