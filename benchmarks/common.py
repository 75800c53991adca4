"""What the benchmarks share: a CT of full size, peak memory, lines of a report."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import oriented_affine, resample, transform, voxel_of
from napari_ctvlp.core.resources import sample_folder
from napari_ctvlp.core.scan import AIR_HU, Scan
from napari_ctvlp.engine.opening import open_scan

#: Grid of the full-resolution sample CT, (I, P, L).
FULL_SHAPE, FULL_STEPS = (133, 512, 512), (2.5, 0.703125, 0.703125)
PHRASES = (
    "spiculated nodule in the left lower lobe",
    "lung mass",
    "no lung mass",
    "right pleural effusion",
    "no pleural effusion",
    "ground glass opacity",
    "emphysema in both upper lobes",
    "consolidation in the right lower lobe",
    "pneumothorax on the left",
    "cavity",
    "calcified nodule",
    "atelectasis",
    "fibrosis",
    "pleural thickening",
    "enlarged lymph nodes",
    "heart",
    "liver",
    "possible tumour in the left lung",
    "small nodule, 8 mm",
    "aorta",
)


#: Organ, centre from the middle of the scan (RAS mm), radii (x, y, z) in mm.
ORGANS = (
    ("lung_left", (-75, 0, 5), (54, 80, 118)),
    ("lung_right", (75, 0, 5), (54, 80, 118)),
    ("heart", (-22, 25, -45), (52, 42, 48)),
    ("oesophagus", (0, -40, 0), (8, 8, 120)),
    ("aorta", (-20, -46, -40), (13, 13, 110)),
)


#: What is denser belongs to the body.
SOFT_HU = -300


def full_size_scan(
    path: Path | None = None,
    shape: tuple[int, int, int] = FULL_SHAPE,
    steps: tuple[float, float, float] = FULL_STEPS,
) -> tuple[Scan, str]:
    """Return a CT of 512 x 512 x 133 voxels and where it came from.

    The full-resolution sample where ``run.py demo --full`` left it, else the sample that ships,
    resampled to the same grid or to that of ``shape`` and ``steps``.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kept = path or Path(base) / "napari-ctvlp" / "LIDC-IDRI-0001-full.nii.gz"
    if kept.is_file() and shape == FULL_SHAPE and steps == FULL_STEPS:
        return open_scan(kept), kept.name
    small = open_scan(sample_folder() / "ct.nii.gz")
    centre = transform(small.affine, (np.array(small.shape) - 1) / 2)
    affine = oriented_affine("IPL", shape, steps, centre)
    hu = resample(small.hu, small.affine, shape, affine, fill=AIR_HU)
    source = replace(small.source, shape=shape, affine=affine)
    return Scan(hu, affine, source, small.meta), "the shipped sample, resampled to full size"


def drawn(scan: Scan, width: float = 1.0) -> AnatomyMap:
    """Return organs of a chest's usual size and place, muscle for the rest of the body.

    Finding them is not measured here.
    """
    rest = len(ORGANS) + 1
    labels = np.where(scan.hu > SOFT_HU, rest, 0).astype(np.uint8)
    middle = transform(scan.affine, (np.array(scan.shape) - 1) / 2)
    index = np.ogrid[tuple(slice(0, n) for n in scan.shape)]
    for number, (_, centre, radii) in enumerate(ORGANS):
        at = voxel_of(scan.affine, middle + np.array(centre) * (width, 1, 1))
        size = (np.array(radii) * (width, 1, 1))[::-1] / scan.spacing
        apart = [((i - c) / r) ** 2 for i, c, r in zip(index, at, size, strict=True)]
        labels[sum(apart) <= 1] = number + 1
    names = [(number + 1, name) for number, (name, *_) in enumerate(ORGANS)]
    names.append((rest, "muscle"))
    return anatomy_from_labels(labels, scan, names, source="drawn")


def peak_gb() -> float:
    """Return the most memory this process has held, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


@contextmanager
def timed(report: dict[str, float], name: str) -> Iterator[None]:
    """Put wall seconds, CPU seconds and peak memory of a block into ``report`` and print them."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    report[f"{name}_s"] = time.perf_counter() - wall
    report[f"{name}_cpu_s"] = time.process_time() - cpu
    report[f"{name}_peak_gb"] = peak_gb()
    line(name, report[f"{name}_s"], "s", f"{report[f'{name}_cpu_s']:.1f} CPU s")


def line(what: str, value: float, unit: str, note: str = "") -> None:
    print(f"{what:<42} {value:8.2f} {unit:<3} {note}  (peak {peak_gb():.2f} GB)", flush=True)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)
