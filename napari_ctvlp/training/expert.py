"""Trains the 2D expert on radiographs rendered from synthetic studies, and fills its bank.

BIUD's expert was trained on real radiographs; ours reads radiographs computed from the crops that
the tower itself learns from, because no radiograph may be used here. Symmetric contrast of images
and reports, corrected for false negatives by the overlap of their findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ctvlp.models.radiograph import both_views
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.objectives.biud import overlap, retrieve, robust_contrast
from napari_ctvlp.training.objectives.reports import finding_set, members, report_vector
from napari_ctvlp.training.objectives.teacher import Bank, Expert, hit_rate, save
from napari_ctvlp.training.reporting import in_view, meaning, unsure
from napari_ctvlp.training.synthesis.canvas import Chance
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker
from napari_ctvlp.training.synthesis.reports import write


class Embeds(Protocol):
    """A text tower."""

    def embed(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (n, 384)."""
        ...


@dataclass(frozen=True)
class Studies:
    """Rendered studies.

    Attributes
    ----------
    radiographs : Tensor, shape (n, 2, h, w)
        Attenuation integrals, frontal and lateral.
    reports : Tensor, shape (n, 384)
        Report vectors.
    findings : Tensor, shape (n,), int64
        Sets of findings.
    """

    radiographs: Tensor
    reports: Tensor
    findings: Tensor

    def some(self, rows: Tensor) -> Studies:
        """Return a part."""
        return Studies(self.radiographs[rows], self.reports[rows], self.findings[rows])


def render(
    chests: Sequence[Chest], tower: Embeds, seeds: Sequence[int], *, family: str = "train"
) -> Studies:
    """Make one study per seed: a crop, its two radiographs, its report.

    Parameters
    ----------
    chests : sequence of Chest
    tower : Embeds
    seeds : sequence of int
    family : str
        Wording of the reports, ``"train"`` or ``"held_out"``.
    """
    images, reports, sets = [], [], []
    for seed, crop in zip(seeds, _crops(chests, seeds), strict=True):
        dice, doubtful = Chance(seed), unsure(crop)
        said = write(crop.painted, in_view(crop), dice, family=family, unsure=doubtful).sentences
        there = [s for s in said if meaning(s)]
        vectors = tower.embed([s.text for s in there or said] or ["Nothing to report."])
        images.append(both_views(crop.canvas.hu))
        reports.append(report_vector(torch.from_numpy(vectors)))
        sets.append(finding_set(torch.tensor([meaning(s) for s in there])))
    return Studies(torch.stack(images), torch.stack(reports), torch.tensor(sets))


def train_expert(studies: Studies, seed: int = 0, steps: int = 600, size: int = 32) -> Expert:
    """Train an expert from scratch.

    Parameters
    ----------
    studies : Studies
    seed, steps : int
    size : int
        Studies contrasted at a time.
    """
    torch.manual_seed(seed)
    expert = Expert().train()
    optimiser = torch.optim.AdamW(expert.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        batch = studies.some(torch.randperm(len(studies.reports))[:size])
        labels = members(batch.findings)
        images, texts = expert(_varied(batch.radiographs)), expert.adapter(batch.reports)
        scale = expert.temperature.scale()
        loss = robust_contrast(images, texts, overlap(labels), scale)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return expert.eval()


@torch.no_grad()
def bank_of(expert: Expert, studies: Studies) -> Bank:
    """Return what an expert makes of studies."""
    images = torch.cat([expert(part) for part in studies.radiographs.split(64)])
    return Bank(images, studies.reports, studies.findings)


@torch.no_grad()
def measure(expert: Expert, pool: Bank, held_out: Bank) -> dict[str, float]:
    """Return hit rates on studies the expert has not seen.

    Returns
    -------
    dict
        ``language``: the study with the likest report; ``image``: the one whose report the expert
        finds likest to the image; ``chance``: any study of the pool. See
        :func:`~napari_ctvlp.training.objectives.teacher.hit_rate`.
    """
    told = expert.adapter(pool.reports)
    rows = {
        "language": retrieve(held_out.reports, pool.reports).rows,
        "image": (held_out.images @ told.T).argmax(dim=1, keepdim=True),
        "chance": torch.arange(len(pool.findings)).expand(len(held_out.findings), -1),
    }
    return {name: hit_rate(held_out, pool, chosen) for name, chosen in rows.items()}


def make(
    known: Studies, held_out: Studies, path: Path, seed: int = 0, steps: int = 600
) -> dict[str, float]:
    """Train an expert on studies, measure it on others and save it with its bank.

    Returns
    -------
    dict
        Of :func:`measure`; it is kept in the file, with the seed.
    """
    expert = train_expert(known, seed, steps)
    pool = bank_of(expert, known)
    got = measure(expert, pool, bank_of(expert, held_out))
    save(path, expert, pool, {"seed": seed, "studies": len(known.reports), "steps": steps, **got})
    return got


def _crops(chests: Sequence[Chest], seeds: Sequence[int]) -> Iterator[Crop]:
    maker = CropMaker(chests)
    for seed in seeds:
        yield maker.make(seed, strength=0.5)


def _varied(radiographs: Tensor) -> Tensor:
    """Change exposure and noise and shift by up to four pixels."""
    n = len(radiographs)
    gain, offset = 1 + 0.1 * torch.randn(n, 1, 1, 1), 0.1 * torch.randn(n, 1, 1, 1)
    shift = torch.randint(-4, 5, (2,)).tolist()
    moved = radiographs.roll(shift, dims=(2, 3))
    return moved * gain + offset + 0.02 * torch.randn_like(radiographs)
