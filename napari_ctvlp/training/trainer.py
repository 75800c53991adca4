"""Training of mini's tower: one process paints crops, one learns from them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_ctvlp.models.encoders.mini_tower import Tower, channels_last
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.objectives.dense import dense_loss, rivalry_loss
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.synthesis.crops import CropMaker
from napari_ctvlp.training.targets import as_arrays, choose, concepts, targets

#: Parameters that learn faster: the heads, the concept table and its bias.
HEADS = ("head", "table", "bias")


@dataclass(frozen=True)
class Plan:
    """Everything a run depends on beside its data.

    Attributes
    ----------
    seed : int
        Of weights and crops.
    steps : int
        Length of the cosine schedule, one crop per step.
    rate : float
        Peak learning rate of the tower; heads, table and bias learn ``head_factor`` times as fast.
    warm : int
        Steps of linear warm-up.
    ramp : int
        Steps until augmentation is at full strength.
    rivalry : float
        Weight of the softmax term.
    hard : float
        Weight of the hardest negatives.
    memory : float
        Decay of the moving average of the weights.
    save_every : int
        Steps between checkpoints.
    """

    seed: int = 0
    steps: int = 3000
    rate: float = 1.2e-3
    head_factor: float = 5.0
    warm: int = 60
    ramp: int = 800
    rivalry: float = 1.0
    hard: float = 0.9
    memory: float = 0.998
    save_every: int = 100


#: False peaks by case name: 2 mm voxels (i, p, l).
Mined = dict[str, list[list[int]]]
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Trainer:
    """Tower, optimiser and moving average; :meth:`step` learns from one crop.

    Parameters
    ----------
    plan : Plan
    start : Tower, optional
        Weights to begin with.
    """

    def __init__(self, plan: Plan, start: Tower | None = None) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.tower = Tower(len(concepts()))
        if start is not None:
            self.tower.load_state_dict(start.state_dict())
        channels_last(self.tower)
        named = list(self.tower.named_parameters())
        fast = [p for name, p in named if name.startswith(HEADS)]
        slow = [p for name, p in named if not name.startswith(HEADS)]
        groups = [{"params": slow, "factor": 1.0}, {"params": fast, "factor": plan.head_factor}]
        self.optimiser = torch.optim.AdamW(
            groups, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.average = {n: v.clone() for n, v in self.tower.state_dict().items()}
        self.done = 0
        self.rivals = torch.tensor(
            [*range(len(FINDINGS)), concepts().index("lungs"), concepts().index("vessel")]
        )

    def step(self, batch: Batch) -> dict[str, float]:
        """Learn from one crop and return the losses."""
        self._set_rate()
        hu, place, chosen, target, kind = batch
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.tower(hu[None, None], place[None])
        rows = tokens[0].permute(1, 2, 3, 0).reshape(-1, tokens.shape[1])[chosen]
        logits = self.tower.logits(rows)
        dense = dense_loss(logits, target, hard=self.plan.hard)
        rivalry = rivalry_loss(logits, kind, self.rivals)
        loss = dense + self.plan.rivalry * rivalry
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        self.optimiser.step()
        self._remember()
        self.done += 1
        return {"dense": dense.item(), "rivalry": rivalry.item(), "norm": norm.item()}

    def averaged(self) -> Tower:
        """Return a tower with the moving average of the weights."""
        tower = Tower(len(concepts()))
        channels_last(tower)
        tower.load_state_dict(self.average)
        tower.eval()
        return tower

    def save(self, path: Path) -> None:
        """Write a checkpoint, replacing the old one only when it is whole."""
        state = {
            "plan": asdict(self.plan),
            "tower": self.tower.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    @staticmethod
    def resume(path: Path) -> Trainer:
        """Return the trainer a checkpoint was made of."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        trainer = Trainer(Plan(**state["plan"]))
        trainer.tower.load_state_dict(state["tower"])
        trainer.optimiser.load_state_dict(state["optimiser"])
        trainer.average = state["average"]
        trainer.done = state["done"]
        return trainer

    def _set_rate(self) -> None:
        plan = self.plan
        warm = min(1.0, (self.done + 1) / plan.warm)
        share = min(1.0, self.done / plan.steps)
        rate = plan.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]

    def _remember(self) -> None:
        """Update the moving average; early on it follows the weights closely."""
        keep = min(self.plan.memory, (self.done + 1) / (self.done + 10))
        with torch.no_grad():
            for name, value in self.tower.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)


def batch_of(maker: CropMaker, plan: Plan, step: int) -> tuple[Any, ...]:
    """Make the crop of one step as arrays: HU, place, chosen tokens, target, kind."""
    seed = plan.seed * 1_000_003 + step
    crop = maker.make(seed, strength=min(1.0, step / max(1, plan.ramp)))
    target, kind = targets(crop)
    chosen = choose(crop, target, kind, torch.Generator().manual_seed(seed))
    inputs = crop.canvas.hu.half().numpy(), crop.place.half().numpy()
    return (*inputs, *as_arrays(target, kind, chosen))


def batches(
    chests: list[Chest], plan: Plan, first: int, mined: Mined | None = None
) -> Iterator[Batch]:
    """Yield the crops of steps ``first`` to the end, painted by a second process."""
    context = get_context("spawn")
    queue: Queue[tuple[Any, ...]] = context.Queue(maxsize=8)
    painter = context.Process(target=_paint, args=(chests, plan, first, mined, queue), daemon=True)
    painter.start()
    try:
        for _ in range(first, plan.steps):
            yield as_batch(queue.get(timeout=600))
    finally:
        painter.terminate()
        painter.join()


def as_batch(arrays: tuple[Any, ...]) -> Batch:
    """Turn the arrays of :func:`batch_of` into tensors."""
    hu, place, chosen, target, kind = (torch.from_numpy(a) for a in arrays)
    return hu.float(), place.float(), chosen.long(), target, kind


def train(
    chests: list[Chest],
    plan: Plan,
    folder: Path,
    minutes: float = math.inf,
    *,
    start: Tower | None = None,
    mined: Mined | None = None,
) -> Trainer:
    """Train, or go on where the checkpoint in ``folder`` stopped.

    Parameters
    ----------
    chests : list of Chest
    plan : Plan
        Ignored when a checkpoint is there.
    folder : Path
        Receives ``checkpoint.pt`` and ``log.jsonl``.
    minutes : float
        Stop (with a checkpoint) after this much wall time.
    start : Tower, optional
        Weights to begin with, instead of random ones.
    mined : mapping, optional
        Places of false peaks, by case; see :class:`CropMaker`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoint.pt"
    trainer = Trainer.resume(path) if path.exists() else Trainer(plan, start)
    recent: list[dict[str, float]] = []
    began = time.monotonic()
    for batch in batches(chests, trainer.plan, trainer.done, mined):
        losses = trainer.step(batch)
        recent.append(losses)
        if trainer.done % 20 == 0:
            _log(folder / "log.jsonl", trainer.done, time.monotonic() - began, recent)
            recent.clear()
        late = time.monotonic() - began > 60 * minutes
        if late or trainer.done % trainer.plan.save_every == 0:
            trainer.save(path)
        if late:
            break
    trainer.save(path)
    return trainer


def _paint(
    chests: list[Chest],
    plan: Plan,
    first: int,
    mined: Mined | None,
    queue: Queue[tuple[Any, ...]],
) -> None:
    torch.set_num_threads(1)
    maker = CropMaker(chests, mined)
    for step in range(first, plan.steps):
        queue.put(batch_of(maker, plan, step))


def _log(path: Path, step: int, seconds: float, recent: list[dict[str, float]]) -> None:
    means = {k: round(sum(row[k] for row in recent) / len(recent), 4) for k in recent[0]}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "seconds": round(seconds, 1), **means}) + "\n")
