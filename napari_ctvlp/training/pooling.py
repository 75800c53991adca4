"""Second phase: the organ queries, trained with the tower frozen.

A bag is one organ of a whole training chest, with or without a painted finding in it. Its text
is the direction of that finding's concept, or the organ's own "nothing found".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.models.encoders.mini import JUDGED, NOT_IN_LUNG
from napari_ctvlp.models.encoders.mini_pool import LATERAL_MM, MIDDLE_MM, ORGANS, WALL_MM, Pool
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.objectives.fvlm import fvlm_loss
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.whole import Painted, lung_tokens, thorax_of

#: Tokens kept per bag, painted ones always.
MOST = 3000
#: An organ holds the finding from this many painted tokens on.
LEAST = 3


@dataclass(frozen=True)
class Bag:
    """Tokens of one organ.

    Attributes
    ----------
    organ : int
        Index into ``ORGANS``.
    meaning : int
        0 nothing painted, else 1 + index of the finding.
    tokens : Tensor, shape (n, 64), float16
    """

    organ: int
    meaning: int
    tokens: Tensor


def organ_tokens(chest: Chest) -> dict[str, NDArray[np.bool_]]:
    """Return the organs' regions of a prepared chest, as ``mini_pool.organ_masks`` draws them."""
    thorax, lungs = thorax_of(chest), lung_tokens(chest)
    start = -chest.affine[0, 3] + 1.0
    side = start + 4.0 * np.arange(lungs.shape[2]) - chest.box.centre[2]
    side = side[None, None, :]
    rest = thorax & ~lungs
    body = chest.body_mm[::2, ::2, ::2] > 0
    wall = np.asarray(ndimage.distance_transform_edt(~thorax, sampling=4.0)) <= WALL_MM
    slices = np.asarray(thorax.any(axis=(1, 2)))[:, None, None]
    return {
        "lung_left": lung_tokens(chest, 1) | (rest & (side > LATERAL_MM)),
        "lung_right": lung_tokens(chest, 2) | (rest & (side < -LATERAL_MM)),
        "mediastinum": rest & (np.abs(side) < MIDDLE_MM),
        "chest_wall": body & wall & slices & ~thorax,
    }


def bags_of(
    tokens: Tensor,
    painted: Painted,
    organs: dict[str, NDArray[np.bool_]],
    unknown: NDArray[np.bool_],
    generator: torch.Generator,
) -> list[Bag]:
    """Cut an encoded chest into one bag per organ.

    Parameters
    ----------
    tokens : Tensor, shape (i, p, l, 64)
    painted : Painted
    organs : mapping of str to mask
    unknown : ndarray of bool
        Left out: a real finding may be there.
    generator : torch.Generator
    """
    bags = []
    for number, organ in enumerate(ORGANS):
        mask = organs[organ] & ~unknown
        truth = painted.truth & mask
        if not mask.any() or 0 < truth.sum() < LEAST:
            continue
        meaning = FINDINGS.index(painted.finding) + 1 if truth.any() else 0
        if meaning and not judged(organ, painted.finding):
            continue
        rest = _some(tokens[torch.from_numpy(mask & ~truth)], generator)
        rows = torch.cat([tokens[torch.from_numpy(truth)], rest])
        bags.append(Bag(number, meaning, rows.half()))
    return bags


def judged(organ: str, finding: str) -> bool:
    """Return True when the model is meant to judge a finding in an organ."""
    return finding in JUDGED[organ] if organ in JUDGED else finding not in NOT_IN_LUNG


def train_pool(
    tower: Tower, bags: Sequence[Bag], seed: int = 0, steps: int = 400, size: int = 12
) -> Pool:
    """Train the organ queries.

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
    pool = Pool()
    generator = torch.Generator().manual_seed(seed)
    rest = [pool.project, pool.normal, pool.scale]
    groups: list[dict[str, Any]] = [{"params": [pool.query], "lr": 1e-2}, {"params": rest}]
    optimiser = torch.optim.AdamW(groups, lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    by_organ = [[bag for bag in bags if bag.organ == n] for n in range(len(ORGANS))]
    findings = functional.normalize(tower.table.detach()[: len(FINDINGS)], dim=1)
    for _ in range(steps):
        optimiser.zero_grad()
        losses = []
        for number, own in enumerate(by_organ):
            if len(own) < 4:
                continue
            chosen = _balanced(own, size, generator)
            images = torch.stack([pool(bag.tokens.float(), number) for bag in chosen])
            meaning = torch.tensor([bag.meaning for bag in chosen])
            prompts = torch.cat([pool.absent()[number : number + 1], findings])
            losses.append(fvlm_loss(images, prompts[meaning], meaning, pool.scale.exp()))
        torch.stack(losses).mean().backward()
        optimiser.step()
        schedule.step()
    return pool.eval()


def judge_pool(tower: Tower, pool: Pool, bags: Sequence[Bag]) -> dict[str, float]:
    """Return per finding the AUROC of the margin over an organ's bags, painted against nothing."""
    from napari_ctvlp.training.check import auroc

    findings = functional.normalize(tower.table.detach()[: len(FINDINGS)], dim=1)
    margins: list[tuple[int, int, NDArray[np.float32]]] = []
    for bag in bags:
        with torch.no_grad():
            vector = pool(bag.tokens.float(), bag.organ)
            margin = findings @ vector - pool.absent()[bag.organ] @ vector
        margins.append((bag.organ, bag.meaning, margin.numpy()))
    out = {}
    for index, name in enumerate(FINDINGS):
        scores, truth = [], []
        for organ, meaning, margin in margins:
            if meaning in (0, index + 1) and judged(ORGANS[organ], name):
                scores.append(margin[index])
                truth.append(meaning == index + 1)
        out[name] = auroc(np.array(scores, np.float32), np.array(truth, bool))
    return out


def save_bags(bags: Sequence[Bag], path: Path) -> None:
    """Keep bags between the phases."""
    torch.save([(bag.organ, bag.meaning, bag.tokens) for bag in bags], path)


def load_bags(path: Path) -> list[Bag]:
    """Read what :func:`save_bags` wrote."""
    return [Bag(*row) for row in torch.load(path, weights_only=True)]


def _some(tokens: Tensor, generator: torch.Generator) -> Tensor:
    return tokens[torch.randperm(len(tokens), generator=generator)[:MOST]]


def _balanced(bags: Sequence[Bag], size: int, generator: torch.Generator) -> list[Bag]:
    """Draw bags so that "nothing" makes up about a third."""
    weights = torch.tensor([1.0 if bag.meaning else 0.0 for bag in bags])
    empty = 1 - weights
    weights = weights / weights.sum().clamp(min=1) + 0.5 * empty / empty.sum().clamp(min=1)
    count = min(size, len(bags))
    return [bags[n] for n in torch.multinomial(weights, count, generator=generator).tolist()]
