"""The synthetic check: fresh crops of training chests with one painted finding each.

Every choice about mini is made on this and on whole training chests with a pasted finding
(``whole.py``), never on an evaluation CT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker
from napari_ctvlp.training.targets import targets

#: Crops without a painted voxel are drawn again, this many times at most.
TRIES = 12
#: Half augmentation: the check should look like CTs, not like the hardest training crops.
STRENGTH = 0.5


@dataclass(frozen=True)
class Row:
    """What the check says of one finding.

    Attributes
    ----------
    finding : str
    crops : int
        Crops in which it could be painted.
    auroc : float
        Mean over crops of painted against unpainted tokens in the body.
    inside : float
        Share of crops whose highest token lies in the painted finding.
    first : float
        Share of painted tokens (mean over crops) whose best finding is the right one.
    confused : str
        The finding most often best instead.
    """

    finding: str
    crops: int
    auroc: float
    inside: float
    first: float
    confused: str


def check(tower: Tower, chests: Sequence[Chest], seed: int = 777, each: int = 6) -> list[Row]:
    """Run the synthetic check.

    Parameters
    ----------
    tower : Tower
    chests : sequence of Chest
        Training chests.
    seed : int
        Must differ from every training seed.
    each : int
        Crops per finding.
    """
    maker = CropMaker(chests)
    rows = []
    for number, name in enumerate(FINDINGS):
        crops = painted(maker, name, seed * 7_919_017 + number * 100_003, each)
        rows.append(_row(name, [_judge(tower, crop, number) for crop in crops]))
    return rows


def painted(maker: CropMaker, name: str, seed: int, each: int) -> list[Crop]:
    """Draw crops in which one finding was really painted; none where no CT has its place."""
    crops: list[Crop] = []
    for attempt in range(each * TRIES if maker.can(name) else 0):
        crop = maker.make(seed + attempt, STRENGTH, [name])
        if int((crop.canvas.found == FINDINGS.index(name) + 1).sum()) >= 16:
            crops.append(crop)
        if len(crops) == each:
            break
    return crops


def logits_of(tower: Tower, crop: Crop) -> NDArray[np.float32]:
    """Return concept logits of every token of a crop, shape (tokens, concepts)."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
        tokens = tower(crop.canvas.hu[None, None], crop.place[None])[0]
    with torch.inference_mode():
        rows = tokens.permute(1, 2, 3, 0).reshape(-1, tokens.shape[0])
        return np.asarray(tower.logits(rows).numpy(), np.float32)


def auroc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks; NaN when one class is empty."""
    count, total = int(positive.sum()), positive.size
    if not 0 < count < total:
        return float("nan")
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (total - count)))


def table(rows: Sequence[Row]) -> str:
    """Format the check as a Markdown table with a last line of means."""
    head = "| finding | crops | AUROC | peak inside | best of all | confused with |"
    lines = [head, "|" + "---|" * 6]
    for row in rows:
        numbers = f"{row.auroc:.3f} | {row.inside:.2f} | {row.first:.2f}"
        lines.append(f"| {row.finding} | {row.crops} | {numbers} | {row.confused or '-'} |")
    made = means(rows)
    numbers = f"{made['auroc']:.3f} | {made['inside']:.2f} | {made['first']:.2f}"
    return "\n".join([*lines, f"| mean | | {numbers} | |"])


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Return the means over the findings that could be painted; NaN without any."""
    made = [row for row in rows if row.crops]
    names = ("auroc", "inside", "first")
    return {n: _mean([getattr(r, n) for r in made]) for n in names}


def _mean(values: Sequence[float]) -> float:
    """Mean of what is finite, NaN without any."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _judge(tower: Tower, crop: Crop, number: int) -> tuple[float, float, float, list[int]]:
    logits = logits_of(tower, crop)
    target, _ = targets(crop)
    said = (target[:, number] >= 0).numpy() & (crop.place[3] > 0).flatten().numpy()
    positive = (target[:, number] == 1).numpy()
    if not positive.any():
        return float("nan"), float("nan"), float("nan"), []
    scores = logits[:, number]
    top = int(np.argmax(np.where(said, scores, -np.inf)))
    best = logits[positive][:, : len(FINDINGS)].argmax(axis=1)
    area = auroc(scores[said], positive[said])
    right = best == number
    return area, float(positive[top]), float(right.mean()), best[~right].tolist()


def _row(name: str, judged: Sequence[tuple[float, float, float, list[int]]]) -> Row:
    if not judged:
        return Row(name, 0, float("nan"), float("nan"), float("nan"), "")
    values = np.array([entry[:3] for entry in judged])
    wrong = np.array([n for entry in judged for n in entry[3]], dtype=int)
    others = np.bincount(wrong, minlength=len(FINDINGS))
    confused = FINDINGS[int(others.argmax())] if others.any() else ""
    # There is no area where every token that may be judged holds the finding.
    area, inside, first = (_mean(column) for column in values.T.tolist())
    return Row(name, len(judged), area, inside, first, confused)
