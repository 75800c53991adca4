"""The training loop: deterministic, resumable, and able to learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.models.precision import fast_bfloat16, learns_in_bfloat16
from napari_ctvlp.training import rundir
from napari_ctvlp.training.batch import Arrays, BatchMaker, Source, crops_of, join, painted
from napari_ctvlp.training.check import auroc, check, table
from napari_ctvlp.training.config import Plan, Stage
from napari_ctvlp.training.data import IGNORE, Chest
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.synthesis.crops import CropMaker
from napari_ctvlp.training.targets import as_arrays, targets, unions
from napari_ctvlp.training.trainer import Trainer, train

SAYABLE = len(FINDINGS) + len(unions())
STAGES = (Stage(steps=4, warm=2, ramp=4), Stage(steps=3, rate=8e-4, warm=1, ramp=1, mine=True))
PLAN = Plan(seed=3, stages=STAGES, size=24, batch=2, micro=1, painters=0, save_every=2)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def crops(small_chest: Chest) -> list[Arrays]:
    plan = replace(PLAN, batch=1, size=48)
    return list(crops_of(BatchMaker(Source([small_chest]), plan), 0, 4))


def test_a_broken_run_ends_like_an_unbroken_one(small_chest: Chest, tmp_path: Path):
    """Through two stages, with false peaks mined between them."""
    whole = train([small_chest], PLAN, tmp_path / "whole")
    broken = Trainer(PLAN)
    for _ in range(PLAN.steps):
        assert broken.done < PLAN.steps
        broken = train([small_chest], PLAN, tmp_path / "broken", minutes=0.0)
    assert broken.done == whole.done == PLAN.steps
    assert broken.mined == whole.mined
    assert broken.mined["small"]
    for name, value in whole.average.items():
        assert torch.equal(value, broken.average[name]), name
    assert [p.name for p in rundir.checkpoints(tmp_path / "whole")] == [
        "checkpoint-0000006.pt",
        "checkpoint-0000007.pt",
    ]


def test_the_mean_of_runs_from_one_start_is_a_run(small_chest: Chest, tmp_path: Path):
    """As ``ctvlp train average`` makes it; a tower of another kind is refused."""
    plan = replace(PLAN, stages=(Stage(steps=2, rate=8e-4, warm=1, ramp=1),))
    start = Trainer(PLAN).averaged()
    folders = [tmp_path / str(seed) for seed in (7, 8)]
    runs = [
        train([small_chest], replace(plan, seed=seed), folder, start=start)
        for seed, folder in zip((7, 8), folders, strict=True)
    ]
    states = [rundir.newest(folder) for folder in folders]
    rundir.save(rundir.mean(states), tmp_path)
    both = Trainer.resume(tmp_path).averaged().state_dict()
    first, second = (run.averaged().state_dict() for run in runs)
    assert not torch.equal(first["stem.weight"], second["stem.weight"])
    for name, value in both.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    finer = train([small_chest], replace(plan, detail=True), tmp_path / "finer")
    with pytest.raises(ModelRefused, match="same weights"):
        rundir.mean([states[0], finer.state()])


def test_a_run_does_not_go_on_with_another_plan(small_chest: Chest, tmp_path: Path):
    train([small_chest], PLAN, tmp_path, minutes=0.0)
    with pytest.raises(InputRefused, match="seed was 3, is 4"):
        train([small_chest], replace(PLAN, seed=4), tmp_path)
    again = train([small_chest], replace(PLAN, save_every=1), tmp_path, minutes=0.0)
    assert (again.done, again.plan.save_every) == (2, 1)


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(ModelRefused, match="no checkpoint"):
        Trainer.resume(tmp_path)


def test_lines_after_the_checkpoint_are_taken_back(tmp_path: Path):
    path = tmp_path / rundir.LOG
    lines = [json.dumps({"step": n, "seconds": 1.0, "dense": 2.0}) for n in (20, 40, 60)]
    path.write_text("\n".join(lines) + '\n{"step": 80, "sec', encoding="utf-8")
    log = rundir.Log(tmp_path, 40)
    log.add({"dense": 1.0})
    log.add({"dense": 2.0})
    log.write(50)
    assert [(r["step"], r["dense"]) for r in rundir.rows(path)] == [(20, 2), (40, 2), (50, 1.5)]


@pytest.mark.parametrize("painters", [1, 2])
def test_painters_hand_over_the_same_crops(small_chest: Chest, painters: int):
    own = list(painted(Source([small_chest]), PLAN, (1, 3)))
    theirs = list(painted(Source([small_chest]), replace(PLAN, painters=painters), (1, 3)))
    for step, other in zip(own, theirs, strict=True):
        for one, two in zip(step, other, strict=True):
            assert (one["hu"] == two["hu"]).all()
            assert all((a == b).all() for a, b in zip(one["rows"], two["rows"], strict=True))


def test_no_crop_is_drawn_twice(small_chest: Chest):
    plan = replace(PLAN, devices=2)
    drawn = [
        one["hu"].tobytes()
        for rank in (0, 1)
        for one in crops_of(BatchMaker(Source([small_chest]), plan), 0, 3, rank)
    ]
    assert len(set(drawn)) == 2 * 3 * plan.batch


def test_a_smaller_crop_is_a_part_of_the_large_one(small_chest: Chest):
    whole, part = (
        CropMaker([small_chest]).make(2).canvas,
        BatchMaker(Source([small_chest]), replace(PLAN, seed=0)).make(2, 1.0),
    )
    assert part["hu"].shape == (24, 24, 24)
    assert part["place"].shape == (4, 12, 12, 12)
    windows = whole.hu.half().unfold(0, 24, 2).unfold(1, 24, 2).unfold(2, 24, 2)
    same = (windows == torch.from_numpy(part["hu"])).flatten(3).all(-1)
    assert int(same.sum()) == 1


def test_micro_batches_add_up(crops: list[Arrays]):
    """Two crops one after the other give the gradient of two crops at once, per crop."""
    plan = replace(PLAN, precision="32-true", size=48)
    trainers = [Trainer(replace(plan, micro=m)) for m in (1, 2)]
    for trainer in trainers:
        trainer.learner.eval()
        trainer.step(trainer.parts_of(crops[:2]))
    first, second = (t.learner.tower.stem.weight.grad for t in trainers)
    assert torch.allclose(first, second, atol=1e-6)


def test_small_crops_are_learnt_in_single_precision():
    """On the CPU only: the gradient of a level of 2 x 2 x 2 cells is not to be had in bfloat16."""
    assert not learns_in_bfloat16(16)
    assert learns_in_bfloat16(24) == learns_in_bfloat16(80) == fast_bfloat16()
    assert learns_in_bfloat16(16, "cuda")


def test_it_learns_one_crop_by_heart(crops: list[Arrays]):
    trainer = Trainer(replace(PLAN, stages=(Stage(steps=1000, warm=2),), batch=1))
    losses = [trainer.step(trainer.parts_of(crops[:1])) for _ in range(14)]
    assert losses[-1]["dense"] < 0.8 * losses[0]["dense"]


def test_tokens_keep_their_differences(crops: list[Arrays]):
    """Without the centring all tokens came to share one direction within some dozen steps."""
    trainer = Trainer(replace(PLAN, stages=(Stage(steps=1000, warm=2),), batch=1))
    for step in range(12):
        trainer.step(trainer.parts_of([crops[step % len(crops)]]))
    batch = join(crops[:1], torch.device("cpu"))
    with torch.no_grad():
        tokens = trainer.learner.tower.eval()(batch.hu, batch.place)[0].flatten(1)
    assert float(tokens.std(dim=1).mean()) > 0.3


def test_what_is_left_out_has_no_gradient(small_chest: Chest):
    """A crop whose every voxel is left out teaches nothing about findings."""
    crop = CropMaker([small_chest]).make(0)
    crop.flags.fill_(IGNORE)
    target, kind = targets(crop)
    rows = as_arrays(target, kind, torch.arange(len(kind)))
    made = {"hu": crop.canvas.hu.numpy(), "place": crop.place.numpy(), "rows": rows}
    trainer = Trainer(PLAN)
    trainer.step(trainer.parts_of([made]))
    gradient = trainer.learner.tower.table.grad
    assert not gradient[:SAYABLE].any()
    assert gradient[SAYABLE:].any()


def test_the_average_starts_close_to_the_weights(crops: list[Arrays]):
    trainer = Trainer(PLAN)
    for name, value in trainer.averaged().state_dict().items():
        assert torch.equal(value, trainer.learner.tower.state_dict()[name])
    trainer.step(trainer.parts_of(crops[:1]))
    weights = trainer.learner.tower.stem.weight
    assert torch.allclose(weights, trainer.average["tower.stem.weight"], atol=2e-3)


def test_a_validation_leaves_numbers_and_pictures(small_chest: Chest, tmp_path: Path):
    plan = replace(PLAN, stages=(Stage(steps=2, warm=1),), check_every=2, check_each=1)
    train([small_chest], plan, tmp_path, validation=[small_chest])
    row = rundir.rows(tmp_path / rundir.CHECKS)[-1]
    assert row["step"] == 2
    assert 0 <= row["inside"] <= 1
    for name in ("validation-0000002.png", "curves.png", "plan.json"):
        assert (tmp_path / name).stat().st_size > 100


@pytest.mark.long
def test_two_processes_average_their_gradients(small_chest: Chest, tmp_path: Path):
    """Two devices with a crop each go where one goes with both, and a broken run goes on."""
    common = replace(PLAN, stages=(Stage(steps=2),), precision="32-true", device="cpu", batch=1)
    gradients = {}
    for name, devices, batch in (("two", 2, 1), ("both", 1, 2), ("half", 1, 1)):
        plan = replace(common, devices=devices, batch=batch)
        made = train([small_chest], plan, tmp_path / name, minutes=0.0)
        moments = made.optimiser.optimizer.state_dict()["state"].values()
        gradients[name] = torch.cat([moment["exp_avg"].flatten() for moment in moments])
    two, both, half = (gradients[name] for name in ("two", "both", "half"))
    near, far = (float(torch.cosine_similarity(two, other, dim=0)) for other in (both, half))
    assert near > 0.97
    assert near > far + 0.03
    plan = replace(common, devices=2)
    assert train([small_chest], plan, tmp_path / "two").done == 2


def test_the_check_prints_every_finding(small_chest: Chest):
    rows = check(Trainer(PLAN).averaged(), [small_chest], seed=1, each=1)
    assert len(rows) == len(FINDINGS)
    assert len(table(rows).splitlines()) == len(FINDINGS) + 3


def test_auroc_by_hand():
    import numpy as np

    scores = np.array([0.1, 0.4, 0.35, 0.8], np.float32)
    truth = np.array([False, False, True, True])
    assert auroc(scores, truth) == 0.75
    assert auroc(np.ones(4, np.float32), truth) == 0.5
