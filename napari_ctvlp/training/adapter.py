"""Second phase, with the tower frozen: the text adapter learns from sentences and their tokens.

Each crop's report is written by the grammar. A sentence that asserts a painted finding is shown
the tokens of that painting as positives, and as negatives the rest of the crop, above all the
places the finding's concept takes for it; the same finding painted on the other side is a
negative of a sided sentence. A sentence that denies is shown negatives only. Beside that, every
glossary term is held near its concept's direction, so that the adapter starts from what the
concepts know. Ours; the papers have no such step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.models.encoders.mini_adapter import Adapter
from napari_ctvlp.models.encoders.mini_tower import NORM, Tower
from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.reporting import in_view, unsure
from napari_ctvlp.training.synthesis.canvas import FINDINGS, Chance
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker
from napari_ctvlp.training.synthesis.reports import Sentence, write
from napari_ctvlp.training.targets import concepts, targets
from napari_ctvlp.training.text_head import Remembering, glossary, wordings

#: Tokens kept of one sentence: positives, the hardest negatives, others.
POSITIVE, HARD, OTHER = 300, 200, 300
#: Sentences that deny, at most per crop.
DENIALS = 2
STEPS, RATE, BATCH, TERMS = 1500, 1e-3, 24, 128
#: Noise on sentence vectors, per component; weight of the glossary.
NOISE, ANCHOR = 0.02, 1.0


@dataclass(frozen=True)
class Spoken:
    """One sentence and tokens it is true or untrue of.

    Attributes
    ----------
    text : str
    finding : int
        Index of the finding it speaks of.
    tokens : Tensor, shape (n, 64), float16
    target : Tensor, shape (n,), bool
    """

    text: str
    finding: int
    tokens: Tensor
    target: Tensor


def spoken(
    tower: Tower, chests: Sequence[Chest], seed: int, crops: int, family: str = "train"
) -> Iterator[Spoken]:
    """Yield the sentences of freshly painted crops with their tokens.

    Parameters
    ----------
    tower : Tower
        Frozen, in evaluation mode.
    chests : sequence of Chest
    seed, crops : int
    family : {"train", "held_out"}
        Of the report grammar's wording.
    """
    maker = CropMaker(chests)
    generator = torch.Generator().manual_seed(seed)
    for number in range(crops):
        crop = maker.make(seed * 1_000_003 + number)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
            rows = tower(crop.canvas.hu[None, None], crop.place[None])[0]
        tokens = rows.float().permute(1, 2, 3, 0).reshape(-1, rows.shape[0]).clone()
        target, _ = targets(crop)
        dice = Chance(seed + number)
        report = write(crop.painted, in_view(crop), dice, family=family, unsure=unsure(crop))
        denials = 0
        for sentence in report.sentences:
            if sentence.finding not in FINDINGS or sentence.state == "uncertain":
                continue
            denials += sentence.state == "absent"
            if sentence.state == "absent" and denials > DENIALS:
                continue
            yield _spoken(tower, crop, sentence, tokens, target, generator)


def train_adapter(
    tower: Tower,
    text: Remembering,
    heard: Sequence[Spoken],
    seed: int = 0,
    steps: int = STEPS,
    model: str = "mini",
) -> Adapter:
    """Train an adapter on sentences with their tokens and on the glossary.

    Parameters
    ----------
    tower : Tower
        Frozen.
    text : Remembering
        Text tower.
    heard : sequence of Spoken
    seed, steps : int
    model : str
        Card whose concepts the tower knows.
    """
    torch.manual_seed(seed)
    adapter = Adapter()
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.from_numpy(text.embed([one.text for one in heard]))
    phrases = wordings(glossary(), "train", seed, model)
    asserted = torch.from_numpy(np.asarray(phrases.negated) < 0.5)
    terms = torch.from_numpy(text.embed(phrases.texts))[asserted]
    which = torch.from_numpy(phrases.concept)[asserted]
    odds = 1.0 / torch.bincount(which).float().clamp(min=1)[which]
    kinds = torch.tensor([one.finding for one in heard])
    share = 1.0 / torch.bincount(kinds).float().clamp(min=1).sqrt()[kinds]
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        some = torch.multinomial(share, BATCH, replacement=True, generator=generator)
        few = torch.multinomial(odds, TERMS, replacement=True, generator=generator)
        directions, shifts = adapter(_noisy(vectors[some], generator))
        costs = [
            _cost(heard[int(n)], direction, shift)
            for n, direction, shift in zip(some, directions, shifts, strict=True)
        ]
        near = anchor(tower, adapter(_noisy(terms[few], generator)), which[few])
        optimiser.zero_grad()
        (torch.stack(costs).mean() + ANCHOR * near).backward()
        optimiser.step()
        schedule.step()
    return adapter.eval()


def anchor(tower: Tower, said: tuple[Tensor, Tensor], which: Tensor) -> Tensor:
    """Return how far directions and biases are from those of their concepts, relative."""
    directions, shifts = said
    table, bias = tower.table.detach()[which] / NORM, tower.bias.detach()[which]
    size = table.pow(2).sum(dim=1)
    away = (directions - table).pow(2).sum(dim=1) / size + (shifts - bias).pow(2) / 16
    return away.mean()


def _cost(one: Spoken, direction: Tensor, shift: Tensor) -> Tensor:
    """Balanced binary cross-entropy of one sentence over its tokens."""
    logits = one.tokens.float() @ direction + shift
    absent = functional.softplus(logits[~one.target]).mean()
    if not bool(one.target.any()):
        return absent
    return absent + functional.softplus(-logits[one.target]).mean()


def _spoken(
    tower: Tower,
    crop: Crop,
    sentence: Sentence,
    tokens: Tensor,
    target: Tensor,
    generator: torch.Generator,
) -> Spoken:
    """Choose the tokens of a sentence; a sided one is untrue of the other side."""
    column = concepts().index(sentence.finding)
    here = target[:, column] == 1
    against = target[:, column] == 0
    if sentence.state == "absent":
        here = torch.zeros_like(here)
    elif sentence.organ in ("lung_left", "lung_right", "kidney_left", "kidney_right"):
        left = functional.avg_pool3d(crop.canvas.across[None, None], 2).flatten() > 0
        wrong = left != sentence.organ.endswith("left")
        here, against = here & ~wrong, against | (here & wrong)
    with torch.inference_mode():
        logits = tower.logits(tokens)[:, column]
    hard = torch.where(against, logits, -torch.inf).topk(HARD).indices
    others = _some(torch.nonzero(against & (crop.place[3].flatten() > 0)).flatten(), generator)
    kept = _some(torch.nonzero(here).flatten(), generator)
    rows = torch.cat([kept[:POSITIVE], hard, others[:OTHER]])
    truth = torch.zeros(len(rows), dtype=torch.bool)
    truth[: len(kept[:POSITIVE])] = True
    return Spoken(sentence.text, FINDINGS.index(sentence.finding), tokens[rows].half(), truth)


def _some(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def _noisy(vectors: Tensor, generator: torch.Generator) -> Tensor:
    return vectors + NOISE * torch.randn(vectors.shape, generator=generator)
