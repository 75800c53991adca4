"""The 2D expert learns, retrieves and is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_ctvlp.training import expert as training
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.expert import Studies
from napari_ctvlp.training.objectives.teacher import load


class Letters:
    """A text tower that counts letters."""

    def embed(self, phrases: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(phrases), 384), np.float32)
        for row, phrase in zip(rows, phrases, strict=True):
            np.add.at(row, [ord(c) % 384 for c in phrase], 1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def squares(count: int, seed: int) -> Studies:
    """Images with a bright square in one of four corners, which the report names."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(4, (count,), generator=generator)
    images = 2 + 0.2 * torch.randn(count, 2, 32, 32, generator=generator)
    for image, k in zip(images, kind.tolist(), strict=True):
        row, column = 16 * (k // 2), 16 * (k % 2)
        image[:, row + 4 : row + 12, column + 4 : column + 12] += 2
    names = functional.normalize(
        torch.randn(4, 384, generator=torch.Generator().manual_seed(0)), dim=1
    )
    return Studies(images, names[kind], 1 << kind)


def test_it_learns_what_reports_say_and_is_saved_with_its_bank(tmp_path: Path):
    path = tmp_path / "expert.pt"
    got = training.make(squares(64, 1), squares(16, 2), path, seed=0, steps=25)
    assert got["image"] >= 0.9
    assert got["language"] == 1
    assert got["chance"] == pytest.approx(0.25, abs=0.12)
    expert, bank, facts = load(path)
    again = training.bank_of(expert, squares(64, 1))
    assert torch.allclose(again.images, bank.images, atol=1e-5)
    assert facts["seed"] == 0
    assert facts["image"] == got["image"]


def test_studies_are_rendered_from_painted_crops(small_chest: Chest):
    studies = training.render([small_chest], Letters(), range(2))
    assert studies.radiographs.shape == (2, 2, 80, 80)
    assert (studies.radiographs >= 0).all()
    assert torch.allclose(studies.reports.norm(dim=1), torch.ones(2))
    again = training.render([small_chest], Letters(), range(2))
    assert torch.equal(studies.radiographs, again.radiographs)
    assert torch.equal(studies.reports, again.reports)
