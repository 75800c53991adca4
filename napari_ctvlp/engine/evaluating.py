"""Measuring a model on a user's own folder, for whoever may only start that by its name.

What is measured lives in ``napari_ctvlp.evaluation``, a floor above the engine.
"""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_ctvlp.core.absence import Calibration
from napari_ctvlp.engine import calibrations
from napari_ctvlp.engine.export import plain
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Progress, silent

Report = dict[str, Any]


def evaluate_folder(
    folder: Path,
    model: str = "mini",
    device: str = "auto",
    segmenter: str = "anatomy",
    progress: Progress = silent,
) -> Report:
    """Measure a model on a folder that holds ``labels.csv``; see ``docs/evaluation.md``.

    Returns
    -------
    dict
        ``report`` as ``ctvlp evaluate --out`` writes it, and its ``tables``: each a ``title``, a
        ``head``, ``rows`` of text and ``notes``.

    Raises
    ------
    InputRefused
        If the table is not what it should be.
    """
    measure = import_module("napari_ctvlp.evaluation.own.measure")
    layout = import_module("napari_ctvlp.evaluation.own.layout")
    report = plain(measure.run(Path(folder), model, device, progress, segmenter))
    return {"report": report, "tables": [dataclasses.asdict(t) for t in layout.tables(report)]}


def use(row: Report) -> Calibration:
    """Answer by the thresholds of a report's ``calibration`` from now on.

    Returns
    -------
    Calibration
        As it was kept, with its date and counts.
    """
    found = Calibration.of(row)
    calibrations.save(found, calibrations.own(found.model))
    return found


def go_back(model: str) -> None:
    """Answer by the shipped thresholds again; those of a folder are deleted."""
    calibrations.own(model).unlink(missing_ok=True)


def in_use(model: str) -> tuple[Calibration | None, bool]:
    """Return the thresholds a model answers by, and whether they are the user's own."""
    found = calibrations.calibration(store.card(model))
    kept = calibrations.own(model)
    return found, found is not None and kept.is_file() and calibrations.read(kept) == found
