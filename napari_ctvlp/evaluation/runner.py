"""Runs the protocol: every case that is there, every set of weights, the baselines, one report."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation import anatomy, lesions, region, words
from napari_ctvlp.evaluation.bars import bar, bars
from napari_ctvlp.evaluation.cases import field_of, read_labels
from napari_ctvlp.evaluation.lesions import Lesion
from napari_ctvlp.evaluation.protocol import Case, Protocol, protocol
from napari_ctvlp.evaluation.reader import Model, Reader
from napari_ctvlp.evaluation.synthetic import Sample, summary, synthetic_bars, trial
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Progress, silent

Report = dict[str, Any]


#: Files beside this one whose changes leave every number of a model as it is.
_NOT_MEASURING = ("__init__.py", "anatomy.py", "runner.py", "tables.py")
#: Weights with their role: "measured", "previous" or "seed".
Sets = Sequence[tuple[str, Model]]


def load_sets(
    model: str = "mini",
    device: str = "auto",
    previous: Path | None = None,
    seeds: Sequence[Path] = (),
) -> Sets:
    """Load the weights that ship, older ones, and those of further training seeds.

    Parameters
    ----------
    model : str
        Card id of an encoder.
    device : {"auto", "cuda", "mps", "cpu"}
    previous : Path, optional
        Folder of older weights with their card ``<model>.toml``.
    seeds : sequence of Path
        Such folders, one per seed.

    Raises
    ------
    ModelRefused
        If weights are missing or not what their card says.
    """
    sets = [("measured", Model.load(model, device))]
    if previous is not None:
        sets.append(("previous", Model.load(model, device, previous)))
    return sets + [("seed", Model.load(model, device, folder)) for folder in seeds]


def run(
    folder: Path,
    sets: Sets,
    *,
    device: str = "auto",
    segmenter: str = "anatomy",
    progress: Progress = silent,
) -> Report:
    """Measure weights on every case of the protocol found under ``folder``.

    Parameters
    ----------
    folder : Path
        Holds one folder per case, each with ``ct.nii.gz`` and its label file.
    sets : sequence of (role, Model)
        All of them measured by the same code in the same field.
    device : {"auto", "cuda", "mps", "cpu"}
        Of the segmenter.
    segmenter : str
        Card id of the segmenter whose organs gate the phrases.
    progress : callable

    Returns
    -------
    dict
        ``facts`` (baselines among them) by case; per set of weights in ``models`` its ``cases``,
        ``seen`` and ``bars``; ``measure``, a digest of the measuring code and the protocol.
        Numbers that do not exist are None.

    Raises
    ------
    InputRefused
        If no case is there, or one is not what the protocol says.
    """
    rules = protocol()
    names = list(dict.fromkeys([*(c.name for c in rules.cases), *(s.name for s in rules.seen)]))
    there = [name for name in names if (folder / name / "ct.nii.gz").is_file()]
    if not there:
        raise InputRefused(
            "no-cases",
            f"a folder with {', '.join(names)}.",
            f"{folder} holds none of them.",
            "Give the folder that holds one folder per case.",
        )
    report = _start(sets, rules) | {"segmenter": segmenter}
    report["missing"] = [name for name in names if name not in there]
    for number, name in enumerate(there):
        progress(number / len(there), name)
        scan = verbs.open_scan(folder / name / "ct.nii.gz")
        organs = verbs.segment(scan, segmenter, device=device)
        _scan(folder / name, scan, organs, sets, rules, report)
    for row in report["models"]:
        row["bars"] = bars(row["cases"], row["seen"], report["facts"], rules)
    measured = anatomy.measure(folder, store.load_segmenter(segmenter))
    report["anatomy"] = [row.as_dict() for row in measured]
    report["anatomy_bars"] = _anatomy_bars(report["anatomy"], rules)
    progress(1.0, "done")
    out: Report = plain(report)
    return out


def run_synthetic(samples: Iterable[Sample], sets: Sets) -> Report:
    """Measure weights on scans with painted findings.

    Returns
    -------
    dict
        Per set of weights in ``models`` its ``synthetic`` summary and ``bars``.
    """
    rules = protocol()
    trials: list[list[Report]] = [[] for _ in sets]
    for sample in samples:
        for found, (_, loaded) in zip(trials, sets, strict=True):
            found.append(trial(sample, Reader(sample.scan, sample.anatomy, loaded), rules))
    report = _start(sets, rules)
    for row, found in zip(report["models"], trials, strict=True):
        row["synthetic"] = summary(found, rules)
        row["bars"] = synthetic_bars(row["synthetic"], rules)
    out: Report = plain(report)
    return out


def _start(sets: Sets, rules: Protocol) -> Report:
    """Return a report before anything was measured."""
    return {
        "protocol": rules.version,
        "region": region.VERSION,
        "measure": measure_digest(),
        "missing": [],
        "facts": {},
        "models": [_head(loaded, role) for role, loaded in sets],
    }


def measure_digest() -> str:
    """SHA-256 over the protocol and what measures by it: equal for numbers that may be compared."""
    sha = hashlib.sha256()
    here = Path(__file__).parent
    code = (path for path in here.glob("*.py") if path.name not in _NOT_MEASURING)
    for path in sorted([*code, *here.glob("*.toml")]):
        sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()


def _head(loaded: Model, role: str) -> Report:
    """What is told of a set of weights before it is measured."""
    return {
        "name": loaded.name,
        "id": loaded.card.id,
        "role": role,
        "weights": store.digests(loaded.card),
        "encode_s": {},
        "cases": [],
        "seen": [],
    }


def _scan(
    folder: Path,
    scan: Scan,
    organs: AnatomyMap,
    sets: Sets,
    rules: Protocol,
    report: Report,
) -> None:
    """Measure everything the protocol asks of one scan, one model after the other."""
    name = folder.name
    found: list[Lesion] = []
    for case in (case for case in rules.cases if case.name == name):
        lesion = _lesion(folder, case, scan, organs, rules)
        report["facts"][name] = lesions.facts(lesion, scan)
        found.append(lesion)
    for (_, loaded), row in zip(sets, report["models"], strict=True):
        reader = Reader(scan, organs, loaded)
        row["encode_s"][name] = reader.seconds
        for lesion in found:
            measured = lesions.measure(lesion, reader) | words.at_lesion(lesion, reader)
            row["cases"].append({"name": name, **measured})
        row["seen"] += [words.seen(item, reader, rules) for item in rules.seen if item.name == name]


def _lesion(folder: Path, case: Case, scan: Scan, organs: AnatomyMap, rules: Protocol) -> Lesion:
    """Read a case's reference and work out its field."""
    labels = read_labels(folder / case.labels, scan)
    return Lesion.of(case, field_of(scan, np.isin(labels, case.ids)), organs, rules)


def _anatomy_bars(rows: Sequence[Report], rules: Protocol) -> list[Report]:
    """Judge Dice by organ; both lungs have the same bar."""
    return [
        bar(f"{row['case']}: Dice of {row['organ']}", row["dice"], rules.bars[kind])
        for row in rows
        for kind in ("lungs" if row["organ"].startswith("lung") else row["organ"],)
        if kind in rules.bars
    ]


def plain(value: Any) -> Any:
    """Turn numbers that JSON cannot hold into None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
