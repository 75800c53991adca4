"""RADAR's own drawing of 36 organs, by the U-Net of its checkpoint, without its text side.

Windows, their overlap and the averaging are those of its published inference. What it draws as
one and the house has by side is parted at the spine, or at the middle of what was drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import resample
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models.encoders import radar_windows as windows
from napari_ctvlp.models.encoders.fvlm_prepare import cut
from napari_ctvlp.models.encoders.hosting import Progressing, sizes_of
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent
from napari_ctvlp.models.store import state_dict

if TYPE_CHECKING:
    from napari_ctvlp.models.encoders.radar_net import ImageTower

#: Ticks of one pass of the U-Net.
TICKS = 10
SPINE = "vertebrae"


class RadarOrgans:
    """Names voxels by RADAR's image tower.

    Parameters
    ----------
    card : ModelCard
        ``settings.organs``: house names in the order of the network's channels, two where the
        house has an organ by side (left, right); for tests ``sizes`` and ``roi``.
    tower : ImageTower
    """

    def __init__(self, card: ModelCard, tower: ImageTower) -> None:
        self.card, self.tower = card, tower
        self.roi = tuple(card.settings.get("roi", windows.ROI))

    @classmethod
    def load(cls, card: ModelCard, folder: Path) -> RadarOrgans:
        """Read the image tower out of RADAR's checkpoint.

        Raises
        ------
        ModelRefused
            If it is missing or holds other tensors than the card allows.
        """
        from napari_ctvlp.models.encoders.radar_net import ImageTower, Sizes

        tower = ImageTower(Sizes(**sizes_of(card)).widths)
        expected = {name: tuple(value.shape) for name, value in tower.state_dict().items()}
        tower.load_state_dict(state_dict(card, folder, expected))
        return cls(card, tower.eval().requires_grad_(False))

    def segment(self, scan: Scan, *, compute: Compute, progress: Progress = silent) -> AnatomyMap:
        """Return organs on the scan's grid.

        Parameters
        ----------
        scan : Scan
            A CT in HU, of the abdomen with contrast for what it was trained on.
        compute : Compute
        progress : callable
        """
        import torch

        progress(0.01, "resampling")
        ready = windows.prepared(scan, self.roi)
        parts = windows.sliding(ready.image.shape, self.roi)
        tick = Progressing(progress, 0.05, 0.9, TICKS * len(parts))
        tower = self.tower.to(compute.device)
        drawn = []
        with torch.inference_mode():
            for window in parts:
                image = torch.from_numpy(cut(ready.image, window))[None, None]
                seen = tower(image.to(compute.device), tick)
                drawn.append((window, seen.logits.softmax(0).cpu()))
            planes = windows.stitched(drawn, ready.image.shape)
            mask = np.concatenate([plane.numpy().astype(np.uint8) for plane in planes])
        progress(0.9, "measuring")
        labels = resample(mask, ready.affine, scan.shape, scan.affine, order=0)
        labels, rows = self._named(labels)
        return anatomy_from_labels(
            labels, scan, rows, source=self.card.id, reliability=self.card.summary
        )

    def _named(self, labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[tuple[int, str]]]:
        """Bring channels to organs of the house, pairs parted by side."""
        channels = [list(names) for names in self.card.settings["organs"]]
        organs = list(dict.fromkeys(name for names in channels for name in names))
        numbers = np.array([0, *(organs.index(names[0]) + 1 for names in channels)], np.uint8)
        out = numbers[labels]
        spine = np.flatnonzero([names == [SPINE] for names in channels]) + 1
        middle = _middle(np.isin(labels, spine) if spine.size else labels > 0)
        for number, names in enumerate(channels, 1):
            if len(names) == 2:
                right = (labels == number) & (np.arange(labels.shape[2]) < middle)
                out[right] = organs.index(names[1]) + 1
        return out, list(enumerate(organs, 1))


def _middle(mask: NDArray[np.bool_]) -> float:
    """Return the mean index of a mask along the axis that runs to the patient's left."""
    counts = mask.sum(axis=(0, 1))
    total = counts.sum()
    return float(counts @ np.arange(len(counts)) / total) if total else len(counts) / 2
