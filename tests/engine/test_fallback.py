"""When memory runs out: smaller tiles, then the CPU, then words; earlier results stay."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine import fallback, verbs
from napari_ctvlp.errors import JobCancelled, OutOfResources
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import mini
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.protocol import Compute


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing is kept yet, on disk or in memory."""
    monkeypatch.setenv("CTVLP_CACHE", str(tmp_path))
    verbs.forget()
    yield tmp_path
    verbs.forget()


@pytest.fixture(scope="module")
def tall():
    """A slender piece of the phantom, 70 cm high: longer than a tile with its margins."""
    whole = phantom((140, 30, 36), (5.0, 9.0, 9.5))
    return dataclasses.replace(whole, hu=whole.hu[:, 11:18, 13:20])


@pytest.fixture(scope="module")
def anatomy(tall):
    return store.load_segmenter("classical").segment(tall, compute=Compute())


@pytest.fixture
def full(monkeypatch):
    """Make the tower's own forward run out of memory above a number of voxels."""
    limit = {"voxels": 10**12, "seen": []}

    def weigh(module, arguments):
        if isinstance(module, Tower):
            size = arguments[0].numel()
            limit["seen"].append(size)
            if size > limit["voxels"]:
                raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(weigh)
    yield limit
    handle.remove()


def test_smaller_tiles_give_the_same_tokens_and_say_so(
    fresh, tall, anatomy, full, monkeypatch, caplog
):
    whole = verbs.encode(tall, anatomy, device="cpu")
    one_pass = max(full["seen"])
    monkeypatch.setattr(mini, "ONE_PASS", one_pass)
    for entry in fresh.glob("*.safetensors"):
        entry.unlink()
    verbs.forget()
    full["voxels"], full["seen"] = one_pass - 1, []
    stages = []
    with caplog.at_level(logging.WARNING):
        again = verbs.encode(tall, device="cpu", progress=lambda share, stage: stages.append(stage))
    assert full["seen"][0] == one_pass
    assert max(full["seen"][1:]) < one_pass
    assert any("memory of cpu ran out, now in smaller tiles" in stage for stage in stages)
    assert "smaller tiles" in caplog.text
    same = again.grids[0].tokens.astype(float), whole.grids[0].tokens.astype(float)
    assert np.abs(same[0] - same[1]).max() < 0.05 * np.abs(same[1]).max()


def test_when_it_fits_nowhere_it_is_said_and_earlier_results_stay(fresh, tall, full):
    anatomy = verbs.segment(tall, "classical")
    full["voxels"] = 0
    with pytest.raises(OutOfResources, match="memory ran out") as caught:
        verbs.encode(tall, anatomy, device="cpu")
    assert "Earlier results are kept" in caught.value.advice
    stages = []
    verbs.segment(tall, "classical", progress=lambda share, stage: stages.append(stage))
    assert stages == [verbs.KEPT]


def test_a_gpu_gives_way_to_the_cpu():
    card = store.card("mini")
    gpu = Compute("cuda", "bfloat16", 1)
    plan = fallback.steps(gpu, card)
    assert [(step.device, step.tiles) for step in plan] == [
        ("cuda", 1.0),
        ("cuda", fallback.SMALLER),
        ("cpu", 1.0),
        ("cpu", fallback.SMALLER),
    ]
    plain = dataclasses.replace(card, settings={"entry": card.settings["entry"]})
    assert [step.device for step in fallback.steps(gpu, plain)] == ["cuda", "cpu"]


def test_the_run_moves_to_the_cpu_with_a_notice(fresh, tall):
    card, told, tried = store.card("mini"), [], []

    def run(where, progress):
        tried.append(where)
        if where.device == "mps":
            raise RuntimeError("MPS backend out of memory (allocated: 9 GB).")
        progress(0.5, "working")
        return "done"

    gpu = Compute("mps", "float32", 1)
    report = lambda share, stage: told.append(stage)  # noqa: E731
    assert fallback.run_somewhere(tall, card, gpu, run, report) == "done"
    assert [where.device for where in tried] == ["mps", "mps", "cpu"]
    assert told[-1] == "working (memory of mps ran out, now on cpu)"


def test_other_failures_are_not_taken_for_memory(fresh, tall):
    def run(where, progress):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        fallback.run_somewhere(tall, store.card("mini"), Compute(), run, lambda *_: None)


def test_memory_and_time_are_told_before_the_run_and_the_time_is_learned(fresh, tall):
    card = store.card("classical")
    first = fallback.estimate(tall, card, "auto")
    assert np.isnan(first.seconds)
    assert "after the first run" in str(first)
    stages = []
    verbs.segment(tall, "classical", progress=lambda share, stage: stages.append(stage))
    assert stages[0] == f"{first} on cpu"
    second = fallback.estimate(tall, card, "cpu")
    assert 0 < second.seconds < 300
    twice = dataclasses.replace(tall, hu=np.concatenate([tall.hu, tall.hu]))
    assert fallback.estimate(twice, card, "auto").seconds == pytest.approx(2 * second.seconds)


def test_a_model_with_a_grid_of_its_own_is_weighed_by_volume(tall):
    card = store.card("wholebody-15mm")
    coarse = fallback.estimate(tall, card, "cpu").memory_bytes
    fine = dataclasses.replace(tall, affine=tall.affine @ np.diag([0.5, 0.5, 0.5, 1]))
    assert coarse - fallback.estimate(fine, card, "cpu").memory_bytes == pytest.approx(
        tall.hu.size * tall.voxel_ml * 7 / 8 * 150 * 2**10, rel=1e-3
    )
