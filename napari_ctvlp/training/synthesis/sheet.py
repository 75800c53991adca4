"""Contact sheet of painted findings, their rate of success and the time a crop takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker

#: Window of the pictures by finding: level and width in HU.
LUNG, SOFT, BONE = (-500, 1500), (40, 400), (300, 1500)
IN_LUNG = {
    "nodule", "cavity", "ground_glass", "pneumothorax", "emphysema", "fibrosis", "bronchiectasis",
    "consolidation", "atelectasis", "calcified_nodule",
}  # fmt: skip
IN_BONE = {
    "lytic_lesion", "sclerotic_lesion", "vertebral_fracture", "coronary_calcification",
    "aortic_calcification",
}  # fmt: skip
#: Findings shown from the side: their axis is the body's.
SAGITTAL = {"vertebral_fracture"}


def rates(
    chests: Sequence[Chest], findings: Sequence[str] = FINDINGS, seed: int = 0, tries: int = 10
) -> dict[str, dict[str, float]]:
    """Return the share of attempts in which a finding was painted, by finding and case.

    Cases that lack the finding's place are left out.
    """
    table: dict[str, dict[str, float]] = {name: {} for name in findings}
    for chest in chests:
        maker = CropMaker([chest])
        for name in findings:
            if maker.can(name):
                made = [maker.make(seed + n, 0.5, [name]).painted for n in range(tries)]
                table[name][chest.case.name] = sum(map(bool, made)) / tries
    return table


def seconds_per_crop(chests: Sequence[Chest], seed: int = 0, crops: int = 60) -> float:
    """Return the mean wall time of one random crop at full strength."""
    maker = CropMaker(chests)
    maker.make(seed)
    began = time.perf_counter()
    for number in range(crops):
        maker.make(seed + number)
    return (time.perf_counter() - began) / crops


def sheet(
    chests: Sequence[Chest],
    path: Path,
    findings: Sequence[str] = FINDINGS,
    seed: int = 0,
    columns: int = 3,
) -> None:
    """Write a picture with one row per finding: the slice with most of it, with its outline.

    Parameters
    ----------
    chests : sequence of Chest
    path : Path
        PNG to write.
    findings : sequence of str
    seed : int
    columns : int
        Crops per finding; each is shown twice, without and with the outline.
    """
    from matplotlib.figure import Figure

    size = 2.3
    figure = Figure(figsize=(2 * columns * size, len(findings) * size), dpi=80)
    axes = figure.subplots(len(findings), 2 * columns, squeeze=False)
    maker = CropMaker(chests)
    for row, name in enumerate(findings):
        for column, crop in enumerate(_crops(maker, name, seed, columns)):
            _draw(axes[row][2 * column : 2 * column + 2], crop, name)
        axes[row][0].set_ylabel(name, fontsize=7)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.subplots_adjust(0.02, 0.0, 1.0, 0.99, 0.01, 0.1)
    figure.savefig(path)


def _crops(maker: CropMaker, name: str, seed: int, count: int) -> list[Crop]:
    crops: list[Crop] = []
    for attempt in range(seed, seed + 12 * count):
        if len(crops) == count or not maker.can(name):
            break
        crop = maker.make(attempt, 0.3, [name])
        if crop.painted:
            crops.append(crop)
    return crops


def _draw(axes: Sequence, crop: Crop, name: str) -> None:  # type: ignore[type-arg]
    found = (crop.canvas.found == FINDINGS.index(name) + 1).cpu().numpy()
    hu = crop.canvas.hu.cpu().numpy()
    if name in SAGITTAL:
        best = int(np.argmax(found.sum(axis=(0, 1))))
        plane, mark = hu[:, :, best], found[:, :, best]
    else:
        best = int(np.argmax(found.sum(axis=(1, 2))))
        plane, mark = hu[best], found[best]
    level, width = LUNG if name in IN_LUNG else BONE if name in IN_BONE else SOFT
    for axis in axes:
        axis.imshow(plane, cmap="gray", vmin=level - width / 2, vmax=level + width / 2)
    if mark.any():
        axes[1].contour(mark, [0.5], colors="red", linewidths=0.5)
    told = next(p for p in crop.painted if p.finding == name)
    size = "" if np.isnan(told.size_mm) else f" {told.size_mm:.0f} mm"
    text = f"{told.organ} {told.place}{size} {', '.join(told.traits)}"
    axes[0].set_title(text, fontsize=6, pad=1)
    axes[1].set_title(crop.case, fontsize=6, pad=1)
