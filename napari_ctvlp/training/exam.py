"""The same painted crops for every model that is compared: where, what and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.training.check import auroc, painted
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.objectives.elvis import locality
from napari_ctvlp.training.reporting import in_view
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, FINDINGS
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker
from napari_ctvlp.training.targets import targets

#: Tokens whose mean logit is an anatomy's score, and tokens per crop of the locality.
TOP, SPOTS = 8, 256


@dataclass(frozen=True)
class Question:
    """One crop with a painted finding.

    Attributes
    ----------
    number : int
        Index of the finding.
    hu, place : Tensor
        What the tower sees, half precision.
    said, positive : ndarray, shape (tokens,), bool
        Tokens about which the target speaks, and those it calls present.
    view : mapping of str to ndarray of flat token indices
        Anatomies in view.
    there : set of (organ, finding)
        What was painted.
    """

    number: int
    hu: Tensor
    place: Tensor
    said: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    view: dict[str, NDArray[np.intp]]
    there: frozenset[tuple[str, str]]


def questions(
    chests: Sequence[Chest], seed: int, each: int, findings: Sequence[str] = FINDINGS
) -> list[Question]:
    """Paint ``each`` crops per finding that these CTs have a place for."""
    maker = CropMaker(chests)
    return [
        _question(crop, FINDINGS.index(name))
        for name in findings
        for crop in painted(maker, name, (seed * 79 + FINDINGS.index(name)) * 100_003, each)
    ]


@torch.no_grad()
def examine(tower: Tower, asked: Sequence[Question], seed: int = 0) -> dict[str, float]:
    """Measure a tower.

    Returns
    -------
    dict of str to float
        ``pointing`` (share of crops whose highest token lies in the finding), ``top-1`` (share
        of its tokens whose best finding is the right one) and ``AUROC`` (painted against other
        tokens), means over the findings; ``presence AUROC`` (mean of an anatomy's highest
        logits, with against without the finding, mean over pairs that occur both ways) and
        ``locality`` (:func:`elvis.locality` from the features before the head to the tokens).
    """
    generator = torch.Generator().manual_seed(seed)
    rows, kept = [], []
    scores: dict[tuple[str, int], list[tuple[float, bool]]] = {}
    for one in asked:
        pre, tokens = _seen(tower, one)
        logits = tower.logits(tokens).numpy()[:, : len(FINDINGS)]
        rows.append((one.number, *_judged(logits, one)))
        for organ, where in one.view.items():
            for number, name in enumerate(FINDINGS):
                best = np.sort(logits[where, number])[-TOP:].mean()
                pair = scores.setdefault((organ, number), [])
                pair.append((float(best), (organ, name) in one.there))
        body = torch.nonzero(one.place[3].flatten() > 0).flatten()
        spots = body[torch.randperm(len(body), generator=generator)[:SPOTS]]
        kept.append(locality(pre[None, spots], tokens[None, spots], torch.ones(1, len(spots)) > 0))
    means = [_by_finding(rows, column) for column in (1, 2, 3)]
    made = dict(zip(("AUROC", "pointing", "top-1"), means, strict=True))
    return made | {"presence AUROC": _presence(scores), "locality": float(np.nanmean(kept))}


def _question(crop: Crop, number: int) -> Question:
    target, _ = targets(crop)
    flat = crop.organs.flatten()
    numbers = {name: ANATOMIES.index(name) + 1 for name in in_view(crop)}
    body = (crop.place[3] > 0).flatten()
    return Question(
        number,
        crop.canvas.hu.half(),
        crop.place.half(),
        ((target[:, number] >= 0) & body).numpy(),
        (target[:, number] == 1).numpy(),
        {name: torch.nonzero(flat == n).flatten().numpy() for name, n in numbers.items()},
        frozenset((p.organ, p.finding) for p in crop.painted),
    )


def _seen(tower: Tower, one: Question) -> tuple[Tensor, Tensor]:
    """Return features and tokens as rows, shapes (tokens, 96) and (tokens, 64)."""
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
        made = tower.features(one.hu.float()[None, None], one.place.float()[None])
    pre, tokens = (x[0].flatten(1).T.float() for x in made)
    return pre, tokens


def _judged(logits: NDArray[np.float32], one: Question) -> tuple[float, float, float]:
    """Return AUROC, whether the peak is inside, and the share of tokens named right."""
    if not one.positive.any():
        return float("nan"), float("nan"), float("nan")
    own = logits[:, one.number]
    top = int(np.argmax(np.where(one.said, own, -np.inf)))
    right = logits[one.positive].argmax(axis=1) == one.number
    area = auroc(own[one.said], one.positive[one.said])
    return area, float(one.positive[top]), float(right.mean())


def _by_finding(rows: Sequence[tuple[int, float, float, float]], column: int) -> float:
    """Mean over findings of the mean over their crops."""
    numbers = sorted({row[0] for row in rows})
    each = [np.array([row[column] for row in rows if row[0] == n]) for n in numbers]
    means = [values[np.isfinite(values)].mean() for values in each if np.isfinite(values).any()]
    return float(np.mean(means)) if means else float("nan")


def _presence(scores: dict[tuple[str, int], list[tuple[float, bool]]]) -> float:
    areas = []
    for pairs in scores.values():
        values, there = (np.array(column) for column in zip(*pairs, strict=True))
        areas.append(auroc(values.astype(np.float32), there.astype(bool)))
    known = np.array(areas)[np.isfinite(areas)]
    return float(known.mean()) if known.size else float("nan")
