"""The 2D expert: a small network that reads radiographs, and the studies it knows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.training.objectives.reports import TOKEN, Adapter, Temperature

#: Mean and standard deviation of attenuation integrals over rendered crops, roughly.
MIDDLE, SPREAD = 2.0, 1.0


class Expert(nn.Module):
    """Image and report encoders with a common space.

    Parameters
    ----------
    width : int
        Channels of the first stage; each of three more has half as many again.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        channels = [2, width, width * 3 // 2, width * 9 // 4, width * 27 // 8]
        stages = [_stage(a, b) for a, b in itertools.pairwise(channels)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(2 * channels[-1], TOKEN)
        self.adapter = Adapter()
        self.temperature = Temperature()

    def forward(self, radiographs: Tensor) -> Tensor:
        """Encode frontal and lateral, (n, 2, h, w) attenuation integrals, to unit (n, 64)."""
        seen = self.stages((radiographs.float() - MIDDLE) / SPREAD)
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)
        return functional.normalize(self.head(pooled), dim=1)


@dataclass(frozen=True)
class Bank:
    """Studies that can be found by language.

    Attributes
    ----------
    images : Tensor, shape (m, 64)
        The expert's image vectors.
    reports : Tensor, shape (m, 384)
        Report vectors of the text tower.
    findings : Tensor, shape (m,), int64
        Sets of findings, see :func:`~napari_ctvlp.training.objectives.reports.finding_set`.
    """

    images: Tensor
    reports: Tensor
    findings: Tensor


def save(path: Path, expert: Expert, bank: Bank, facts: dict[str, Any]) -> None:
    """Write expert and bank; ``facts`` (seeds, measures) are plain numbers and words."""
    kept = {"expert": expert.state_dict(), "bank": dict(vars(bank)), "facts": facts}
    torch.save(kept, path)


def load(path: Path) -> tuple[Expert, Bank, dict[str, Any]]:
    """Read what :func:`save` wrote; no code is run from the file.

    Raises
    ------
    ModelRefused
        If the file is missing or holds something else.
    """
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        expert = Expert(len(kept["expert"]["stages.0.0.weight"]))
        expert.load_state_dict(kept["expert"])
        bank = Bank(**kept["bank"])
    except Exception as error:  # a pickle of anything may fail in any way
        raise ModelRefused(
            "bad-expert", "an expert written by training/expert.py.", f"{path}: {error}.",
            "Train one with napari_ctvlp.training.expert, or leave the bank out of the config.",
        ) from error  # fmt: skip
    return expert.eval(), bank, kept["facts"]


def hit_rate(queries: Bank, pool: Bank, rows: Tensor) -> float:
    """Return how often a retrieved study shares a finding with the query.

    Two studies without any finding share that. NaN without queries.

    Parameters
    ----------
    queries, pool : Bank
    rows : Tensor, shape (n, k), int64
        Of the pool, per query.
    """
    ours, theirs = queries.findings[:, None], pool.findings[rows]
    return float((((ours & theirs) != 0) | ((ours == 0) & (theirs == 0))).float().mean())


def _stage(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=2, padding=1),
        nn.GroupNorm(1, outside),
        nn.GELU(),
        nn.Conv2d(outside, outside, 3, padding=1),
        nn.GroupNorm(1, outside),
        nn.GELU(),
    )
