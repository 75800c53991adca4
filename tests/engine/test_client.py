"""The compute process behind the window: round trips, cancel, deaths, order of answers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import (
    InputRefused,
    JobCancelled,
    ModelRefused,
    OutOfResources,
    WorkerFailed,
)

SMALL = ((48, 46, 60), (6.0, 6.0, 6.0))


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.fixture
def no_results(tmp_path, monkeypatch):
    """Let this process, not the other one, begin without kept results."""
    monkeypatch.setenv("CTVLP_CACHE", str(tmp_path / "empty"))
    yield
    verbs.forget()


def test_labels_are_the_same_bits_as_in_process(worker, chest, no_results):
    far = worker.ask("segment", scan=chest)
    near = verbs.segment(chest)
    assert far.content == near.content
    assert far.organs == near.organs
    assert far.digest == chest.digest


def test_phrases_give_the_same_bits_as_in_process(worker, no_results):
    scan = phantom((8, 46, 60), (5.0, 6.0, 6.0), seed=18)
    anatomy = worker.ask("segment", scan=scan)
    summary = worker.ask("encode", scan=scan, anatomy=anatomy)
    known = {"scan": scan, "anatomy": anatomy, "encoding": summary}
    far = worker.ask("ground", phrase="mass", gate=False, **known)
    table = worker.ask("score", **known)
    attention = worker.ask("attention", scan=scan, anatomy=anatomy)
    near = verbs.ground(scan, "mass", gate=False)
    np.testing.assert_array_equal(far.values, near.values)
    assert (far.peak_ras, far.verdict, far.margin) == (near.peak_ras, near.verdict, near.margin)
    assert far.background == near.background
    assert far.shares == near.shares
    encoding = verbs.encode(scan)
    assert summary.digest == encoding.digest
    assert set(attention.maps) == set(summary.attention) == set(encoding.attention)
    for row, expected in zip(table.rows, verbs.score(scan).rows, strict=True):
        assert repr(row) == repr(expected)


def test_a_kept_result_says_so(worker, chest):
    worker.ask("segment", scan=chest)
    number = worker.client.submit("segment", scan=chest)
    worker.next_answer()
    assert worker.stages(number) == [verbs.KEPT]


def test_progress_carries_the_number_and_never_runs_over(worker):
    number = worker.client.submit("segment", scan=phantom(*SMALL, seed=11))
    worker.next_answer()
    told = [(share, stage) for which, share, stage in worker.progress if which == number]
    assert len(told) >= 3
    assert all(0 <= share <= 1 for share, _ in told)


def test_errors_cross_with_their_class_and_words(worker, chest, tmp_path):
    with pytest.raises(ModelRefused, match="nobody"):
        worker.ask("segment", scan=chest, segmenter="nobody")
    with pytest.raises(InputRefused):
        worker.ask("open_scan", path=tmp_path / "nothing.nii.gz")
    with pytest.raises(OutOfResources, match="abacus"):
        worker.ask("encode", scan=chest, device="abacus")
    with pytest.raises(WorkerFailed, match="rm -r"):
        worker.ask("rm -r", scan=chest)
    with pytest.raises(WorkerFailed, match="TypeError"):
        worker.ask("segment", scan=chest, colour="red")
    with pytest.raises(WorkerFailed, match="object"):
        worker.ask("segment", scan=object())


def test_a_cancelled_job_ends_without_a_result(worker):
    number = worker.client.submit("segment", scan=phantom(*SMALL, seed=12))
    wait_until(lambda: worker.stages(number))
    worker.client.cancel(number)
    assert_cancelled(worker.next_answer(), number)
    assert worker.answers.empty()


def test_a_queued_job_can_be_cancelled(worker):
    first = worker.client.submit("segment", scan=phantom(*SMALL, seed=13))
    second = worker.client.submit("segment", scan=phantom(*SMALL, seed=14))
    worker.client.cancel(second)
    answers = dict(worker.next_answer() for _ in range(2))
    assert answers[first].has("lung_left")
    assert isinstance(answers[second], JobCancelled)
    assert not worker.stages(second)


def test_a_newer_phrase_replaces_those_that_wait(worker, chest):
    first = worker.client.submit("segment", scan=phantom(*SMALL, seed=15))
    older = [worker.client.submit("ground", scan=chest, phrase=f"nodule {n}") for n in range(3)]
    newest = worker.client.submit("ground", scan=chest, phrase="nodule")
    answers = dict(worker.next_answer() for _ in range(5))
    assert all(isinstance(answers[number], JobCancelled) for number in older)
    assert answers[newest].phrase.text == "nodule"
    assert answers[first].has("lung_left")


def test_a_killed_process_fails_its_job_and_the_next_one_runs(worker):
    number = worker.client.submit("segment", scan=phantom(*SMALL, seed=16))
    wait_until(lambda: worker.stages(number))
    dead = worker.client.pid
    kill(dead)
    answered, error = worker.next_answer()
    assert answered == number
    assert isinstance(error, WorkerFailed)
    assert "started anew" in error.advice
    assert worker.ask("segment", scan=phantom(*SMALL, seed=16)).has("lung_right")
    assert worker.client.pid != dead


def test_a_process_killed_at_rest_is_replaced(worker, chest):
    worker.ask("segment", scan=chest)
    kill(worker.client.pid)
    assert worker.ask("segment", scan=chest).has("lung_left")


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be frozen by a signal")
def test_work_that_does_not_listen_is_ended_with_its_process(worker):
    number = worker.client.submit("segment", scan=phantom(*SMALL, seed=17))
    wait_until(lambda: worker.stages(number))
    frozen = worker.client.pid
    os.kill(frozen, signal.SIGSTOP)
    worker.client.cancel(number)
    assert_cancelled(worker.next_answer(), number)
    assert worker.ask("segment", scan=phantom(*SMALL, seed=17)).has("lung_left")
    assert worker.client.pid != frozen


def test_the_process_ends_with_its_client_and_leaves_nothing(tmp_path):
    code = (
        "from napari_ctvlp.engine.client import WorkerClient\n"
        "import time\n"
        "client = WorkerClient()\n"
        "client.warm_up()\n"
        "while client.pid is None: time.sleep(0.01)\n"
        "print(client.pid, client._process.folder, flush=True)\n"
        "import os; os._exit(0)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    wait_until(lambda: not Path(said[1]).exists())
    wait_until(lambda: not alive(int(said[0])))


def test_the_client_imports_neither_torch_nor_qt_nor_readers():
    code = (
        "import sys, napari_ctvlp.engine.client\n"
        "heavy = {'torch', 'transformers', 'monai', 'nibabel', 'pydicom', 'qtpy', 'napari'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_the_scan_crosses_once(worker, chest):
    worker.ask("segment", scan=chest)
    folder = worker.client._process.folder
    before = sorted(path.name for path in folder.glob("*.npy"))
    worker.ask("segment", scan=chest)
    assert sorted(path.name for path in folder.glob("*.npy")) == before


def assert_cancelled(answer, number):
    answered, error = answer
    assert answered == number
    assert isinstance(error, JobCancelled)


def kill(pid):
    os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


def alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and ") Z " in state.read_text())
