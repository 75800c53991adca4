"""Pictures of what the anatomy segmenter draws: outlines with volumes on every CT of a folder.

    python benchmarks/anatomy_overlays.py ../shared/data/eval docs/images/anatomy [--model anatomy]

One PNG per case: three axial slices (through heart, liver and kidneys, or quarters of the scan
where those are missing) and two coronal ones, the patient's right on the left of the picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute

#: Outlined organs; the others are filled faintly.
OUTLINED = (
    "heart", "aorta", "liver", "spleen", "kidney_left", "kidney_right", "lung_left", "lung_right",
    "stomach", "oesophagus", "gallbladder", "pancreas", "bladder", "colon", "small_bowel",
)  # fmt: skip
WINDOW = (-160.0, 240.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="anatomy")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    segmenter = store.load_segmenter(options.model)
    for path in sorted(options.data.glob("*/ct.nii.gz")):
        scan = open_scan(path)
        anatomy = segmenter.segment(scan, compute=Compute(precision="bfloat16"))
        picture(path.parent.name, scan, anatomy, options.out / f"{path.parent.name}.png")
        volumes = {organ.name: round(organ.ml) for organ in anatomy.organs if organ.ml}
        print(path.parent.name, volumes, anatomy.reliability, flush=True)


def picture(title: str, scan: Scan, anatomy: AnatomyMap, path: Path) -> None:
    """Write one case's picture."""
    figure, axes = plt.subplots(1, 5, figsize=(16, 4.2), facecolor="black")
    step = scan.spacing
    for axis, level in zip(
        axes[:3], levels(anatomy, ("heart", "liver", "kidney_right"), 0), strict=True
    ):
        show(axis, scan.hu[level], anatomy.labels[level], anatomy, step[1] / step[2])
    for axis, row in zip(axes[3:], levels(anatomy, ("heart", "kidney_right"), 1), strict=True):
        show(axis, scan.hu[:, row], anatomy.labels[:, row], anatomy, step[0] / step[2])
    legend(figure, title, anatomy)
    figure.subplots_adjust(0.005, 0.1, 0.995, 0.995, wspace=0.02)
    figure.savefig(path, dpi=80, facecolor="black")
    plt.close(figure)


def levels(anatomy: AnatomyMap, names: tuple[str, ...], axis: int) -> list[int]:
    """Index through the middle of each organ along an axis, or evenly spread ones."""
    count = anatomy.labels.shape[axis]
    others = tuple(n for n in range(3) if n != axis)
    out = []
    for number, name in enumerate(names, 1):
        profile = anatomy.mask(name).sum(axis=others)
        middle = number * count // (len(names) + 1)
        out.append(int(np.average(np.arange(count), weights=profile)) if profile.any() else middle)
    return out


def show(
    axis: Axes, hu: np.ndarray, labels: np.ndarray, anatomy: AnatomyMap, aspect: float
) -> None:
    """Draw one slice with outlines."""
    axis.imshow(hu, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect=aspect)
    for name in OUTLINED:
        if name in anatomy.by_name and (mask := labels == anatomy.by_name[name].id).any():
            axis.contour(mask, levels=[0.5], colors=[places()[name].colour], linewidths=1.2)
    axis.set_axis_off()


def legend(figure: plt.Figure, title: str, anatomy: AnatomyMap) -> None:
    """Write the case's name and the volumes in the outlines' colours."""
    figure.text(0.005, 0.03, title, color="white", fontsize=9, weight="bold")
    present = [name for name in OUTLINED if anatomy.has(name)]
    for number, name in enumerate(present):
        organ, place = anatomy.by_name[name], places()[name]
        text = f"{place.title} {organ.ml:.0f} ml{'' if organ.complete else ' (cut)'}"
        x, y = 0.13 + 0.108 * (number % 8), 0.055 - 0.04 * (number // 8)
        figure.text(x, y, text, color=place.colour, fontsize=7.5)


if __name__ == "__main__":
    main()
