"""The comparison of objectives: same questions, resumable runs, an honest table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ctvlp.training import ablation, exam
from napari_ctvlp.training.config import Plan, Stage
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.targets import concepts
from napari_ctvlp.training.trainer import Trainer

PLAN = Plan(size=16, painters=0, stages=(Stage(2, warm=1),))


@pytest.fixture(scope="module")
def asked(small_chest: Chest) -> list[exam.Question]:
    torch.set_num_threads(1)
    return exam.questions([small_chest], 1, 1, ("nodule", "mass", "effusion"))


def test_numbers_are_shares_and_the_same_twice(asked: list[exam.Question]):
    tower = Trainer(PLAN).averaged()
    numbers = exam.examine(tower, asked)
    assert exam.examine(tower, asked) == numbers
    assert set(numbers) == {"AUROC", "pointing", "top-1", "presence AUROC", "locality"}
    assert all(-1 <= value <= 1 for value in numbers.values())


def test_a_model_that_says_the_truth_has_full_marks(
    asked: list[exam.Question], monkeypatch: pytest.MonkeyPatch
):
    """Tokens that carry the truth, read by a table that is the identity."""
    tower = Trainer(PLAN).averaged()
    with torch.no_grad():
        tower.table.copy_(torch.eye(len(concepts()), 64))
        tower.bias.zero_()

    def seen(_: object, one: exam.Question) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.rand(len(one.positive), 64, generator=torch.Generator().manual_seed(0))
        tokens[torch.from_numpy(one.positive), one.number] += 9.0
        return tokens, tokens

    monkeypatch.setattr(exam, "_seen", seen)
    numbers = exam.examine(tower, asked)
    assert numbers["AUROC"] == numbers["pointing"] == numbers["top-1"] == 1.0
    assert numbers["locality"] == pytest.approx(1.0)


def test_runs_go_on_and_are_not_repeated(
    small_chest: Chest, tmp_path: Path, asked: list[exam.Question], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ablation, "questions", lambda *_: asked)
    arms, out = {"dense": ()}, tmp_path / "table.md"
    chests = ([small_chest], [small_chest], out, PLAN, {})
    text = ablation.ablate(*chests, arms=arms, seeds=(0, 1))
    assert text == out.read_text(encoding="utf-8")
    assert "| dense |" in text
    made = sorted(path.name for path in (tmp_path / "table").iterdir())
    assert made == ["dense-0", "dense-1"]
    monkeypatch.setattr(ablation, "train", lambda *_: pytest.fail("a run was repeated"))
    assert ablation.ablate(*chests, arms=arms, seeds=(0, 1)) == text


def test_the_table_says_what_does_not_help():
    base = [{"AUROC": v} for v in (0.80, 0.82, 0.81)]
    found = {
        "dense": base,
        "+ good": [
            {"AUROC": r["AUROC"] + g} for r, g in zip(base, (0.05, 0.06, 0.055), strict=True)
        ],
        "+ idle": [
            {"AUROC": r["AUROC"] + g} for r, g in zip(base, (0.05, -0.04, 0.01), strict=True)
        ],
    }
    text = ablation.table(found, replace(PLAN), 3)
    assert "- + good: better AUROC (+0.055)." in text
    assert "- + idle: no difference from dense alone" in text
    assert f"| dense | 0.810 ({np.std([0.80, 0.82, 0.81], ddof=1):.3f}) |" in text
