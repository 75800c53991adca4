"""CT-CLIP behind the encoder protocol: attribution of its score to places.

Its image vector is one linear map of all tokens with a projection of its own for every column,
so the score splits exactly over tokens, but no token has a place in the text space by itself:
there is no dense map, only this attribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.geometry import Affine, coarse_affine, spacing
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models.encoders.attending import Frame, Point
from napari_ctvlp.models.encoders.cells import Level, moved, resized_affine, split_grid
from napari_ctvlp.models.encoders.framing import oriented
from napari_ctvlp.models.encoders.hosting import (
    Progressing,
    loaded,
    sizes_of,
    table_of,
    text_vectors,
)
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent

if TYPE_CHECKING:
    from napari_ctvlp.models.encoders.ct_clip_net import CtClip as Network
    from napari_ctvlp.models.encoders.prompts import Prompts

#: Axes of the network's input, as its authors' arrays lie: slices upward, then toward the
#: patient's left, then toward the back.
ORDER = "SLP"
STEP_MM = (1.5, 0.75, 0.75)
LIMIT_HU = 1000.0
WHOLE = "whole"

Volume = NDArray[np.float32]


class CtClip:
    """Encoder protocol of CT-CLIP.

    Parameters
    ----------
    card : ModelCard
    network : Module
    prompts : Prompts
    compute : Compute
    """

    def __init__(
        self, card: ModelCard, network: Network, prompts: Prompts, compute: Compute
    ) -> None:
        self.card, self.network, self.prompts, self.compute = card, network, prompts, compute

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> CtClip:
        """Load the checkpoint that the card names.

        Raises
        ------
        ModelRefused
            If it holds other tensors than the card allows.
        """
        from napari_ctvlp.models.encoders.ct_clip_net import CtClip as Network
        from napari_ctvlp.models.encoders.ct_clip_net import Sizes

        network = loaded(Network(Sizes(**sizes_of(card))), card, folder, compute)
        return cls(card, network, text_vectors(network.text, card, folder, compute), compute)

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode a scan in one pass.

        Parameters
        ----------
        scan : Scan
            A CT in HU.
        anatomy : AnatomyMap
            Not needed: the network sees the whole field.
        progress : callable

        Returns
        -------
        Encoding
            One grid of what each token adds to the unit image vector, 15 mm in every direction.
        """
        import torch

        sizes = self.network.sizes
        progress(0.02, "resampling")
        turned = oriented(scan, ORDER)
        image, affine = prepared(turned.image, turned.affine, sizes.image)
        tick = Progressing(progress, 0.1, 0.95, sizes.spatial + sizes.temporal)
        with torch.inference_mode():
            volume = torch.from_numpy(image)[None, None].to(self.compute.device)
            tokens = self.network.visual_transformer(volume, tick).tokens
            vector = self.network.image_latent(tokens)[0]
            size = vector.norm()
            shares = (self.network.shares(tokens[0]) / size).flatten(0, 2).cpu().numpy()
            unit = (vector / size).cpu().numpy()
        valid = np.ones(sizes.grid, np.bool_)
        level = Level(shares, valid, sizes.patch)
        grid = split_grid([level], coarse_affine(affine, sizes.patch))
        return Encoding((grid,), {"": unit, WHOLE: unit}, self.card.id, "", scan.digest)

    def attention_frame(
        self, scan: Scan, anatomy: AnatomyMap, point: Point, organ: str = ""
    ) -> Frame:
        """Return the one pass: first within slabs, then through each column of slabs."""
        import torch

        grid = self.network.sizes.grid
        turned = oriented(scan, ORDER)
        image, affine = prepared(turned.image, turned.affine, self.network.sizes.image)

        def run() -> None:
            with torch.inference_mode():
                volume = torch.from_numpy(image)[None, None].to(self.compute.device)
                self.network.visual_transformer(volume)

        slabs = np.arange(int(np.prod(grid))).reshape(grid[0], -1)
        cells = coarse_affine(affine, self.network.sizes.patch)
        return Frame(run, grid, cells, (slabs, np.ascontiguousarray(slabs.T)))

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the tokens: positive minus negative prompt."""
        return self.prompts.pairs(phrases)

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per finding of the card, for the scan as a whole."""
        scale = float(self.network.temperature.exp())
        return table_of(self.card, encoding, self.prompts, 1 / scale)


def prepared(
    hu: NDArray[Any], affine: Affine, shape: tuple[int, int, int]
) -> tuple[Volume, Affine]:
    """Resample, scale and bring HU to the network's field, as the authors do.

    Parameters
    ----------
    hu : ndarray, shape (z, a, b)
        In :data:`ORDER`.
    affine : ndarray, shape (4, 4)
        Its index to RAS mm.
    shape : (z, a, b)
        What the network takes.

    Returns
    -------
    tuple
        -1..1, cut or padded with air about the middle of the volume, and its affine.
    """
    import torch
    from torch.nn import functional

    target = [int(n * (s / t)) for n, s, t in zip(hu.shape, spacing(affine), STEP_MM, strict=True)]
    clipped = np.clip(np.asarray(hu, np.float32), -LIMIT_HU, LIMIT_HU)
    volume = torch.from_numpy(clipped)[None, None]
    fine = functional.interpolate(volume, target, mode="trilinear", align_corners=False)[0, 0]
    affine = resized_affine(affine, hu.shape, tuple(fine.shape))
    out = np.full(shape, -1, np.float32)
    starts = [max((have - want) // 2, 0) for have, want in zip(fine.shape, shape, strict=True)]
    kept = [min(have, want) for have, want in zip(fine.shape, shape, strict=True)]
    pads = [(want - have) // 2 for have, want in zip(kept, shape, strict=True)]
    taken = tuple(slice(a, a + n) for a, n in zip(starts, kept, strict=True))
    placed = tuple(slice(p, p + n) for p, n in zip(pads, kept, strict=True))
    out[placed] = fine[taken].numpy() / np.float32(LIMIT_HU)
    return out, moved(affine, tuple(a - p for a, p in zip(starts, pads, strict=True)))
