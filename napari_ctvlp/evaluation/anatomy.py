"""Dice of organ masks on the evaluation cases whose labels name organs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.evaluation.cases import read_labels
from napari_ctvlp.evaluation.metrics import dice
from napari_ctvlp.models.protocol import Compute, Segmenter

#: Label values of each organ by case, and the least Dice the release asks for.
CASES: Mapping[str, Mapping[str, tuple[tuple[int, ...], float]]] = {
    "LUNG1-001": {"lung_left": ((2,), 0.93), "lung_right": ((3,), 0.93)},
    "TS-CTA-dissection": {"heart": ((3,), 0.85), "aorta": ((1, 2), 0.80)},
}


@dataclass(frozen=True)
class Row:
    """One organ of one case.

    Attributes
    ----------
    case, organ : str
    dice, bar : float
    ml, reference_ml : float
        Volumes in ml.
    seconds : float
        CPU time of the whole case's segmentation, in s.
    """

    case: str
    organ: str
    dice: float
    bar: float
    ml: float
    reference_ml: float
    seconds: float

    @property
    def passed(self) -> bool:
        """True when the bar is reached."""
        return self.dice >= self.bar

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**vars(self), "passed": self.passed}


def measure(folder: Path, segmenter: Segmenter, compute: Compute | None = None) -> list[Row]:
    """Segment each case of :data:`CASES` that is there and compare it with its labels.

    Parameters
    ----------
    folder : Path
        Holds one folder per case with ``ct.nii.gz`` and ``labels.nii.gz``.
    segmenter : Segmenter
    compute : Compute, optional
        By default the CPU with one thread.

    Returns
    -------
    list of Row
        One per organ and case; a case that is not there has none.

    Raises
    ------
    InputRefused
        If a label file is missing or on another grid.
    """
    rows = []
    for case, organs in CASES.items():
        if not (folder / case / "ct.nii.gz").is_file():
            continue
        scan = open_scan(folder / case / "ct.nii.gz")
        labels = read_labels(folder / case / "labels.nii.gz", scan)
        start = time.process_time()
        anatomy = segmenter.segment(scan, compute=compute or Compute())
        seconds = time.process_time() - start
        for organ, (ids, bar) in organs.items():
            truth = np.isin(labels, ids)
            rows.append(_row(case, organ, anatomy, truth, bar, scan.voxel_ml, seconds))
    return rows


def _row(
    case: str,
    organ: str,
    anatomy: AnatomyMap,
    truth: np.ndarray[Any, np.dtype[np.bool_]],
    bar: float,
    voxel_ml: float,
    seconds: float,
) -> Row:
    found = anatomy.mask(organ)
    ml, reference = (float(mask.sum() * voxel_ml) for mask in (found, truth))
    return Row(case, organ, dice(found, truth), bar, ml, reference, seconds)
