"""One scan: open, segment, encode, score, ground, commit. What every worker process runs."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from napari_ctvlp.cohort import rows
from napari_ctvlp.cohort.inputs import Input, without_names
from napari_ctvlp.cohort.lock import claimed
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.cohort.tokens import keep_tokens, kept_tokens, tokens_path
from napari_ctvlp.core import vocabulary
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import Finding
from napari_ctvlp.errors import CtvlpError, InputRefused, OutOfResources, WorkerFailed


@dataclass(frozen=True)
class Recipe:
    """What makes a row what it is.

    Attributes
    ----------
    model, segmenter : str
        Card ids.
    model_digest, segmenter_digest : str
        SHA-256 over card and weights.
    phrases : tuple of str
    tokens : bool
        Whether tokens and labels are kept.
    own : tuple of Finding
        The user's own vocabulary, which a worker elsewhere cannot read.
    """

    model: str
    segmenter: str
    model_digest: str
    segmenter_digest: str
    phrases: tuple[str, ...] = ()
    tokens: bool = False
    own: tuple[Finding, ...] = ()

    def digest(self, stamp: str) -> str:
        """Return the SHA-256 over all of it and an input's stamp."""
        parts = asdict(self)
        if not self.own:  # as stores were made before
            del parts["own"]
        return hashlib.sha256(json.dumps([stamp, parts]).encode()).hexdigest()

    def of_failed(self) -> Recipe:
        """Return what a scan that failed was made by: it never came to phrases and tokens."""
        return replace(self, phrases=(), tokens=False, own=())


@dataclass(frozen=True)
class Task:
    """A scan to be computed by whichever process gets it.

    Attributes
    ----------
    store : str
        Folder; every worker must see it under this name.
    scan : str
        Its number.
    input : Input
    recipe : Recipe
    device : str
    again : bool
        Whether to compute it although its rows are there: one that failed.
    """

    store: str
    scan: str
    input: Input
    recipe: Recipe
    device: str = "auto"
    again: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its scan, the code of its error or ``""``, and the seconds."""

    scan: str
    error: str = ""
    seconds: float = 0.0


def work(task: Task) -> Outcome:
    """Compute one scan and commit its rows; a failure is a row too.

    A scan that was done since the task was made is not computed again: its process may have been
    killed after the commit and before its answer, or be one that an earlier run left behind.
    """
    store = Store(task.store, look=False)
    with claimed(store.folder, task.scan):
        if store.recipe_of(task.scan) in _recipes(task) and not task.again:
            return Outcome(task.scan)
        _log(store, {"scan": task.scan, "event": "begun"})
        start = time.monotonic()
        try:
            found, code = _computed(store, task), ""
        except Exception as error:  # whatever a broken file raises, the run goes on
            own = as_own(error)
            found, code = {"scans": [_failed(own, task)]}, own.code
        _commit(store, task, found)
        seconds = round(time.monotonic() - start, 3)
        _log(store, {"scan": task.scan, "event": "done", "error": code, "seconds": seconds})
    return Outcome(task.scan, code, seconds)


def give_up(task: Task) -> Outcome:
    """Commit that the processes which tried a scan died."""
    error = WorkerFailed(
        "worker-died",
        "the worker process to answer.",
        "Each process that tried this scan ended by itself.",
        "Give the workers more memory, or fewer of them the machine (--workers).",
    )
    store = Store(task.store, look=False)
    _commit(store, task, {"scans": [_failed(error, task)]})
    _log(store, {"scan": task.scan, "event": "given up", "error": error.code})
    return Outcome(task.scan, error.code)


def _recipes(task: Task) -> tuple[str, str]:
    """Return the digests of a scan that is done and of one that failed."""
    stamp = task.input.stamp
    return task.recipe.digest(stamp), task.recipe.of_failed().digest(stamp)


def _commit(store: Store, task: Task, found: dict[str, list[dict[str, Any]]]) -> None:
    """Add what is known before a scan is opened, and commit its rows."""
    named = ("model", "segmenter", "model_digest", "segmenter_digest")
    made = {name: getattr(task.recipe, name) for name in named}
    (row,) = found["scans"]
    recipe = _recipes(task)[row["state"] == "failed"]
    found["scans"] = [{**row, **made, "recipe": recipe}]
    found["labels"] = [{"name": k, "value": v} for k, v in task.input.labels.items()]
    store.commit(task.scan, rows.numbered(task.scan, found))


def _computed(store: Store, task: Task) -> dict[str, list[dict[str, Any]]]:
    """Call the verbs, in the order of the window."""
    from napari_ctvlp.engine import compute, verbs
    from napari_ctvlp.models import store as models

    recipe, series, device = task.recipe, task.input.series, task.device
    model = recipe.model
    vocabulary.use({finding.name: finding for finding in recipe.own})
    wanted = int(series) if series.isdigit() else series or None
    scan = verbs.open_scan(task.input.path, series=wanted)
    if scan.meta.unit != "HU":
        raise _not_a_ct(scan.meta.unit)
    anatomy, encoding = _nouns(store, task, scan)
    if recipe.tokens:
        keep_tokens(store, task.scan, anatomy, encoding)
    else:
        tokens_path(store, task.scan).unlink(missing_ok=True)
    table = verbs.score(scan, anatomy=anatomy, encoding=encoding, model=model, device=device)
    heatmaps = {
        phrase: verbs.ground(
            scan, phrase, anatomy=anatomy, encoding=encoding, model=model, device=device
        )
        for phrase in recipe.phrases
    }
    chosen = compute.choose(device, models.card(model))
    row = {
        "state": "done",
        **rows.scan_row(scan),
        **rows.computed_on(chosen),
        "encoding": encoding.digest,
        "tokens": recipe.tokens,
    }
    return {"scans": [row], **rows.rows_of(anatomy, encoding, table, heatmaps, scan)}


def _nouns(store: Store, task: Task, scan: Scan) -> tuple[AnatomyMap, Encoding]:
    """Return anatomy and encoding: kept ones of these voxels and weights, else computed."""
    from napari_ctvlp.engine import verbs

    try:
        there = tokens_path(store, task.scan).exists() and _same_models(store, task)
        kept = kept_tokens(store, task.scan) if there else None
    except InputRefused:
        kept = None
    if kept is not None and kept[1].scan == scan.digest:
        return kept
    recipe = task.recipe
    anatomy = verbs.segment(scan, recipe.segmenter, device=task.device)
    return anatomy, verbs.encode(scan, anatomy, recipe.model, device=task.device)


def _same_models(store: Store, task: Task) -> bool:
    """Return whether the store says that a scan was computed with these weights."""
    store.look()
    connection = store.connect()
    query = "SELECT model_digest, segmenter_digest FROM scans WHERE scan = ? AND tokens"
    known = connection.execute(query, [task.scan]).fetchone()
    connection.close()
    recipe = task.recipe
    return bool(known == (recipe.model_digest, recipe.segmenter_digest))


def _failed(error: CtvlpError, task: Task) -> dict[str, Any]:
    one = task.input
    inside = [name for _, _, names in os.walk(one.path) for name in names]
    secrets = (one.path, one.series, one.id, *inside)
    return rows.failed_row(error, without_names(str(error), secrets))


def as_own(error: Exception) -> CtvlpError:
    """Return an error of the family; of an unforeseen one only the name is told."""
    if isinstance(error, CtvlpError):
        return error
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return OutOfResources(
            "memory", "enough memory for the run.", "The memory ran out.", "Use fewer workers."
        )
    return WorkerFailed(
        "unexpected",
        "the scan to be computed to its end.",
        f"{type(error).__name__} came instead.",
        "Open the scan in the window, or with ctvlp score --debug, to see more.",
    )


def _not_a_ct(unit: str) -> InputRefused:
    return InputRefused(
        "not-a-ct",
        "a CT in Hounsfield units.",
        f"The numbers are of the kind '{unit}'.",
        "Leave this file out of the manifest.",
    )


def _log(store: Store, line: dict[str, Any]) -> None:
    """Add a line to the log; short appends of several processes do not mix."""
    text = json.dumps({**line, "process": os.getpid()}) + "\n"
    with (store.folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(text)
