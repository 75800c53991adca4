"""``ctvlp train``: make mini's weights again, or your own, from CTs and painted findings."""

from __future__ import annotations

import json
import math
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_ctvlp.cli.output import terminal_progress
from napari_ctvlp.cli.train_own import own

if TYPE_CHECKING:
    from napari_ctvlp.models.encoders.mini_tower import Tower
    from napari_ctvlp.training.batch import Source
    from napari_ctvlp.training.data import Chest

train = typer.Typer(no_args_is_help=True, help="Train the embedded model from prepared chests.")
train.registered_commands += own.registered_commands

Root = Annotated[Path, typer.Argument(help="Folder of the training CTs.")]
Data = Annotated[Path, typer.Option(help="Folder of prepared chests.")]
PREPARED = Path("prepared")
Runs = Annotated[Path, typer.Option(help="Folder of the run: checkpoint and log.")]
Role = Annotated[Literal["train", "validation", "calibration"], typer.Option(help="Which chests.")]
Seed = Annotated[int, typer.Option(help="Every crop, weight and choice follows from it.")]


@train.command()
def prepare(
    root: Root,
    *,
    data: Data = PREPARED,
    organs: Annotated[Path | None, typer.Option(help="Organ labels, CASE.nii.gz.")] = None,
) -> None:
    """Resample, segment and label the CTs of training/cases.toml."""
    from napari_ctvlp.training.data import cases, prepare

    data.mkdir(parents=True, exist_ok=True)
    for case in cases():
        prepare(case, root, organs).save(data / f"{case.name}.npz")
        typer.echo(f"{case.name} prepared", err=True)


@train.command()
def run(
    *,
    config: Annotated[Path, typer.Option(help="The plan, as training/mini.toml.")],
    data: Data = PREPARED,
    runs: Annotated[Path | None, typer.Option(help="Folder of the run; runs/CONFIG.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Weights to begin with: a run's folder, mini-image file.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Stop with a checkpoint after these.")] = math.inf,
) -> None:
    """Train the tower; goes on where the newest checkpoint stopped.

    DATA may be a manifest.csv: its CTs are prepared into RUNS and learn with their own reports.
    """
    from napari_ctvlp.training.batch import Source
    from napari_ctvlp.training.config import read_plan
    from napari_ctvlp.training.trainer import train

    _one_thread()
    plan, folder = read_plan(config), runs or Path("runs") / config.stem
    if data.suffix == ".csv":
        source, validation = _studies(data, folder)
    else:
        source, validation = Source(_chests(data, "train")), _chests(data, "validation")
    begin = None if start is None else _start(start)
    trainer = train(source, plan, folder, minutes, start=begin, validation=validation)
    typer.echo(f"{trainer.done} of {plan.steps} steps done in {folder}", err=True)


@train.command()
def average(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs from the same start.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run that holds their mean.")],
) -> None:
    """Average the weights of several runs, as seeds of one last stage; ``out`` can be shipped."""
    from napari_ctvlp.training import rundir

    _one_thread()
    out.mkdir(parents=True, exist_ok=True)
    path = rundir.save(rundir.mean([rundir.newest(folder) for folder in runs]), out)
    typer.echo(f"{path}: the mean of {len(runs)} runs", err=True)


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
    """Try peak rules and thresholds on whole painted CTs; keep their organs for ``ship``."""
    from napari_ctvlp.training import pooling
    from napari_ctvlp.training.tune import report, run_trials, save, thresholds

    _one_thread()
    trials, bags = run_trials(_tower(runs), _chests(data, role), seed, each, empty)
    save(trials, runs / f"trials-{role}-{seed}.json")
    pooling.save_bags(bags, runs / f"bags-{role}-{seed}.pt")
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
    data: Data = PREPARED,
    crops: Annotated[int, typer.Option(help="Crops whose reports the adapter hears.")] = 300,
    seed: Seed = 0,
) -> None:
    """Train organ queries (on what ``tune --role train`` kept) and text adapters, and export all.

    The heads that the card names must be there (``ctvlp train head``); each gets an adapter. The
    card's thresholds are the strictest of what ``tune`` kept of training and calibration scans.
    """
    from napari_ctvlp.models.encoders.mini import IMAGE_WEIGHTS
    from napari_ctvlp.models.store import read_card
    from napari_ctvlp.models.text_choice import load_tower
    from napari_ctvlp.training import adapter, pooling
    from napari_ctvlp.training.export import add_adapter, export, write_hashes, write_thresholds
    from napari_ctvlp.training.text_head import Remembering
    from napari_ctvlp.training.tune import load, rule_of, strictest

    _one_thread()
    tower = _tower(runs)
    bags = [bag for path in sorted(runs.glob("bags-train-*.pt")) for bag in pooling.load_bags(path)]
    pool = pooling.train_pool(tower, bags, seed)
    heard = list(adapter.spoken(tower, _chests(data, "train"), seed + 1, crops))
    settings = read_card(card).settings
    for name, head in settings["heads"].items():
        text = Remembering(load_tower(name))
        words = adapter.train_adapter(tower, text, heard, seed, model=card.stem)
        typer.echo(f"{head} {add_adapter(words, weights / head)}")
    image = str(settings.get("image", IMAGE_WEIGHTS))
    typer.echo(f"{image} {export(tower, pool, weights / image)}")
    kept = [p for role in ("calibration", "train") for p in runs.glob(f"trials-{role}-*.json")]
    write_thresholds(card, strictest(map(load, kept), rule_of(settings["heatmap"])))
    write_hashes(card, weights)


@train.command()
def seed(
    *,
    runs: Runs,
    out: Annotated[Path, typer.Option(help="Folder for 'ctvlp evaluate --seeds'.")],
    weights: Annotated[Path, typer.Option(help="What shipped.")] = Path("weights"),
    card: Annotated[Path, typer.Option(help="Its card.")] = Path(
        "napari_ctvlp/models/cards/mini.toml"
    ),
) -> None:
    """Export the tower of one run with everything else as it shipped, to compare seeds."""
    from napari_ctvlp.models.encoders.mini import IMAGE_WEIGHTS
    from napari_ctvlp.models.store import read_card
    from napari_ctvlp.training.export import export_beside

    image = str(read_card(card).settings.get("image", IMAGE_WEIGHTS))
    export_beside(_tower(runs), image, weights, card, out)


@train.command()
def absence(
    *,
    data: Data = PREPARED,
    out: Annotated[Path | None, typer.Option(help="Calibration; that which ships.")] = None,
    model: Annotated[str, typer.Option(help="Card id of the encoder.")] = "mini",
    each: Annotated[int, typer.Option(help="Rounds of paintings; calibration CTs thrice.")] = 1,
    alarms: Annotated[float, typer.Option(help='False-alarm level of "present".')] = 0.1,
) -> None:
    """Fit the absence check on calibration and training CTs painted anew.

    The tower has not seen the calibration CTs: these are painted more often. With the CTs of
    ``cases.toml`` it takes about 12 minutes of one core.
    """
    from napari_ctvlp.cli.evaluate_absence import asked
    from napari_ctvlp.core.vocabulary import findings
    from napari_ctvlp.engine import calibrations
    from napari_ctvlp.evaluation.absence.fit import fit
    from napari_ctvlp.evaluation.protocol import protocol
    from napari_ctvlp.evaluation.reader import Model
    from napari_ctvlp.training.absence import SEED

    _one_thread()
    loaded = Model.load(model)
    phrases = {name: findings()[name].title for name in protocol().catalogue}
    pairs = list(asked(_chests(data, "calibration"), loaded, phrases, 3 * each, SEED))
    known = _chests(data, "train")
    pairs += asked(known, loaded, phrases, each, SEED + 10_000_000, most=4)
    made = fit(
        pairs, model, calibrations.weights_of(loaded.card),
        "findings painted into calibration and training CTs", false_alarm=alarms,
    )  # fmt: skip
    calibrations.save(made, out or calibrations.shipped(model))
    typer.echo(f"present from {made.present:.2f}, absent under {made.absent:.2f}", err=True)


@train.command()
def expert(
    *,
    data: Data = PREPARED,
    out: Annotated[Path, typer.Option(help="File that receives expert and bank.")],
    seed: Seed = 0,
    studies: Annotated[int, typer.Option(help="Radiographs in the bank.")] = 600,
    steps: Annotated[int, typer.Option(help="Steps of 32 radiographs.")] = 600,
) -> None:
    """Train BIUD's 2D expert on rendered radiographs; print its hit rates on validation CTs."""
    from napari_ctvlp.models.text_choice import chosen_tower, load_tower
    from napari_ctvlp.training.expert import make, render

    _one_thread()
    words, first = load_tower(chosen_tower()), 1_000_003 * (seed + 1)
    known = render(_chests(data, "train"), words, range(first, first + studies))
    fresh = _chests(data, "validation"), words, range(first, first + max(40, studies // 8))
    print(json.dumps(make(known, render(*fresh, family="held_out"), out, seed, steps), indent=2))


@train.command()
def ablate(
    *,
    data: Data = PREPARED,
    out: Annotated[Path, typer.Option(help="Markdown file; the runs lie beside it.")],
    setting: Annotated[Literal["small", "full"], typer.Option(help="Budget of a run.")] = "small",
    bank: Annotated[Path | None, typer.Option(help="BIUD's expert, from 'expert'.")] = None,
    weight: Annotated[float, typer.Option(help="Of each objective beside dense.")] = 0.3,
) -> None:
    """Compare dense alone, with each objective, and with all: same budget, three seeds."""
    from napari_ctvlp.training.ablation import EACH, SETTINGS, ablate
    from napari_ctvlp.training.config import OBJECTIVES

    _one_thread()
    options: dict[str, dict[str, Any]] = {name: {"weight": weight} for name in OBJECTIVES}
    if bank is not None:
        options["biud"]["bank"] = str(bank.resolve())
    chests, validation = _chests(data, "train"), _chests(data, "validation")
    print(
        ablate(
            chests, validation, out, SETTINGS[setting], options, each=EACH[setting],
            progress=terminal_progress(),
        )
    )  # fmt: skip


def _forward(name: str, module: str, words: str) -> None:
    """Register a command whose arguments a training module reads itself."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

    @train.command(name, help=words, context_settings=settings)
    def forwarded(ctx: typer.Context) -> None:
        sys.argv = [f"ctvlp train {name}", *ctx.args]
        import_module(f"napari_ctvlp.training.{module}").main()


_forward("text", "text_tower", "Train the embedded text tower.")
_forward("head", "text_head", "Train the head of concepts on a text tower.")
_forward("organs", "organs", "Train the organ network.")


def _studies(manifest: Path, folder: Path) -> tuple[Source, list[Chest]]:
    """Prepare the user's own studies; those of the test split are left alone."""
    from napari_ctvlp.training.batch import Source
    from napari_ctvlp.training.manifest import read_manifest
    from napari_ctvlp.training.studies import prepare_studies

    progress = terminal_progress()
    made = prepare_studies(
        read_manifest(manifest, progress=progress), folder / "studies", progress=progress
    )
    learnt = [study for study in made if study.chest.case.role == "train"]
    reports = {study.chest.case.name: study.sentences for study in learnt}
    source = Source([study.chest for study in learnt], reports)
    return source, [s.chest for s in made if s.chest.case.role == "validation"]


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


def _start(path: Path) -> Tower:
    """Read the tower of a run, or of an image file that was shipped."""
    from napari_ctvlp.core.vocabulary import concepts
    from napari_ctvlp.models.encoders.mini import load_image
    from napari_ctvlp.models.protocol import Compute

    if path.is_dir():
        return _tower(path)
    names = concepts()
    found = tuple(row.name for row in names if row.kind == "finding")
    return load_image(path, Compute(), len(names), found)[0]


def _one_thread() -> None:
    """One thread: more gain nothing at these sizes, and sums depend on their number."""
    import torch

    torch.set_num_threads(1)
