"""What a run is measured by on the way: fresh crops of chests it never learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.training import rundir
from napari_ctvlp.training.check import check, logits_of, means, painted
from napari_ctvlp.training.config import Plan
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker

#: Crops of a validation never depend on the run's seed.
SEED = 4242
#: Columns of the picture.
SHOWN = 6


class Validation:
    """Measures a tower on painted crops that stay the same throughout a run.

    Parameters
    ----------
    chests : sequence of Chest
        Of role "validation"; without any, :meth:`look` does nothing.
    plan : Plan
    """

    def __init__(self, chests: Sequence[Chest], plan: Plan) -> None:
        self.chests, self.plan = list(chests), plan

    def look(self, tower: Tower, folder: Path, step: int) -> None:
        """Append the numbers to ``validation.jsonl``, draw a picture and the curves."""
        if self.chests:
            rows = check(tower, self.chests, SEED, self.plan.check_each)
            numbers = {name: round(value, 4) for name, value in means(rows).items()}
            rundir.append(folder / rundir.CHECKS, {"step": step, **numbers})
            self.picture(tower, folder / f"validation-{step:07d}.png")
        rundir.curves(folder)

    def picture(self, tower: Tower, path: Path) -> None:
        """Draw a painted finding per column: the slice, the truth's outline, the map."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        maker = CropMaker(self.chests)
        chosen = [int(n) for n in np.linspace(0, len(FINDINGS) - 1, SHOWN)]
        figure = Figure(figsize=(2.2 * len(chosen), 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, len(chosen))
        for column, number in enumerate(chosen):
            for pane in axes[:, column]:
                pane.axis("off")
            for crop in painted(maker, FINDINGS[number], SEED, 1):
                _panes(axes[:, column], tower, crop, number)
        figure.savefig(path, dpi=80)


def _panes(axes: NDArray[Any], tower: Tower, crop: Crop, number: int) -> None:
    """Draw one crop at the slice that holds most of the finding."""
    truth = (crop.canvas.found == number + 1).numpy()
    level = int(truth.sum(axis=(1, 2)).argmax())
    size = crop.canvas.shape[0] // 2
    logits = logits_of(tower, crop)[:, number].reshape(size, size, size)
    axes[0].imshow(crop.canvas.hu[level].numpy(), cmap="gray", vmin=-1000, vmax=400)
    axes[0].set_title(FINDINGS[number], fontsize=8)
    axes[1].imshow(1 / (1 + np.exp(-logits[level // 2])), vmin=0, vmax=1, extent=(0, 80, 80, 0))
    for pane in axes:
        pane.contour(truth[level], [0.5], colors="tab:red", linewidths=0.8)
