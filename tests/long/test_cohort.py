"""300 studies through a local cluster whose workers and runs are killed: the unbroken store."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from napari_ctvlp.cohort.store import Store
from napari_ctvlp.errors import CtvlpError

pytestmark = [pytest.mark.long, pytest.mark.timeout(10_800)]
COUNT, BROKEN, WORKERS, ROUNDS = 300, 10, 2, 5
PHRASES = "nodule in the left lung\nno pleural effusion\n"
HERE = Path(__file__).parents[1] / "cohort"


def module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def start(manifest, out):
    """Start the command in a process group of its own, with a cache of its own."""
    phrases = out.parent / "phrases.txt"
    phrases.write_text(PHRASES)
    words = ["batch", manifest, "--out", out, "--phrases", phrases, "--workers", WORKERS]
    words += ["--segmenter", "classical"]  # quick, like the pieces: what is tried is the cohort
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "CTVLP_CACHE": str(out.with_suffix(".cache")),
    }  # fmt: skip
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "napari_ctvlp.cli.main", *map(str, words)],
            stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip


def events(out, kind):
    """Return the scans of the log's lines of a kind, in their order."""
    path = out / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [row["scan"] for row in map(json.loads, lines) if row["event"] == kind]


def reached(out, count):
    return len(events(out, "begun")) >= count


def wait_for(ready, process, seconds=3600.0):
    """Wait for a condition, or the end of a process; return whether the condition holds."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    return True


def workers(process):
    """Return the processes below a command that have torch loaded: those that compute."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [child for child in below if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return module("studies").write_archive(tmp_path_factory.mktemp("a") / "in", COUNT, BROKEN)


@pytest.fixture(scope="module")
def unbroken(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "store"
    assert start(manifest, out).wait() == 0, out.with_suffix(".log").read_text()[-2000:]
    return out


def test_every_study_is_a_row_and_what_is_broken_has_an_error_of_our_family(unbroken):
    connection = Store(unbroken).connect()
    states = dict(connection.execute("SELECT state, count(*) FROM scans GROUP BY state").fetchall())
    assert states == {"done": COUNT - BROKEN, "failed": BROKEN}
    failed = connection.execute(
        "SELECT error_kind, error_code, error FROM scans WHERE state = 'failed'"
    ).fetchall()
    family = {kind.__name__ for kind in CtvlpError.__subclasses__()}
    assert {kind for kind, _, _ in failed} <= family
    assert all(code != "unexpected" and "Expected:" in words for _, code, words in failed)
    assert len({code for _, code, _ in failed}) >= 6
    done = "SELECT scan FROM scans WHERE state = 'done'"
    for name in ("organs", "findings", "phrases", "vectors"):
        found = connection.execute(f"SELECT DISTINCT scan FROM {name} WHERE scan IN ({done})")
        assert len(found.fetchall()) == COUNT - BROKEN, name


def test_killed_at_random_and_started_again_it_is_the_unbroken_store(manifest, unbroken, tmp_path):
    """Five rounds: a worker is killed, a little later the run; the next one goes on at once."""
    rng, out, killed = random.Random(13), tmp_path / "store", 0
    for number in range(ROUNDS):
        run = start(manifest, out)
        for share in (0.3, 1.0):
            goal = len(events(out, "begun")) + rng.randint(4, int(40 * share))
            ready = partial(reached, out, goal)
            assert wait_for(ready, run), "it ended too early"
            time.sleep(rng.random())
            if share < 1:
                rng.choice(workers(run)).kill()
                killed += 1
            elif number % 2:
                run.kill()  # its workers are left behind
                killed += WORKERS
            else:
                os.killpg(run.pid, signal.SIGKILL)
                killed += WORKERS
        run.wait()
    assert start(manifest, out).wait() == 0, out.with_suffix(".log").read_text()[-2000:]
    contents = module("conftest").contents
    expected, found = contents(unbroken), contents(out)
    for name in expected:
        assert found[name] == expected[name], name
    assert not list((out / "commits").glob("*.parquet"))
    done, begun = Counter(events(out, "done")), Counter(events(out, "begun"))
    print(f"{sum(begun.values())} begun, {sum(done.values())} done, {killed} processes killed")
    assert max(done.values()) == 1, "a scan was done twice"
    assert len(begun) == COUNT
    assert sum(begun.values()) - COUNT <= killed, "more was begun again than was killed"
    assert not events(out, "given up")
    order = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    ended = set()
    for row in order:
        assert row["scan"] not in ended, "begun after it was done"
        if row["event"] == "done":
            ended.add(row["scan"])


def test_a_scan_that_kills_its_workers_is_given_up_and_takes_no_other_with_it(tmp_path):
    """Whoever begins the third scan is killed; the log names the process."""
    studies = module("studies")
    manifest, out = studies.write_archive(tmp_path / "in", 12, 2), tmp_path / "store"
    deadly, killed, over = "000003", [], threading.Event()

    def watch():
        while not over.is_set():
            path = out / "log.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            for row in map(json.loads, lines):
                if (row["scan"], row["event"]) == (deadly, "begun") and row[
                    "process"
                ] not in killed:
                    os.kill(row["process"], signal.SIGKILL)
                    killed.append(row["process"])
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        assert start(manifest, out).wait() == 0, out.with_suffix(".log").read_text()[-2000:]
    finally:
        over.set()
        thread.join()
    query = "SELECT scan, error_kind, error_code FROM scans WHERE state = 'failed' ORDER BY scan"
    failed = Store(out).connect().execute(query).fetchall()
    assert len(failed) == 3
    assert (deadly, "WorkerFailed", "worker-died") in failed
    assert events(out, "given up") == [deadly]
    assert 2 <= len(killed) <= 6
    assert start(manifest, out).wait() == 0
    assert (
        Store(out).connect().execute("SELECT state FROM scans WHERE scan = ?", [deadly]).fetchall()
        == [("done",)]
    )  # fmt: skip
    assert max(Counter(events(out, "done")).values()) == 1
