"""ViSD-Boost behind the encoder protocol: organ by organ, on tokens of four levels.

The voxel grid, the HU window and the cut to the organs are fVLM's, by the same group; the windows
about each organ are those of its own published evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import fvlm_prepare as prepare
from napari_ctvlp.models.encoders.attending import Frame, Point, holding
from napari_ctvlp.models.encoders.cells import moved, organ_grid, strided
from napari_ctvlp.models.encoders.fvlm import Prepared, nothing, prepared
from napari_ctvlp.models.encoders.hosting import Progressing, sizes_of, table_of, text_vectors
from napari_ctvlp.models.encoders.organ_query import flags
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ctvlp.models.encoders.prompts import Prompts
    from napari_ctvlp.models.encoders.visd_boost_net import VisdBoost as Network

#: Least size of an organ's window, and what it is padded to a multiple of (D, H, W), in voxels.
ROI, PATCH = (112, 256, 352), (16, 32, 32)
#: Width of the space that image and text share.
SHARED = 256
#: Ticks of one pass of the image tower.
TICKS = 8
Organ = tuple[TokenGrid, NDArray[np.float32], NDArray[np.float32]]


class VisdBoost:
    """Encoder protocol of ViSD-Boost.

    Parameters
    ----------
    card : ModelCard
        Settings ``organs`` (in the order of the weights) and, for tests, ``sizes`` and ``roi``.
    network : Module
    prompts : Prompts
    compute : Compute
    """

    def __init__(
        self, card: ModelCard, network: Network, prompts: Prompts, compute: Compute
    ) -> None:
        self.card, self.network, self.prompts, self.compute = card, network, prompts, compute
        self.organs: dict[str, list[str]] = dict(card.settings["organs"])
        self.roi = tuple(card.settings.get("roi", ROI))

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> VisdBoost:
        """Load both checkpoints that the card names, the second one over the first.

        Raises
        ------
        ModelRefused
            If they hold other tensors than the card allows, or too few together.
        """
        from napari_ctvlp.models.encoders.visd_boost_net import Sizes
        from napari_ctvlp.models.encoders.visd_boost_net import VisdBoost as Network

        network = Network(Sizes(**sizes_of(card)))
        expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        found = store.state_dict(card, folder, expected, "normality")
        found |= store.state_dict(card, folder, expected, "model")
        missing = [name for name in expected if name not in found]
        if missing:
            raise ModelRefused(
                "wrong-weights",
                f"the {len(expected)} tensors of {card.id} in its two files together.",
                f"Neither file has {missing[0]} ({len(missing)} are missing).",
                "Use the files that the card names; nothing was loaded.",
            )
        network.load_state_dict(found)
        network.eval().requires_grad_(False).to(compute.device)
        return cls(card, network, text_vectors(network.text, card, folder, compute), compute)

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode a scan, one window per organ; organs with one window share the pass.

        Parameters
        ----------
        scan : Scan
            A CT in HU.
        anatomy : AnatomyMap
            Gives the organs; those it lacks are not encoded.
        progress : callable

        Returns
        -------
        Encoding
            Per organ one grid of the kind "split", cells of 2 x 4 x 4 voxels (6 x 4 x 4 mm), its
            unit vector and the attention of its query.
        """
        progress(0.01, "resampling")
        ready = prepared(scan, anatomy, list(self.organs.values()))
        windows: dict[prepare.Window, list[int]] = {}
        for number in range(len(self.organs)):
            window = prepare.window_of(ready.labels == number + 1, PATCH, self.roi)
            if window is not None:
                windows.setdefault(window, []).append(number)
        tick = Progressing(progress, 0.1, 0.95, TICKS * len(windows))
        found: dict[int, Organ] = {}
        for window, numbers in windows.items():
            levels = self._levels(prepare.cut(ready.image, window), tick)
            for number in numbers:
                found[number] = self._organ(ready, window, levels, number)
        names = list(self.organs)
        grids = tuple(found[number][0] for number in sorted(found)) or nothing(scan, SHARED)[:1]
        units = {names[number]: unit for number, (_, _, unit) in found.items()}
        attention = {names[number]: map_ for number, (_, map_, _) in found.items()}
        return Encoding(tuple(grids), units, self.card.id, "", scan.digest, attention)

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the tokens: positive minus negative prompt."""
        return self.prompts.pairs(phrases)

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per finding of the card, by its organ."""
        return table_of(self.card, encoding, self.prompts, float(self.network.temp))

    def attention_frame(
        self, scan: Scan, anatomy: AnatomyMap, point: Point, organ: str = ""
    ) -> Frame:
        """Return the way of an organ's coarsest tokens to the codes of normal organs.

        Its first token stands for the organ and has no place.
        """
        ready = prepared(scan, anatomy, list(self.organs.values()))
        names = [name for name in self.organs if organ in ("", name)]
        frames = (self._frame(ready, name) for name in names)
        return holding((one for one in frames if one), point, organ, list(self.organs))

    def _frame(self, ready: Prepared, organ: str) -> Frame | None:
        import torch

        from napari_ctvlp.models.encoders.visd_boost_net import STRIDES

        number = list(self.organs).index(organ)
        window = prepare.window_of(ready.labels == number + 1, PATCH, self.roi)
        if window is None:
            return None
        on = flags(torch.from_numpy(prepare.cut(ready.labels == number + 1, window)), STRIDES[-1])

        def run() -> None:
            level = self._levels(prepare.cut(ready.image, window), lambda: None)[-1]
            with torch.inference_mode():
                self.network.normal(level.flatten(1)[:, on.to(level.device)].T, number)

        shape = tuple(n // step for n, step in zip(window.padded, STRIDES[-1], strict=True))
        layout = np.concatenate([[-1], np.flatnonzero(on.numpy())])[None]
        affine = strided(moved(ready.affine, window.start), STRIDES[-1])
        return Frame(run, shape, affine, (layout,), organ)

    def _levels(self, image: NDArray[np.float32], tick: Callable[[], None]) -> list[Tensor]:
        """Run the image tower over one window; four times (256, d, h, w)."""
        import torch

        with torch.inference_mode():
            volume = torch.from_numpy(image)[None, None].to(self.compute.device)
            return [level[0] for level in self.network.visual_encoder(volume, tick)]

    def _organ(
        self, ready: Prepared, window: prepare.Window, levels: list[Tensor], number: int
    ) -> Organ:
        """Pool one organ of a window; returns its grid, its attention and its unit vector."""
        import torch

        from napari_ctvlp.models.encoders.visd_boost_net import STRIDES

        mask = torch.from_numpy(prepare.cut(ready.labels == number + 1, window))
        on = [flags(mask, stride) for stride in STRIDES]
        with torch.inference_mode():
            rows = [
                x.flatten(1)[:, marks.to(x.device)].T for x, marks in zip(levels, on, strict=True)
            ]
            normal = self.network.normal(rows[-1], number)
            seen = self.network.pool(self.network.hybrid(rows, normal.tokens, number), number)
        valid = [marks.numpy().reshape(x.shape[1:]) for x, marks in zip(levels, on, strict=True)]
        place = strided(moved(ready.affine, window.start), STRIDES[0])
        organ = list(self.organs)[number]
        return *organ_grid(seen, valid, STRIDES, place, organ), seen.unit.cpu().numpy()
