"""``ctvlp train``: make mini's weights again, or your own, from CTs and painted findings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from napari_ctvlp.models.encoders.mini_tower import Tower
    from napari_ctvlp.training.data import Chest

train = typer.Typer(no_args_is_help=True, help="Train the embedded model from prepared chests.")

Root = Annotated[Path, typer.Argument(help="Folder of the training CTs.")]
Data = Annotated[Path, typer.Option(help="Folder of prepared chests.")]
PREPARED = Path("prepared")
Runs = Annotated[Path, typer.Option(help="Folder of the run: checkpoint and log.")]
Role = Annotated[str, typer.Option(help="train, validation or calibration chests.")]
Seed = Annotated[int, typer.Option(help="Every crop, weight and choice follows from it.")]


@train.command()
def prepare(root: Root, *, data: Data = PREPARED) -> None:
    """Resample, segment and label the CTs of training/cases.toml."""
    from napari_ctvlp.training.data import cases, prepare

    data.mkdir(parents=True, exist_ok=True)
    for case in cases():
        prepare(case, root).save(data / f"{case.name}.npz")
        typer.echo(f"{case.name} prepared", err=True)


@train.command()
def run(
    *,
    config: Annotated[Path, typer.Option(help="The plan, as training/mini.toml.")],
    data: Data = PREPARED,
    runs: Annotated[Path | None, typer.Option(help="Folder of the run; runs/CONFIG.")] = None,
    minutes: Annotated[float, typer.Option(help="Stop with a checkpoint after these.")] = math.inf,
) -> None:
    """Train the tower; goes on where the newest checkpoint stopped."""
    from napari_ctvlp.training.config import read_plan
    from napari_ctvlp.training.trainer import train

    _one_thread()
    plan, folder = read_plan(config), runs or Path("runs") / config.stem
    chests, validation = _chests(data, "train"), _chests(data, "validation")
    trainer = train(chests, plan, folder, minutes, validation=validation)
    typer.echo(f"{trainer.done} of {plan.steps} steps done in {folder}", err=True)


@train.command()
def refine(
    *,
    data: Data = PREPARED,
    runs: Runs,
    start: Annotated[Path, typer.Option(help="Folder of the run to go on from.")],
    seed: Seed = 1,
    steps: Annotated[int, typer.Option(help="Steps to learn.")] = 550,
) -> None:
    """Train on from another run's weights, with crops around its false peaks."""
    from napari_ctvlp.training.config import Plan, Stage
    from napari_ctvlp.training.trainer import train

    _one_thread()
    plan = Plan(seed=seed, stages=(Stage(steps, rate=8e-4, warm=40, ramp=1, mine=True),))
    trainer = train(_chests(data, "train"), plan, runs, start=_tower(start))
    typer.echo(f"{trainer.done} of {plan.steps} steps done in {runs}", err=True)


@train.command()
def check(
    *,
    data: Data = PREPARED,
    runs: Runs,
    seed: Seed = 777,
    each: Annotated[int, typer.Option(help="Crops per finding.")] = 6,
    role: Role = "validation",
) -> None:
    """Print the synthetic check: fresh crops, one painted finding each."""
    from napari_ctvlp.training.check import check, table

    _one_thread()
    print(table(check(_tower(runs), _chests(data, role), seed, each)))


@train.command()
def tune(
    *,
    data: Data = PREPARED,
    runs: Runs,
    seed: Seed = 2001,
    each: Annotated[int, typer.Option(help="Whole chests per painted finding.")] = 3,
    empty: Annotated[int, typer.Option(help="Whole chests with nothing painted.")] = 12,
    role: Role = "calibration",
) -> None:
    """Try peak rules and thresholds on whole training chests; keep bags for the organ queries."""
    from napari_ctvlp.training import pooling
    from napari_ctvlp.training.tune import report, run_trials, save, thresholds
    from napari_ctvlp.training.whole import without_abdomen

    _one_thread()
    chests = without_abdomen(_chests(data, role))
    trials, bags = run_trials(_tower(runs), chests, seed, each, empty)
    save(trials, runs / f"trials-{seed}.json")
    pooling.save_bags(bags, runs / f"bags-{seed}.pt")
    print(report(trials))
    for rule in dict.fromkeys(trial.rule for trial in trials):
        print(f"\n{rule}: finding, present, absent")
        for name, (present, absent) in thresholds(trials, rule).items():
            print(f"{name}, {present:.2f}, {absent:.2f}")


@train.command()
def ship(
    *,
    runs: Runs,
    weights: Annotated[Path, typer.Option(help="Folder that receives the weights.")],
    card: Annotated[Path, typer.Option(help="Card that receives their SHA-256.")],
    seed: Seed = 0,
) -> None:
    """Train the organ queries on the bags in RUNS and export the image weights."""
    from napari_ctvlp.training import pooling
    from napari_ctvlp.training.export import export, write_hashes

    _one_thread()
    tower = _tower(runs)
    bags = [bag for path in sorted(runs.glob("bags-*.pt")) for bag in pooling.load_bags(path)]
    pool = pooling.train_pool(tower, bags, seed)
    typer.echo(f"SHA-256 {export(tower, pool, weights)}")
    write_hashes(card, weights)


def _chests(data: Path, role: str) -> list[Chest]:
    """Load the prepared chests of a role: those of cases.toml in its order, then others by name."""
    from napari_ctvlp.errors import InputRefused
    from napari_ctvlp.training.data import Chest, cases

    known = {data / f"{case.name}.npz": case for case in cases()}
    others = sorted(set(data.glob("*.npz")) - set(known))
    found = [Chest.load(path) for path in [*known, *others] if path.exists()]
    if not found:
        raise InputRefused(
            "no-chests", "a folder of prepared chests.", f"{data} holds none.",
            "Make one with 'ctvlp train prepare'.",
        )  # fmt: skip
    roles = {case.name: case.role for case in known.values()}
    return [c for c in found if roles.get(c.case.name, c.case.role) == role]


def _tower(runs: Path) -> Tower:
    from napari_ctvlp.training.trainer import Trainer

    return Trainer.resume(runs).averaged()


def _one_thread() -> None:
    """One thread: more gain nothing at these sizes, and sums depend on their number."""
    import torch

    torch.set_num_threads(1)
