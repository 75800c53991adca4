"""The folder of a run: checkpoints that are whole or not there, the log and its curves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.training.config import Plan, from_table

LOG, CHECKS = "log.jsonl", "validation.jsonl"
#: What of a plan may change when a run goes on: none of it touches the weights.
FREE = ("save_every", "check_every", "check_each", "painters")
KEPT = 2


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def save(state: Mapping[str, Any], folder: Path) -> Path:
    """Write a checkpoint that is whole or not there, and keep the last two."""
    path = folder / f"checkpoint-{state['done']:07d}.pt"
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()
    return path


def newest(folder: Path) -> dict[str, Any]:
    """Read the newest checkpoint of a run.

    Raises
    ------
    ModelRefused
        If there is none.
    """
    found = checkpoints(folder)
    if not found:
        raise ModelRefused(
            "no-checkpoint", "the folder of a training run.", f"{folder} holds no checkpoint.",
            "Name the folder that 'ctvlp train run' wrote.",
        )  # fmt: skip
    state: dict[str, Any] = torch.load(found[-1], map_location="cpu", weights_only=True)
    return state


def mean(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first of several checkpoints with the mean of all averaged weights.

    Runs from one start end in one valley, where the mean does at least as well as its parts
    (Wortsman et al. 2022, "Model soups", arXiv:2203.05482).

    Raises
    ------
    ModelRefused
        If the checkpoints are of different towers.
    """
    weights = [state["average"] for state in states]
    if any({n: v.shape for n, v in w.items()} != {n: v.shape for n, v in weights[0].items()}
           for w in weights):  # fmt: skip
        raise ModelRefused(
            "other-tower", "runs of the same tower.", "Their weights differ in name or shape.",
            "Average runs that started from the same weights.",
        )  # fmt: skip
    both = {name: torch.stack([w[name].float() for w in weights]).mean(0) for name in weights[0]}
    return {**states[0], "average": {n: v.to(weights[0][n].dtype) for n, v in both.items()}}


def plan_of(state: Mapping[str, Any]) -> Plan:
    """Return the plan a checkpoint was made by."""
    return from_table(json.loads(state["plan"]))


def same_plan(folder: Path, plan: Plan) -> None:
    """Write the plan into a new run's folder; refuse to go on with another one.

    Raises
    ------
    InputRefused
        Naming every value that differs.
    """
    path = folder / "plan.json"
    if checkpoints(folder) and path.exists():
        old = from_table(json.loads(path.read_text(encoding="utf-8")))
        free = {name: getattr(plan, name) for name in FREE}
        before, now = (json.loads(p.as_json()) for p in (replace(old, **free), plan))
        wrong = [f"{k} was {before[k]}, is {now[k]}." for k in now if before[k] != now[k]]
        if wrong:
            raise InputRefused(
                "other-plan", f"the plan that the run in {folder} was started with.",
                " ".join(wrong), "Name an empty folder, or take the values back.",
            )  # fmt: skip
    path.write_text(plan.as_json() + "\n", encoding="utf-8")


class Log:
    """Mean losses every few steps, one JSON object a line.

    Parameters
    ----------
    folder : Path
    done : int
        Lines beyond this step are from a run that was broken off; they are taken back.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / LOG
        for path in (self.path, folder / CHECKS):
            kept = [row for row in rows(path) if row["step"] <= done]
            if path.exists():
                path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        earlier = rows(self.path)
        self.began = time.monotonic() - (earlier[-1]["seconds"] if earlier else 0.0)
        self.recent: list[dict[str, float]] = []

    def add(self, losses: dict[str, float]) -> None:
        """Remember the losses of a step."""
        self.recent.append(losses)

    def write(self, step: int) -> None:
        """Append the means since the last line."""
        count = len(self.recent)
        means = {k: round(sum(r[k] for r in self.recent) / count, 4) for k in self.recent[0]}
        seconds = round(time.monotonic() - self.began, 1)
        append(self.path, {"step": step, "seconds": seconds, **means})
        self.recent.clear()


def append(path: Path, row: Mapping[str, float | int | str]) -> None:
    """Append one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(row)) + "\n")


def rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            out.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return out


def curves(folder: Path) -> None:
    """Draw the losses and the validation numbers of a run into ``curves.png``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (name, logarithmic) in enumerate(((LOG, True), (CHECKS, False))):
        axes = figure.add_subplot(1, 2, number + 1)
        _lines(axes, rows(folder / name), logarithmic)
    part = folder / "curves.part.png"
    figure.savefig(part, dpi=100)
    part.replace(folder / "curves.png")


def _lines(axes: Any, table: Sequence[Mapping[str, Any]], logarithmic: bool) -> None:
    skipped = {"step", "seconds", "norm", "loss"}
    names = [n for n in (table[-1] if table else ()) if n not in skipped]
    for name in names:
        axes.plot(
            [r["step"] for r in table], [r.get(name, float("nan")) for r in table], label=name
        )
    axes.set_xlabel("step")
    if names:
        axes.legend(frameon=False)
    if names and logarithmic:
        axes.set_yscale("log")
