"""Where the scans of a batch are computed: here one after the other, or on Dask's workers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from napari_ctvlp.cohort.inputs import Input
from napari_ctvlp.cohort.schema import need
from napari_ctvlp.cohort.work import Outcome, Task, give_up, work
from napari_ctvlp.engine import compute
from napari_ctvlp.errors import InputRefused, WorkerFailed
from napari_ctvlp.models import store as models

#: Tasks handed to the scheduler for each worker, so that none waits and none is far ahead.
AHEAD = 3
#: Bytes of a voxel while a scan is open: stored, and once more while it is turned.
_SCAN_BYTES = 4
_CONNECT_S = "10s"
#: A second death of its workers makes a scan suspect. Without Dask's profiler and its frequent
#: looks at the machine an idle cluster takes under 1 % of a core, not 6 %. Dask would also have
#: the C library give freed memory back at once, and volumes pay for that in page faults.
_CONFIG = {
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}


def needed_bytes(one: Input, cards: Sequence[str]) -> int:
    """Return the memory a scan needs by the models' cards, the estimate of the window."""
    runs = (compute.estimate_bytes(one.voxels, models.card(card), one.ml) for card in cards)
    return max(runs) + _SCAN_BYTES * one.voxels


def size(inputs: Sequence[Input], cards: Sequence[str], device: str) -> int:
    """Return how many worker processes this machine has room for."""
    needs = [needed_bytes(one, cards) for one in inputs]
    gpus = _gpus() if device in ("auto", "cuda") else 0
    return fitting(needs, compute.usable_cores(), compute.free_bytes("cpu"), gpus)


def fitting(needs: Sequence[int], cores: int, free: int, gpus: int = 0) -> int:
    """Return how many worker processes fit: one for each GPU, else by cores and memory.

    Parameters
    ----------
    needs : sequence of int
        Bytes of each scan's run by the models' estimate. The largest one that fits at all counts;
        a larger one is refused when its turn comes, and holds nobody else back.
    cores : int
    free : int
        Bytes.
    gpus : int
    """
    most = min(gpus or cores, len(needs))
    largest = max((need for need in needs if need <= free), default=free)
    return max(1, most if gpus else min(most, free // max(1, largest)))


def run_here(tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Compute in this process, one scan after the other."""
    for task in tasks:
        yield work(task)


def run_on(client: Any, tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Compute on the workers of a client and yield what became of each scan, as it ends.

    A scan whose worker died several times is tried once more when nothing else runs: it may have
    waited beside the one that kills them. Then it is given up.
    """
    ahead = AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    suspects: list[Task] = []
    for task, outcome in _ended(client, tasks, ahead):
        if outcome is None:
            suspects.append(task)
        else:
            yield outcome
    for task, outcome in _ended(client, suspects, 1):
        yield outcome or give_up(task)


def _ended(client: Any, tasks: Sequence[Task], ahead: int) -> Iterator[tuple[Task, Outcome | None]]:
    """Yield each task as it ends, ``ahead`` of them at a time; None where its workers died."""
    distributed = need("distributed")
    waiting, known = iter(tasks), {}

    def submitted(count: int) -> list[Any]:
        futures = [(client.submit(work, task, pure=False), task) for task in islice(waiting, count)]
        known.update({future.key: task for future, task in futures})
        return [future for future, _ in futures]

    running = distributed.as_completed(submitted(ahead))
    for future in running:
        if future.status in ("pending", "lost"):  # its worker died with the answer: it comes anew
            running.add(future)
            continue
        task = known.pop(future.key)
        if future.status == "finished":
            yield task, future.result()
        elif future.status == "error" and isinstance(future.exception(), distributed.KilledWorker):
            yield task, None
        elif future.status == "error":
            raise future.exception()
        else:
            raise _lost()
        running.update(submitted(1))


@contextmanager
def local_client(workers: int, device: str) -> Iterator[Any]:
    """Start worker processes on this machine, one thread each, one GPU each where there are any.

    Each has its share of the cores for the model's own threads.
    """
    distributed = need("distributed")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, compute.usable_cores() // workers))
    specs = {}
    for number in range(workers):
        environment = {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
        if device != "cpu" and _gpus():
            environment["CUDA_VISIBLE_DEVICES"] = str(number)
        options = {
            "nthreads": 1, "memory_limit": 0, "env": environment, "dashboard": False,
            "host": "127.0.0.1", "silence_logs": logging.CRITICAL,
            "preload": ["napari_ctvlp.cohort.calm"],
        }  # fmt: skip
        specs[number] = {"cls": distributed.Nanny, "options": options}
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"dashboard": False, "host": "127.0.0.1"},
    }
    with (
        need("dask").config.set(_CONFIG),
        distributed.SpecCluster(workers=specs, scheduler=scheduler) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def client_of(address: str) -> Iterator[Any]:
    """Connect to a running scheduler.

    Raises
    ------
    InputRefused
        ``no-scheduler`` when nobody answers there, or it has no worker.
    """
    distributed = need("distributed")
    try:
        client = distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError):
        raise InputRefused(
            "no-scheduler",
            "the address of a running Dask scheduler, such as tcp://127.0.0.1:8786.",
            f"Nobody answered at {address}.",
            "Start one (dask scheduler), or leave --scheduler out.",
        ) from None
    with client:
        yield client


def _lost() -> WorkerFailed:
    return WorkerFailed(
        "scheduler-lost",
        "the Dask scheduler to answer to the end.",
        "It is gone, or has dropped the scans.",
        "Start it again, then the same command: it goes on from there.",
    )


def _gpus() -> int:
    """Return how many GPUs torch sees; it is not imported where no driver has made a device."""
    drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    if sys.platform == "linux" and not any(map(os.path.exists, drivers)):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
