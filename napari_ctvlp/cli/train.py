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
Runs = Annotated[Path, typer.Option(help="Folder of the run: checkpoint and log.")]
Seed = Annotated[int, typer.Option(help="Every crop, weight and choice follows from it.")]


@train.command()
def prepare(root: Root, *, data: Data) -> None:
    """Resample, segment and label the CTs of training/cases.toml."""
    from napari_ctvlp.training.data import cases, prepare

    data.mkdir(parents=True, exist_ok=True)
    for case in cases():
        prepare(case, root).save(data / f"{case.name}.npz")
        typer.echo(f"{case.name} prepared", err=True)


@train.command()
def run(
    *,
    data: Data,
    runs: Runs,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(help="Crops to learn from.")] = 3000,
    minutes: Annotated[float, typer.Option(help="Stop with a checkpoint after these.")] = math.inf,
) -> None:
    """Train the tower; goes on where the checkpoint in RUNS stopped."""
    from napari_ctvlp.training.trainer import Plan, train

    _one_thread()
    trainer = train(_chests(data), Plan(seed=seed, steps=steps), runs, minutes)
    typer.echo(f"{trainer.done} of {trainer.plan.steps} steps done", err=True)


@train.command()
def refine(
    *,
    data: Data,
    runs: Runs,
    start: Annotated[Path, typer.Option(help="Folder of the run to go on from.")],
    seed: Seed = 1,
    steps: Annotated[int, typer.Option(help="Crops to learn from.")] = 550,
) -> None:
    """Train on from another run's weights, with crops around its false peaks."""
    from napari_ctvlp.training.mining import mine
    from napari_ctvlp.training.trainer import Plan, train

    _one_thread()
    chests, tower = _chests(data), _tower(start)
    plan = Plan(seed=seed, steps=steps, rate=8e-4, warm=40, ramp=1)
    trainer = train(chests, plan, runs, start=tower, mined=mine(tower, chests))
    typer.echo(f"{trainer.done} of {trainer.plan.steps} steps done", err=True)


@train.command()
def check(
    *,
    data: Data,
    runs: Runs,
    seed: Seed = 777,
    each: Annotated[int, typer.Option(help="Crops per finding.")] = 6,
) -> None:
    """Print the synthetic check: fresh crops, one painted finding each."""
    from napari_ctvlp.training.check import check, table

    _one_thread()
    print(table(check(_tower(runs), _chests(data), seed, each)))


@train.command()
def tune(
    *,
    data: Data,
    runs: Runs,
    seed: Seed = 2001,
    each: Annotated[int, typer.Option(help="Whole chests per painted finding.")] = 3,
    empty: Annotated[int, typer.Option(help="Whole chests with nothing painted.")] = 12,
) -> None:
    """Try peak rules and thresholds on whole training chests; keep bags for the organ queries."""
    from napari_ctvlp.training import pooling
    from napari_ctvlp.training.tune import report, run_trials, save, thresholds
    from napari_ctvlp.training.whole import without_abdomen

    _one_thread()
    chests = without_abdomen(_chests(data))
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


def _chests(data: Path) -> list[Chest]:
    """Load prepared chests: those of cases.toml in its order, then others by name."""
    from napari_ctvlp.training.data import Chest, cases

    known = [data / f"{case.name}.npz" for case in cases()]
    others = sorted(set(data.glob("*.npz")) - set(known))
    return [Chest.load(path) for path in [*known, *others] if path.exists()]


def _tower(runs: Path) -> Tower:
    from napari_ctvlp.training.trainer import Trainer

    return Trainer.resume(runs / "checkpoint.pt").averaged()


def _one_thread() -> None:
    """One thread: more gain nothing at these sizes, and sums depend on their number."""
    import torch

    torch.set_num_threads(1)
