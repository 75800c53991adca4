"""Painted findings for ``ctvlp evaluate synthetic``: CTs and seeds that training never sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.evaluation.synthetic import SMALL_MM, Sample
from napari_ctvlp.training.data import CLASSES, SIDE_SHIFT, Chest
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.whole import Painted, painted_chests

#: Far above the seeds of training, checks and thresholds.
SEED = 900_000_000
#: Small nodules, and CTs with nothing painted, for each scan per finding.
SMALL, EMPTY = 2, 2
#: House names of the anatomy classes; whatever else is in the body is soft tissue.
ORGANS = {
    "trachea": "airways", "bone": "bones", "vertebra": "bones", "rib": "bones",
    **{n: n for n in ("heart", "aorta", "oesophagus", "liver", "spleen", "stomach", "gallbladder",
                      "pancreas", "colon", "small_bowel", "bladder")},
}  # fmt: skip


def samples(chests: Sequence[Chest], each: int, seed: int = SEED) -> Iterator[Sample]:
    """Yield scans with one painted finding, small nodules, and scans with nothing painted.

    Parameters
    ----------
    chests : sequence of Chest
        Validation CTs.
    each : int
        Scans per finding; a finding without a place in any CT has none.
    seed : int
    """
    for chest, painted in painted_chests(chests, FINDINGS, seed, each):
        yield sample(chest, painted)
    small = painted_chests(chests, ["nodule"], seed + 500_000, SMALL * each, SMALL_MM)
    for chest, painted in small:
        yield sample(chest, painted)
    for chest, painted in painted_chests(chests, [""], seed + 600_000, EMPTY * each):
        yield sample(chest, painted)


def sample(chest: Chest, painted: Painted) -> Sample:
    """Return a painted CT as a scan with its anatomy."""
    hu = np.clip(np.round(painted.hu.numpy()), -1024, 3071).astype(np.int16)
    scan, made = scan_of(chest, hu), painted.made
    return Sample(
        scan,
        anatomy(chest, scan),
        chest.case.name,
        painted.finding,
        made.organ if made else "",
        made.side if made else "",
        made.size_mm if made else float("nan"),
        painted.voxels,
    )


def scan_of(chest: Chest, hu: NDArray[np.int16]) -> Scan:
    """Return HU on a prepared CT's grid as a scan."""
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    source = Source((Path(chest.case.name),), shape, chest.affine)
    return Scan(hu, chest.affine, source, ScanMeta("CT"))


def anatomy(chest: Chest, scan: Scan) -> AnatomyMap:
    """Return the classes of a prepared CT as organ labels."""
    classes, side = chest.labels & 31, (chest.labels >> SIDE_SHIFT) & 3
    names = ["soft_tissue", "lung_left", "lung_right", "kidney_left", "kidney_right"]
    names += dict.fromkeys(ORGANS.values())
    labels = (chest.body_mm > 0).astype(np.uint8)
    for name, organ in ORGANS.items():
        labels[classes == CLASSES.index(name)] = names.index(organ) + 1
    kidney = classes == CLASSES.index("kidney")
    middle = np.arange(labels.shape[2])[None, None] >= _middle(chest)
    for number, mask in (
        (4, kidney & middle),
        (5, kidney & ~middle),
        (2, side == 1),
        (3, side == 2),
    ):
        labels[mask] = number
    listed = [(number + 1, name) for number, name in enumerate(names)]
    return anatomy_from_labels(labels, scan, listed, source="prepared CT")


def _middle(chest: Chest) -> float:
    """Index along L of the middle of the lung box; beyond it lies the patient's left."""
    return float((chest.box.centre[2] + chest.affine[0, 3]) / 2.0)
