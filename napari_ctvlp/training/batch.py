"""Crops on their way into training: made as arrays, handed over by painters, used as tensors."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from queue import Empty, Full
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from napari_ctvlp.errors import WorkerFailed
from napari_ctvlp.models.radiograph import both_views
from napari_ctvlp.training.config import Plan
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.reporting import Own, Reporter
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker
from napari_ctvlp.training.targets import as_arrays, choose, targets

#: False peaks by case name: 2 mm voxels (i, p, l).
Mined = Mapping[str, list[list[int]]]
#: One crop, ready to cross to another process.
Arrays = dict[str, Any]
#: Objectives that look at radiographs.
RADIOGRAPHS = {"biud"}
#: Crops a painter may be ahead.
AHEAD = 8


class Rows(NamedTuple):
    """Dense supervision of one crop.

    Attributes
    ----------
    chosen : Tensor, shape (r,), int64
        Flat indices of the tokens that are judged.
    target : Tensor, shape (r, concepts), int8
        1 present, 0 absent, -1 nothing said.
    kind : Tensor, shape (r,), int64
        Finding painted there, -1 for none.
    """

    chosen: Tensor
    target: Tensor
    kind: Tensor


class Sentences(NamedTuple):
    """The report of one crop.

    Attributes
    ----------
    texts : tuple of str
    vectors : Tensor, shape (k, 384)
        Unit vectors of the text tower.
    organ : Tensor, shape (k,), int64
        Index into the anatomies of reports.
    meaning : Tensor, shape (k,), int64
        0 when nothing is said to be there, else 1 + the concept's index.
    """

    texts: tuple[str, ...]
    vectors: Tensor
    organ: Tensor
    meaning: Tensor


@dataclass
class Batch:
    """What passes the tower together.

    Attributes
    ----------
    hu : Tensor, shape (n, 1, s, s, s)
        HU at 2 mm, IPL order.
    place : Tensor, shape (n, 4, t, t, t)
        Position channels.
    rows : tuple of Rows
        Per crop.
    organs : Tensor, shape (n, t, t, t), uint8, or None
        0, or 1 + index into the anatomies of reports.
    sentences : tuple of Sentences
        Per crop; empty when no objective reads reports.
    radiographs : Tensor, shape (n, 2, s, s), or None
        Frontal and lateral integrals of attenuation through the crop.
    tokens, pre : Tensor, shapes (n, 64, t, t, t) and (n, 96, t, t, t)
        What the tower made of it, filled in before the objectives see the batch.
    """

    hu: Tensor
    place: Tensor
    rows: tuple[Rows, ...]
    organs: Tensor | None
    sentences: tuple[Sentences, ...]
    radiographs: Tensor | None
    tokens: Tensor
    pre: Tensor


@dataclass(frozen=True)
class Source:
    """What crops are made from.

    Attributes
    ----------
    chests : sequence of Chest
    own : mapping of str to sentences
        Reports that a radiologist wrote, by case name.
    mined : mapping of str to list of (i, p, l)
        Places of false peaks, by case name; see :class:`CropMaker`.
    """

    chests: Sequence[Chest]
    own: Own = field(default_factory=dict)
    mined: Mined = field(default_factory=dict)


class BatchMaker:
    """Makes the crops of a run by number; the same number always gives the same arrays.

    Parameters
    ----------
    source : Source
    plan : Plan
    reporter : Reporter, optional
        Writes reports; made when an objective reads them.
    """

    def __init__(self, source: Source, plan: Plan, reporter: Reporter | None = None) -> None:
        self.plan = plan
        self.crops = CropMaker(source.chests, source.mined)
        self.reporter = reporter or (Reporter(own=source.own) if plan.objectives else None)

    def make(self, number: int, strength: float) -> Arrays:
        """Make one crop."""
        seed = self.plan.seed * 1_000_003 + number
        generator = torch.Generator().manual_seed(seed)
        crop = inner(self.crops.make(seed, strength=strength), self.plan.size, generator)
        target, kind = targets(crop)
        rows = as_arrays(target, kind, choose(crop, target, kind, generator))
        hu, place = crop.canvas.hu.half().numpy(), crop.place.half().numpy()
        made = {"hu": hu, "place": place, "rows": rows}
        if self.reporter:
            made |= {"organs": crop.organs.numpy(), "report": self.reporter.arrays(crop, seed)}
        if self.plan.objectives.keys() & RADIOGRAPHS:
            made["radiographs"] = both_views(crop.canvas.hu).half().numpy()
        return made


def inner(crop: Crop, size: int, generator: torch.Generator) -> Crop:
    """Cut a smaller cube out of a crop, about a painted voxel when there is one."""
    canvas = crop.canvas
    if canvas.shape == (size, size, size):
        return crop
    spots = torch.nonzero(canvas.found)
    middle = torch.tensor(canvas.shape) // 2
    if len(spots):
        middle = spots[int(torch.randint(len(spots), (), generator=generator))]
    most = torch.tensor(canvas.shape) - size
    start = ((middle - size // 2) // 2 * 2).clamp(min=torch.zeros(3, dtype=torch.int64), max=most)
    fine = tuple(slice(a, a + size) for a in start.tolist())
    coarse = tuple(slice(a // 2, (a + size) // 2) for a in start.tolist())
    for name, value in vars(canvas).items():
        if isinstance(value, Tensor):
            setattr(canvas, name, value[fine].contiguous())
    crop.place = crop.place[(slice(None), *coarse)].contiguous()
    crop.flags, crop.organs = crop.flags[fine].contiguous(), crop.organs[coarse].contiguous()
    seen = torch.unique(canvas.found).tolist()
    crop.painted = tuple(p for p in crop.painted if FINDINGS.index(p.finding) + 1 in seen)
    return crop


def join(made: Sequence[Arrays], device: torch.device) -> Batch:
    """Put the arrays of several crops together on a device."""
    empty = torch.zeros(0, device=device)
    return Batch(
        hu=_stack(made, "hu", device)[:, None].float(),
        place=_stack(made, "place", device).float(),
        rows=tuple(_rows(one["rows"], device) for one in made),
        organs=_stack(made, "organs", device) if "organs" in made[0] else None,
        sentences=tuple(_sentences(one["report"], device) for one in made if "report" in one),
        radiographs=_stack(made, "radiographs", device).float()
        if "radiographs" in made[0]
        else None,
        tokens=empty,
        pre=empty,
    )


def crops_of(
    maker: BatchMaker, first: int, last: int, rank: int = 0, turn: tuple[int, int] = (0, 1)
) -> Iterator[Arrays]:
    """Yield the crops of steps ``first`` to ``last`` of one device.

    Parameters
    ----------
    maker : BatchMaker
    first, last : int
    rank : int
        Number of the device, out of ``plan.devices``: no crop is drawn twice.
    turn : (k, n)
        Only every n-th crop, from the k-th on: the share of one painter.
    """
    plan = maker.plan
    each = range((last - first) * plan.batch)
    for place in each[turn[0] :: turn[1]]:
        step, index = first + place // plan.batch, place % plan.batch
        stage, within = plan.at(step)
        strength = min(1.0, within / max(1, plan.stages[stage].ramp))
        yield maker.make((step * plan.devices + rank) * plan.batch + index, strength)


def painted(
    source: Source, plan: Plan, span: tuple[int, int], rank: int = 0
) -> Generator[list[Arrays]]:
    """Yield the crops of each step in ``span``, painted by ``plan.painters`` processes."""
    if not plan.painters:
        crops = crops_of(BatchMaker(source, plan), *span, rank)
        for _ in range(*span):
            yield [next(crops) for _ in range(plan.batch)]
        return
    context = get_context("spawn")
    queues: list[Queue[Arrays]] = [context.Queue(AHEAD) for _ in range(plan.painters)]
    workers = [
        context.Process(
            target=_paint,
            args=(source, plan, span, rank, (number, plan.painters), queue),
            daemon=True,
        )
        for number, queue in enumerate(queues)
    ]
    for worker in workers:
        worker.start()
    try:
        yield from _gathered(list(zip(queues, workers, strict=True)), plan, span)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _gathered(
    painters: Sequence[tuple[Queue[Arrays], BaseProcess]], plan: Plan, span: tuple[int, int]
) -> Iterator[list[Arrays]]:
    """Take crops from the painters in turn: the order never depends on who was faster."""
    place = 0
    for _ in range(*span):
        step = []
        for _ in range(plan.batch):
            step.append(_next(*painters[place % len(painters)]))
            place += 1
        yield step


def _next(queue: Queue[Arrays], worker: BaseProcess) -> Arrays:
    """Wait for a crop as long as its painter lives."""
    while True:
        try:
            return queue.get(timeout=5)
        except Empty:
            if not worker.is_alive():
                raise WorkerFailed(
                    "painter-died", "a crop from the process that paints.",
                    f"It ended with exit code {worker.exitcode}.",
                    "Its last words are above; start again to go on from the checkpoint.",
                ) from None  # fmt: skip


def _paint(
    source: Source,
    plan: Plan,
    span: tuple[int, int],
    rank: int,
    turn: tuple[int, int],
    queue: Queue[Arrays],
) -> None:
    """Paint until done, or until the training process is gone."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    queue.cancel_join_thread()
    for arrays in crops_of(BatchMaker(source, plan), *span, rank, turn):
        while True:
            try:
                queue.put(arrays, timeout=2)
                break
            except Full:
                if parent is None or not parent.is_alive():
                    return
    while parent is not None and parent.is_alive():
        parent.join(2)


def _stack(made: Sequence[Arrays], name: str, device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack([one[name] for one in made])).to(device)


def _rows(arrays: Sequence[np.ndarray], device: torch.device) -> Rows:
    chosen, target, kind = (torch.from_numpy(a).to(device) for a in arrays)
    return Rows(chosen.long(), target, kind)


def _sentences(report: Arrays, device: torch.device) -> Sentences:
    names = ("vectors", "organ", "meaning")
    return Sentences(report["texts"], *(torch.from_numpy(report[n]).to(device) for n in names))
