"""Device, threads and memory are decided in one place."""

import dataclasses

import pytest

from napari_ctvlp.engine import compute
from napari_ctvlp.errors import OutOfResources
from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.models.protocol import Compute, ModelCard

CARD = ModelCard("test", "Test", "encoder", "", "", "", weights=(("a.safetensors", "0" * 64),))


def test_a_run_that_would_not_fit_is_refused_in_words():
    huge = dataclasses.replace(CARD, settings={"memory": {"base_mb": 10**9}})
    with pytest.raises(OutOfResources, match="GB are free") as caught:
        compute.check_fits(1, huge, Compute())
    assert "smaller part" in caught.value.advice


def test_the_estimate_grows_with_the_scan():
    card = dataclasses.replace(CARD, settings={"memory": {"base_mb": 1, "bytes_per_voxel": 10}})
    assert compute.estimate_bytes(10**6, card) == 2**20 + 10**7
    compute.check_fits(10**6, card, Compute())


def test_a_device_this_machine_lacks_is_refused():
    with pytest.raises(OutOfResources, match="abacus"):
        compute.choose("abacus", CARD)


def test_threads_follow_the_environment_else_leave_one_core(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert compute.cpu_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert compute.cpu_threads() == max(1, compute.usable_cores() - 1)


def test_precision_comes_from_the_card():
    card = dataclasses.replace(CARD, settings={"precision": {"cpu": "bfloat16"}})
    fast = fast_bfloat16()
    assert compute.choose("cpu", card).precision == ("bfloat16" if fast else "float32")
    assert compute.choose("cpu", CARD).precision == "float32"


@pytest.mark.cuda
def test_auto_takes_the_gpu():
    assert compute.choose("auto", CARD).device == "cuda"
