"""A run that is killed goes on as if nothing had been, with every objective switched on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from napari_ctvlp.training import rundir
from napari_ctvlp.training.config import read_plan
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.objectives.teacher import Bank, Expert, save
from napari_ctvlp.training.trainer import Trainer, train

CONFIG = """
size = 16
batch = 2
micro = 2
save_every = 1
painters = 0
[[stages]]
steps = 8
warm = 2
ramp = 4
[[stages]]
steps = 5
warm = 1
mine = true
[objectives.fvlm]
weight = 0.3
past = 6
[objectives.elvis]
weight = 0.3
regions = 32
past = 6
[objectives.biud]
weight = 0.3
past = 6
floor = -1.0
bank = 'BANK'
"""
#: Checkpoints that must be there before each kill.
KILLS = (2, 5, 9)
PAINT = """
import sys
from pathlib import Path
from napari_ctvlp.training.batch import Source, painted
from napari_ctvlp.training.config import Plan
from napari_ctvlp.training.data import Chest
if __name__ == "__main__":
    source = Source([Chest.load(Path(sys.argv[1]))])
    for _ in painted(source, Plan(size=16, painters=1), (0, 1000)):
        print("painted", flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def data(small_chest: Chest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    small_chest.save(folder / "small.npz")
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    bank = Bank(unit(torch.randn(12, 64)), unit(torch.randn(12, 384)), torch.arange(12))
    save(folder / "bank.pt", Expert(4), bank, {})
    config = CONFIG.replace("BANK", str(folder / "bank.pt"))
    (folder / "plan.toml").write_text(config, encoding="utf-8")
    return folder


@pytest.mark.timeout(1200)
def test_three_kills_change_nothing(small_chest: Chest, data: Path, tmp_path: Path):
    torch.set_num_threads(1)
    plan = read_plan(data / "plan.toml")
    whole = train([small_chest], plan, tmp_path / "whole")
    for target in KILLS:
        _killed(data, tmp_path / "broken", target)
    broken = train([small_chest], plan, tmp_path / "broken")
    assert broken.done == whole.done == plan.steps
    assert set(plan.objectives) <= set(rundir.rows(tmp_path / "whole" / rundir.LOG)[-1])
    for name in ("learner", "average", "optimiser", "chance", "mined"):
        assert _same(whole.state()[name], broken.state()[name]), name
    first, last = Trainer(plan).state()["learner"], whole.state()["learner"]
    moved = {name.split(".")[1] for name in first if not torch.equal(first[name], last[name])}
    assert moved >= {"fvlm", "elvis", "biud"}


def test_painters_end_with_their_parent(data: Path, tmp_path: Path):
    script = tmp_path / "paint.py"
    script.write_text(PAINT, encoding="utf-8")
    command = [sys.executable, str(script), str(data / "small.npz")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"painted\n"
        painters = psutil.Process(parent.pid).children(recursive=True)
        assert painters
        parent.kill()
    _, alive = psutil.wait_procs(painters, timeout=60)
    assert not alive


def _killed(data: Path, runs: Path, target: int) -> None:
    """Start the command and kill it at a random moment after ``target`` steps."""
    command = [sys.executable, "-m", "napari_ctvlp.cli.main", "train", "run"]
    command += ["--config", str(data / "plan.toml"), "--data", str(data), "--runs", str(runs)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not (made := rundir.checkpoints(runs)) or int(made[-1].stem[-7:]) < target:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def _same(one: object, two: object) -> bool:
    """Compare nested states to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(_same, one, two))
    return one == two
