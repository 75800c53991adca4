"""Training of mini's tower: painters make crops, one process per device learns from them."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from napari_ctvlp.models.encoders.mini_tower import Tower, channels_last
from napari_ctvlp.models.precision import learns_in_bfloat16
from napari_ctvlp.training import rundir
from napari_ctvlp.training.batch import Arrays, Batch, Source, join, painted
from napari_ctvlp.training.config import Plan
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.learner import Learner, Objective, Sealed
from napari_ctvlp.training.mining import mine
from napari_ctvlp.training.targets import concepts
from napari_ctvlp.training.validation import Validation

#: Steps between lines of the log.
LOG_EVERY = 20


class Trainer:
    """Learner, optimiser and moving average; :meth:`step` learns from the crops of one step.

    Parameters
    ----------
    plan : Plan
    start : Tower, optional
        Weights to begin with, instead of random ones.
    fabric : Fabric, optional
        Launched already, when there are several devices.
    """

    def __init__(
        self, plan: Plan, start: Tower | None = None, fabric: Fabric | None = None
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.fabric = fabric or fabric_of(plan)
        self.learner = Learner(plan)
        if start is not None:
            self.learner.tower.load_state_dict(self.learner.tower.state_dict() | start.state_dict())
        self.module = self.fabric.setup_module(self.learner)
        self._averaged = self.learner.averaged_names()
        self.done = self.stage = 0
        self.mined: dict[str, list[list[int]]] = {}
        self._begin()

    def step(self, parts: Sequence[Batch]) -> dict[str, float]:
        """Learn from one step's micro-batches and return the mean losses."""
        self._set_rate()
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for number, batch in enumerate(parts):
            last = number == len(parts) - 1
            with self.fabric.no_backward_sync(self.module, enabled=not last):
                losses = self.module(Sealed(batch))
                self.fabric.backward(losses["loss"] / len(parts))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(parts)
        norm = torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        self._remember()
        return {**sums, "norm": norm.item()}

    def parts_of(self, made: Sequence[Arrays]) -> list[Batch]:
        """Put the crops of a step together, ``plan.micro`` at a time."""
        size = self.plan.micro
        starts = range(0, len(made), size)
        return [join(made[n : n + size], self.fabric.device) for n in starts]

    def averaged(self) -> Tower:
        """Return a tower with the moving average of the weights, on the CPU."""
        tower = Tower(len(concepts()), detail=self.plan.detail)
        channels_last(tower)
        own = {n.removeprefix("tower."): v for n, v in self.average.items() if n[:6] == "tower."}
        tower.load_state_dict(own)
        return tower.eval()

    def next_stage(self, chests: Sequence[Chest]) -> None:
        """Start the next stage from the averaged weights."""
        self.learner.load_state_dict(self.average)
        self.stage += 1
        self._begin()
        self.mine(chests)

    def mine(self, chests: Sequence[Chest]) -> None:
        """Look for false peaks when the stage wants crops around them."""
        if self.plan.stages[self.stage].mine:
            first = self.fabric.is_global_zero
            self.mined = self.fabric.broadcast(mine(self.averaged(), chests) if first else {})

    def state(self) -> dict[str, Any]:
        """Return everything a checkpoint holds."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "plan": self.plan.as_json(),
            "learner": self.learner.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.optimizer.state_dict(),
            "done": self.done,
            "stage": self.stage,
            "mined": self.mined,
            "chance": {"cpu": torch.get_rng_state(), "cuda": cuda},
        }

    @staticmethod
    def resume(folder: Path, fabric: Fabric | None = None) -> Trainer:
        """Return the trainer that the newest checkpoint in ``folder`` was made of."""
        state = rundir.newest(folder)
        trainer = Trainer(rundir.plan_of(state), fabric=fabric)
        trainer.learner.load_state_dict(state["learner"])
        trainer.optimiser.optimizer.load_state_dict(state["optimiser"])
        for name, value in state["average"].items():
            trainer.average[name].copy_(value)
        trainer.done, trainer.stage = state["done"], state["stage"]
        trainer.mined = state["mined"]
        torch.set_rng_state(state["chance"]["cpu"])
        if torch.cuda.is_available() and state["chance"]["cuda"]:
            torch.cuda.set_rng_state_all(state["chance"]["cuda"])
        return trainer

    def _begin(self) -> None:
        """Make the optimiser and the average of a stage."""
        rate = self.plan.stages[self.stage].rate
        groups = self.learner.groups()
        raw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.optimiser: Any = self.fabric.setup_optimizers(raw)
        self.average = {n: v.clone() for n, v in self.learner.state_dict().items()}

    def _set_rate(self) -> None:
        number, within = self.plan.at(self.done)
        stage = self.plan.stages[number]
        warm = min(1.0, (within + 1) / stage.warm)
        share = min(1.0, within / stage.steps)
        rate = stage.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimiser.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    def _remember(self) -> None:
        """Update the moving average; early in a stage it follows the weights closely."""
        within = self.plan.at(self.done - 1)[1]
        keep = min(self.plan.memory, (within + 1) / (within + 10))
        with torch.no_grad():
            for name, value in self.learner.state_dict().items():
                if name in self._averaged:
                    self.average[name].lerp_(value, 1 - keep)
                else:
                    self.average[name].copy_(value)


def fabric_of(plan: Plan) -> Fabric:
    """Return the devices of a plan; on CUDA torch is told to choose deterministic kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    cuda = plan.device == "cuda" or (plan.device == "auto" and torch.cuda.is_available())
    lean = "bf16-mixed" if learns_in_bfloat16(plan.size, "cuda" if cuda else "cpu") else "32-true"
    together = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    fabric = Fabric(
        accelerator=plan.device,
        devices=plan.devices,
        precision=lean if plan.precision == "auto" else plan.precision,  # type: ignore[arg-type]
        strategy=together if plan.devices > 1 else "auto",
    )
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    return fabric


def train(
    source: Source | Sequence[Chest],
    plan: Plan,
    folder: Path,
    minutes: float = math.inf,
    *,
    start: Tower | None = None,
    validation: Sequence[Chest] = (),
) -> Trainer:
    """Train, or go on where the newest checkpoint in ``folder`` stopped.

    Parameters
    ----------
    source : Source or sequence of Chest
    plan : Plan
    folder : Path
        Receives ``plan.json``, checkpoints, ``log.jsonl``, ``curves.png`` and pictures.
    minutes : float
        Stop (with a checkpoint) after this much wall time.
    start : Tower, optional
        Weights to begin with, instead of random ones.
    validation : sequence of Chest
        Measured every ``plan.check_every`` steps.

    Raises
    ------
    InputRefused
        If the folder holds a run with another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rundir.same_plan(folder, plan)
    fabric = fabric_of(plan)
    source = source if isinstance(source, Source) else Source(list(source))
    arguments = (source, plan, folder, minutes, start, list(validation))
    if plan.devices > 1:
        fabric.launch(partial(_train_one, arguments=arguments))
        return Trainer.resume(folder, fabric_of(replace(plan, devices=1)))
    return _train(fabric, *arguments)


def _train_one(fabric: Fabric, arguments: tuple[Any, ...]) -> None:
    """Train on one of several devices; what came of it is in the run's folder."""
    torch.set_num_threads(1)
    _train(fabric, *arguments)


def _train(
    fabric: Fabric,
    source: Source,
    plan: Plan,
    folder: Path,
    minutes: float,
    start: Tower | None,
    validation: list[Chest],
) -> Trainer:
    """Train on one device."""
    if rundir.checkpoints(folder):
        trainer = Trainer.resume(folder, fabric)
        trainer.plan = plan
    else:
        trainer = Trainer(plan, start, fabric)
        trainer.mine(source.chests)
    run = _Run(trainer, folder, time.monotonic() + 60 * minutes, validation)
    while trainer.done < plan.steps and not run.late:
        if plan.at(trainer.done)[0] > trainer.stage:
            trainer.next_stage(source.chests)
        run.stage(source)
    return trainer


class _Run:
    """The loop of one process: steps, log, validations, checkpoints."""

    def __init__(
        self, trainer: Trainer, folder: Path, until: float, validation: list[Chest]
    ) -> None:
        self.trainer, self.plan, self.folder, self.until = trainer, trainer.plan, folder, until
        self.late = False
        if trainer.fabric.is_global_zero:
            self.log = rundir.Log(folder, trainer.done)
            self.judge = Validation(validation, self.plan)

    def stage(self, source: Source) -> None:
        """Do the steps left in this stage, as long as there is time."""
        trainer, fabric = self.trainer, self.trainer.fabric
        end = sum(s.steps for s in self.plan.stages[: trainer.stage + 1])
        source = replace(source, mined=trainer.mined)
        crops = painted(source, self.plan, (trainer.done, end), fabric.global_rank)
        with closing(crops) as steps:
            for made in steps:
                losses = trainer.step(trainer.parts_of(made))
                self.late = fabric.broadcast(time.monotonic() > self.until)
                if fabric.is_global_zero:
                    self._keep(losses)
                fabric.barrier()
                if self.late:
                    return

    def _keep(self, losses: dict[str, float]) -> None:
        """Log; validate and save when it is time, and at the end."""
        done, plan = self.trainer.done, self.plan
        over = self.late or done == plan.steps
        self.log.add(losses)
        if over or done % LOG_EVERY == 0:
            self.log.write(done)
        if plan.check_every and (done == plan.steps or done % plan.check_every == 0):
            self.judge.look(self.trainer.averaged(), self.folder, done)
        if over or done % plan.save_every == 0:
            rundir.save(self.trainer.state(), self.folder)
        if over:
            rundir.curves(self.folder)


__all__ = ["Objective", "Trainer", "fabric_of", "train"]
