"""What a training run depends on beside its data, read from TOML and checked before it starts."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from napari_ctvlp.errors import InputRefused

#: Objectives that can be switched on beside dense grounding, which always is.
OBJECTIVES = ("fvlm", "biud", "elvis")
PRECISIONS = ("auto", "bf16-mixed", "32-true")
DEVICES = ("auto", "cpu", "cuda")
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """One schedule of the learning rate. Each later stage starts from the averaged weights.

    Attributes
    ----------
    steps : int
        Length of the cosine.
    rate : float
        Peak learning rate of the tower; heads, table and bias learn ``head_factor`` times as fast.
    warm : int
        Steps of linear warm-up.
    ramp : int
        Steps until augmentation is at full strength.
    mine : bool
        Look for false peaks before it starts and draw crops around them.
    """

    steps: int = 3000
    rate: float = 1.2e-3
    warm: int = 60
    ramp: int = 800
    mine: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything a run depends on beside its data.

    Attributes
    ----------
    seed : int
        Of weights and crops.
    stages : tuple of Stage
    batch, micro : int
        Crops per step and device, and how many of them pass the tower together: the objectives
        contrast what is in one such part, gradients add up over the step.
    size : int
        Edge of a crop in 2 mm voxels, a multiple of 8.
    head_factor : float
        How much faster heads learn.
    rivalry, pointing, hard : float
        Weights of the softmax over findings, of the softmax over places and of the hardest
        negatives in the dense objective.
    detail : bool
        A tower with a branch over single 2 mm voxels.
    memory : float
        Decay of the moving average of the weights.
    objectives : mapping of str to options
        By name; the key ``weight`` multiplies the loss, the others go to the objective.
    save_every, check_every : int
        Steps between checkpoints, and between validations (0: none).
    check_each : int
        Crops per finding in a validation.
    painters : int
        Processes that paint crops; 0 paints in the training process.
    device, devices, precision
        ``auto``, ``cpu`` or ``cuda``; how many; ``bf16-mixed``, ``32-true``, or ``auto``: bf16
        where the device is fast at it.
    compile : bool
        Let torch compile the tower: a step took 0.26 s instead of 0.43 s on one core. Needs a C++
        compiler, and rounds otherwise than the plain tower.
    """

    seed: int = 0
    stages: tuple[Stage, ...] = (Stage(),)
    batch: int = 1
    micro: int = 1
    size: int = 80
    head_factor: float = 5.0
    rivalry: float = 1.0
    pointing: float = 0.0
    detail: bool = False
    hard: float = 0.9
    memory: float = 0.998
    objectives: Mapping[str, Options] = field(default_factory=dict)
    save_every: int = 100
    check_every: int = 0
    check_each: int = 2
    painters: int = 1
    device: str = "auto"
    devices: int = 1
    precision: str = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run, all problems at once."""
        if problems := _problems(self):
            raise InputRefused(
                "bad-plan",
                "a training plan that can be run.",
                " ".join(problems),
                "Change these values in the config file.",
            )

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def at(self, step: int) -> tuple[int, int]:
        """Return the stage that a step belongs to, and its number within the stage."""
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, step
            step -= stage.steps
        last = len(self.stages) - 1
        return last, step + self.stages[last].steps

    def as_json(self) -> str:
        """Return the plan in words that :func:`from_table` reads back."""
        return json.dumps(asdict(self), indent=2)


def read_plan(path: Path) -> Plan:
    """Read a plan from TOML; stages are ``[[stages]]``, objectives ``[objectives.NAME]``.

    Raises
    ------
    InputRefused
        If the file is missing, is no TOML, or holds an unknown key or a value of another type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputRefused(
            "unreadable-config", "a training config in TOML.", f"{path}: {error}.",
            "Start from napari_ctvlp/training/mini.toml.",
        ) from error  # fmt: skip
    return from_table(table)


def from_table(table: Mapping[str, Any]) -> Plan:
    """Build a plan from parsed TOML or JSON."""
    known = dict(table)
    stages, objectives = known.pop("stages", None), known.pop("objectives", {})
    lists = stages is None or (
        isinstance(stages, list) and all(isinstance(row, Mapping) for row in stages)
    )
    if not lists or not isinstance(objectives, Mapping):
        raise InputRefused(
            "bad-config", "stages as [[stages]] and objectives as [objectives.NAME].",
            "One of them is no table.", "Start from napari_ctvlp/training/mini.toml.",
        )  # fmt: skip
    values = _typed(Plan, known, "the config")
    if stages is not None:
        values["stages"] = tuple(Stage(**_typed(Stage, row, "[[stages]]")) for row in stages)
    return Plan(**values, objectives=objectives)


def _typed(kind: type[Any], row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the row when its keys and types are those of a dataclass."""
    types = {f.name: str(f.type) for f in fields(kind)}
    simple: dict[str, type[Any]] = {"int": int, "float": float, "str": str, "bool": bool}
    wrong = []
    out: dict[str, Any] = {}
    for name, value in row.items():
        wanted = simple.get(types.get(name, ""))
        if wanted is None:
            wrong.append(f"{place} has an unknown key {name!r}.")
        elif type(value) is not wanted and not (wanted is float and type(value) is int):
            wrong.append(f"{name} is {value!r}, which is no {wanted.__name__}.")
        else:
            out[name] = wanted(value)
    if wrong:
        raise InputRefused(
            "bad-config", f"of {place} only {', '.join(types)}.", " ".join(wrong),
            "Correct or remove these lines.",
        )  # fmt: skip
    return out


def _problems(plan: Plan) -> list[str]:
    least = {"batch": 1, "micro": 1, "save_every": 1, "devices": 1, "check_each": 1}
    least |= {"painters": 0, "check_every": 0, "seed": 0}
    found = [
        f"{name} is {getattr(plan, name)}, below {low}."
        for name, low in least.items()
        if getattr(plan, name) < low
    ]
    if not plan.stages or any(s.steps < 1 or s.warm < 1 or s.rate <= 0 for s in plan.stages):
        found.append("A stage needs steps, warm >= 1 and a rate > 0.")
    if plan.batch % max(1, plan.micro):
        found.append(f"batch {plan.batch} is no multiple of micro {plan.micro}.")
    if plan.size % 8 or not 16 <= plan.size <= 80:
        found.append(f"size {plan.size} is no multiple of 8 from 16 to 80.")
    if plan.precision not in PRECISIONS:
        found.append(f"precision {plan.precision!r} is none of {', '.join(PRECISIONS)}.")
    if plan.device not in DEVICES:
        found.append(f"device {plan.device!r} is none of {', '.join(DEVICES)}.")
    for name, options in plan.objectives.items():
        if name not in OBJECTIVES:
            found.append(f"objective {name!r} is none of {', '.join(OBJECTIVES)}.")
        elif not isinstance(options, Mapping) or type(options.get("weight")) not in (int, float):
            found.append(f"[objectives.{name}] needs a number 'weight'.")
    return found
