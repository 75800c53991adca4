"""The training loop: deterministic, resumable, and able to learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_ctvlp.training.check import auroc, check, table
from napari_ctvlp.training.data import IGNORE, Chest
from napari_ctvlp.training.synthesis.crops import CropMaker
from napari_ctvlp.training.targets import targets
from napari_ctvlp.training.trainer import Batch, Plan, Trainer, as_batch, batch_of, train

PLAN = Plan(seed=3, steps=6, warm=2, ramp=4, save_every=2)


@pytest.fixture(scope="module")
def batches(small_chest: Chest) -> list[Batch]:
    torch.set_num_threads(1)
    maker = CropMaker([small_chest])
    return [as_batch(batch_of(maker, PLAN, step)) for step in range(4)]


def test_a_broken_run_ends_like_an_unbroken_one(small_chest: Chest, tmp_path: Path):
    torch.set_num_threads(1)
    whole = train([small_chest], PLAN, tmp_path / "whole")
    train([small_chest], PLAN, tmp_path / "broken", minutes=0.0)
    broken = train([small_chest], replace(PLAN, steps=99), tmp_path / "broken")
    assert broken.done == whole.done == PLAN.steps
    for name, value in whole.average.items():
        assert torch.equal(value, broken.average[name]), name
    assert (tmp_path / "whole" / "checkpoint.pt").exists()


def test_it_learns_one_crop_by_heart(batches: list[Batch]):
    trainer = Trainer(replace(PLAN, steps=1000))
    losses = [trainer.step(batches[0]) for _ in range(14)]
    assert losses[-1]["dense"] < 0.8 * losses[0]["dense"]


def test_tokens_keep_their_differences(batches: list[Batch]):
    """Without the centring all tokens came to share one direction within some dozen steps."""
    trainer = Trainer(replace(PLAN, steps=1000))
    for step in range(12):
        trainer.step(batches[step % len(batches)])
    hu, place, *_ = batches[0]
    with torch.no_grad():
        tokens = trainer.tower.eval()(hu[None, None], place[None])[0].flatten(1)
    assert float(tokens.std(dim=1).mean()) > 0.3


def test_what_is_left_out_has_no_gradient(small_chest: Chest):
    """A crop whose every voxel is left out teaches nothing about findings."""
    crop = CropMaker([small_chest]).make(0)
    crop.flags.fill_(IGNORE)
    target, kind = targets(crop)
    trainer = Trainer(PLAN)
    trainer.step((crop.canvas.hu, crop.place, torch.arange(len(kind)), target, kind))
    assert not trainer.tower.table.grad[:15].any()
    assert trainer.tower.table.grad[15:].any()


def test_the_average_starts_close_to_the_weights():
    trainer = Trainer(PLAN)
    trainer._remember()
    for name, value in trainer.tower.state_dict().items():
        assert torch.allclose(value, trainer.average[name])


def test_the_check_prints_every_finding(small_chest: Chest):
    rows = check(Trainer(PLAN).averaged(), [small_chest], seed=1, each=1)
    assert len(rows) == 13
    assert len(table(rows).splitlines()) == 16


def test_auroc_by_hand():
    import numpy as np

    scores = np.array([0.1, 0.4, 0.35, 0.8], np.float32)
    truth = np.array([False, False, True, True])
    assert auroc(scores, truth) == 0.75
    assert auroc(np.ones(4, np.float32), truth) == 0.5
