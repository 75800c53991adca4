"""Which objective helps: the same crops and steps with and without each, three seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from napari_ctvlp.models.protocol import Progress, silent
from napari_ctvlp.training.config import Options, Plan, Stage
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.exam import examine, questions
from napari_ctvlp.training.objectives.teacher import load
from napari_ctvlp.training.trainer import train

#: Objectives of each arm beside dense grounding.
ARMS: dict[str, tuple[str, ...]] = {
    "dense": (),
    "+ fVLM": ("fvlm",),
    "+ BIUD": ("biud",),
    "+ ELVIS": ("elvis",),
    "all": ("fvlm", "biud", "elvis"),
}
SEEDS = (0, 1, 2)
#: Of the crops all runs are measured on: no training crop has it.
EXAM = 9091
SETTINGS = {
    "small": Plan(size=56, batch=2, micro=2, stages=(Stage(240, warm=30, ramp=1),)),
    "full": Plan(batch=4, micro=4, check_every=500),
}
#: Crops per finding in the exam.
EACH = {"small": 2, "full": 6}
Numbers = dict[str, float]


def ablate(
    chests: Sequence[Chest],
    validation: Sequence[Chest],
    out: Path,
    plan: Plan,
    options: Mapping[str, Options],
    *,
    each: int = 2,
    arms: Mapping[str, Sequence[str]] = ARMS,
    seeds: Sequence[int] = SEEDS,
    progress: Progress = silent,
) -> str:
    """Train and measure every arm with every seed; return the table that is also in ``out``.

    A run that is done is not repeated: its numbers lie beside ``out``, in a folder of the same
    name, and one that was broken off goes on.

    Parameters
    ----------
    chests, validation : sequence of Chest
        To learn from, and to be measured on.
    out : Path
        Markdown.
    plan : Plan
        Budget of every run; its objectives and seed are replaced.
    options : mapping of str to options
        Of each objective, with its weight, as in a config file.
    each : int
        Crops per finding in the exam.
    arms : mapping of str to objectives
    seeds : sequence of int
    progress : callable
    """
    folder = out.with_suffix("")
    asked = questions(validation, EXAM, each)
    found: dict[str, list[Numbers]] = {}
    for count, (arm, seed) in enumerate((a, s) for s in seeds for a in arms):
        progress(count / (len(arms) * len(seeds)), f"{arm}, seed {seed}")
        own = replace(plan, seed=seed, objectives={name: options[name] for name in arms[arm]})
        run = folder / f"{'-'.join(('dense', *arms[arm]))}-{seed}"
        done = run / "exam.json"
        if not done.exists():
            trainer = train(chests, own, run)
            numbers = examine(trainer.averaged(), asked)
            done.write_text(json.dumps(numbers, indent=2), encoding="utf-8")
        found.setdefault(arm, []).append(json.loads(done.read_text(encoding="utf-8")))
    text = table(found, plan, len(asked)) + _bank(options)
    out.write_text(text, encoding="utf-8")
    return text


def table(found: Mapping[str, Sequence[Numbers]], plan: Plan, crops: int) -> str:
    """Format means and standard deviations over seeds as Markdown, and say what did not help."""
    names = list(dict.fromkeys(n for rows in found.values() for row in rows for n in row))
    seeds = max(len(rows) for rows in found.values())
    head = (
        f"{plan.steps} steps of {plan.batch} crops of {plan.size} voxels each, {seeds} seeds, "
        f"measured on {crops} painted validation crops; mean (SD over seeds)."
    )
    lines = [head, "", "| objectives | " + " | ".join(names) + " |"]
    lines.append("|" + "---|" * (len(names) + 1))
    for arm, rows in found.items():
        cells = [_cell([row[n] for row in rows if n in row]) for n in names]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    base = found.get("dense", ())
    lines += [
        "",
        *(_verdict(arm, rows, base) for arm, rows in found.items() if base and arm != "dense"),
    ]
    return "\n".join(lines) + "\n"


def _bank(options: Mapping[str, Options]) -> str:
    """Say how BIUD's expert, the same in every run, was made and how often it hits."""
    path = str(options.get("biud", {}).get("bank", ""))
    if not path:
        return ""
    facts = ", ".join(f"{name} {value:g}" for name, value in load(Path(path))[2].items())
    return f"\nBIUD's expert and its hit rates on validation reports: {facts}.\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _verdict(arm: str, rows: Sequence[Numbers], base: Sequence[Numbers]) -> str:
    """Say which measures differ from dense alone (paired t over seeds, 95 %)."""
    words = []
    for name in base[0]:
        gain = np.array([row[name] - other[name] for row, other in zip(rows, base, strict=False)])
        spread = float(np.std(gain, ddof=1)) if gain.size > 1 else np.inf
        reach = stats.t.ppf(0.975, max(1, gain.size - 1)) * spread / np.sqrt(gain.size)
        mean = float(gain.mean())
        if abs(mean) > reach:
            words.append(f"{'better' if mean > 0 else 'worse'} {name} ({mean:+.3f})")
    said = ", ".join(words) or "no difference from dense alone that these seeds can show"
    return f"- {arm}: {said}."
