"""Where the scans of a batch are computed: here one after the other, or on Dask's workers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from napari_ctvlp.cohort.inputs import Input
from napari_ctvlp.cohort.schema import need
from napari_ctvlp.cohort.work import Outcome, Task, give_up, work
from napari_ctvlp.engine import compute
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models import store as models

#: Tasks handed to the scheduler for each worker, so that none waits and none is far ahead.
AHEAD = 3
#: Bytes of a voxel while a scan is open: stored, and once more while it is turned.
_SCAN_BYTES = 4
_CONNECT_S = "10s"


def needed_bytes(one: Input, cards: Sequence[str]) -> int:
    """Return the memory a scan needs by the models' cards, the estimate of the window."""
    runs = (compute.estimate_bytes(one.voxels, models.card(card), one.ml) for card in cards)
    return max(runs) + _SCAN_BYTES * one.voxels


def size(inputs: Sequence[Input], cards: Sequence[str], device: str) -> int:
    """Return how many worker processes fit: one for each GPU, else by cores and free memory."""
    if device in ("auto", "cuda"):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.device_count()
    need_each = max(needed_bytes(one, cards) for one in inputs)
    fitting = compute.free_bytes("cpu") // need_each
    return max(1, min(compute.usable_cores(), fitting, len(inputs)))


def run_here(tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Compute in this process, one scan after the other."""
    for task in tasks:
        yield work(task)


def run_on(client: Any, tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Compute on the workers of a client and yield what became of each scan, as it ends."""
    distributed = need("distributed")
    waiting = iter(tasks)
    known: dict[str, Task] = {}

    def submit() -> Any:
        task = next(waiting, None)
        if task is None:
            return None
        future = client.submit(work, task, pure=False)
        known[future.key] = task
        return future

    count = AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    first = [future for future in (submit() for _ in range(count)) if future is not None]
    running = distributed.as_completed(first)
    for future in running:
        task = known.pop(future.key)
        following = submit()
        if following is not None:
            running.add(following)
        if future.status == "finished":
            yield future.result()
        else:
            error = future.exception()
            if not isinstance(error, distributed.KilledWorker):
                raise error
            yield give_up(task)


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
        if device != "cpu" and "torch" in sys.modules and _gpus():
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


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
