"""``batch``: every scan of a folder or manifest through the verbs, into a store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_ctvlp.cohort import cluster
from napari_ctvlp.cohort.inputs import IdMap, Input, find_inputs
from napari_ctvlp.cohort.lock import only_writer
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.cohort.tokens import tokens_path
from napari_ctvlp.cohort.work import Outcome, Recipe, Task
from napari_ctvlp.core import vocabulary
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.result import Progress, silent
from napari_ctvlp.models import store as models

#: Commits are folded into the tables when there are so many, and a quarter of what is folded.
FOLD_FROM = 256
#: Errors that another try may mend; the others are tried again only when asked.
_PASSING = ("WorkerFailed", "OutOfResources")


@dataclass
class Report:
    """What a batch did.

    Attributes
    ----------
    found : int
        Scans of the input.
    fresh : int
        Scans whose rows were there already.
    done, failed : int
        Scans computed, and those of them that failed.
    seconds : float
    notes : list of str
        What the user must know.
    """

    found: int = 0
    fresh: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def batch(
    source: Path | str,
    out: Path | str,
    *,
    phrases: Sequence[str] = (),
    model: str = "mini",
    segmenter: str = "anatomy",
    device: str = "auto",
    workers: int | None = None,
    scheduler: str = "",
    tokens: bool = False,
    retry: bool = False,
    progress: Progress = silent,
) -> Report:
    """Compute what a store lacks of the scans of a folder or manifest.

    Parameters
    ----------
    source : Path
        A folder tree of NIfTI or DICOM, or a manifest (CSV: path, series, id, labels).
    out : Path
        The store; made when it is not there.
    phrases : sequence of str
        Grounded in each scan. Phrases of earlier runs stay.
    model, segmenter, device : str
        As in :mod:`napari_ctvlp.engine.verbs`.
    workers : int, optional
        Processes on this machine; 0 computes in this one, None as many as fit.
    scheduler : str
        Address of a running Dask scheduler, whose workers see the same paths.
    tokens : bool
        Keep tokens and labels, so that a heatmap needs no encoding.
    retry : bool
        Try scans again that failed before.
    progress : callable
        Told the share done, and in words how far it is and how long it takes.

    Returns
    -------
    Report

    Raises
    ------
    InputRefused
        For an input, a store or a scheduler that cannot be used. What broke off in the middle
        goes on from there with the same call.
    """
    start, report = time.monotonic(), Report()
    inputs, aside = find_inputs(Path(source), progress)
    store = Store.create(out, model=model, segmenter=segmenter)
    _expect_same(store, model, segmenter)
    with only_writer(store.folder):
        store.sweep()
        _mend(store, report)
        store.fold()
        recipe = _recipe(model, segmenter, phrases, tokens)
        ids = IdMap(store)
        pairs = list(ids.number(inputs))
        ids.write()
        tasks = list(_missing(store, pairs, recipe, device, retry=retry))
        report.found, report.fresh = len(pairs), len(pairs) - len(tasks)
        report.notes += [aside] if aside else []
        try:
            with _outcomes(tasks, workers, scheduler, (model, segmenter), device) as outcomes:
                _collect(store, outcomes, len(tasks), report, progress)
        finally:
            store.fold()
    report.seconds = time.monotonic() - start
    return report


def _collect(
    store: Store, outcomes: Iterable[Outcome], total: int, report: Report, progress: Progress
) -> None:
    """Count what ends, say how long the rest takes, and fold now and then."""
    start, unfolded, folded = time.monotonic(), 0, report.fresh
    for outcome in outcomes:
        report.done += 1
        report.failed += bool(outcome.error)
        unfolded += 1
        left = (time.monotonic() - start) / report.done * (total - report.done)
        progress(report.done / total, _words(report, total, left))
        if unfolded >= max(FOLD_FROM, folded // 4):
            store.fold()
            folded, unfolded = folded + unfolded, 0


def _words(report: Report, total: int, left: float) -> str:
    rest = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
    if left > 5400:
        rest = f"{left / 3600:.1f} h"
    failed = f", {report.failed} failed" if report.failed else ""
    return f"{report.done} of {total} scans{failed}, about {rest} left"


@contextmanager
def _outcomes(
    tasks: Sequence[Task],
    workers: int | None,
    scheduler: str,
    cards: tuple[str, str],
    device: str,
) -> Iterator[Iterator[Outcome]]:
    """Choose where the tasks run."""
    if not tasks or (workers == 0 and not scheduler):
        yield cluster.run_here(tasks)
    elif scheduler:
        with cluster.client_of(scheduler) as client:
            yield cluster.run_on(client, tasks)
    else:
        inputs = [task.input for task in tasks]
        count = cluster.size(inputs, cards, device) if workers is None else workers
        with cluster.local_client(min(count, len(tasks)), device) as client:
            yield cluster.run_on(client, tasks)


def _recipe(model: str, segmenter: str, phrases: Sequence[str], tokens: bool) -> Recipe:
    own, found = (models.model_digest(models.card(name)) for name in (model, segmenter))
    wanted = tuple(sorted({phrase.strip() for phrase in phrases if phrase.strip()}))
    words = tuple(vocabulary.in_use().values())
    return Recipe(model, segmenter, own, found, wanted, tokens, words)


def _expect_same(store: Store, model: str, segmenter: str) -> None:
    """Refuse to mix models in one store: their numbers do not compare."""
    for name, wanted in (("model", model), ("segmenter", segmenter)):
        if store.info.get(name) != wanted:
            raise InputRefused(
                "store-differs",
                f"the {name} of the store, {store.info.get(name)!r}.",
                f"This run is for {wanted!r}.",
                "Choose another store for it.",
            )


def _mend(store: Store, report: Report) -> None:
    """Set damaged files aside; with a table goes the list of scans, so that all are done again."""
    names = [name for name in store.set_aside() if name != "marks.parquet"]
    for name in names:
        report.notes.append(f"{name} could not be read and was set aside.")
    scans = store.table_path("scans")
    if any(not name.startswith("commits/") for name in names) and scans.exists():
        scans.replace(scans.with_name("scans.parquet.damaged"))
        store.look()


def _missing(
    store: Store,
    pairs: Sequence[tuple[str, Input]],
    recipe: Recipe,
    device: str,
    *,
    retry: bool,
) -> Iterator[Task]:
    """Yield what is not in the store, or made by another recipe."""
    known, phrases = _known(store)
    for scan, one in pairs:
        row = known.get(scan)
        asked = tuple(sorted({*recipe.phrases, *phrases.get(scan, ())}))
        kept = recipe.tokens or tokens_path(store, scan).exists()
        own = replace(recipe, phrases=asked, tokens=kept)
        if row and row["state"] == "failed":
            again = retry or row["error_kind"] in _PASSING
            if not again and row["recipe"] == own.of_failed().digest(one.stamp):
                continue
        elif row and row["recipe"] == own.digest(one.stamp):
            continue
        failed = bool(row and row["state"] == "failed")
        yield Task(str(store.folder.resolve()), scan, one, own, device, failed)


def _known(store: Store) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Return what is known of each scan, and the phrases it was asked for."""
    connection = store.connect()
    names = ("scan", "state", "error_kind", "recipe")
    rows = connection.execute(f"SELECT {', '.join(names)} FROM scans").fetchall()
    asked = connection.execute("SELECT scan, list(phrase) FROM phrases GROUP BY scan").fetchall()
    connection.close()
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}, dict(asked)
