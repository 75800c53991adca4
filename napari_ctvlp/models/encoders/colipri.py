"""COLIPRI behind the encoder protocol: dense text-aligned tokens of a chest CT, 16 mm apart.

Two maps: the published dense one (every token projected as if it alone were pooled; a cosine)
and the exact split of the score over tokens, with a constant that no token holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.geometry import coarse_affine, to_ipl, voxel_of
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models.encoders.attending import Frame, Point, plain
from napari_ctvlp.models.encoders.cells import moved
from napari_ctvlp.models.encoders.framing import (
    Field,
    about_the_middle,
    cut_or_filled,
    inside,
    oriented,
)
from napari_ctvlp.models.encoders.hosting import loaded, table_of, text_vectors
from napari_ctvlp.models.encoders.mini_grid import body_on_grid
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ctvlp.models.encoders.colipri_net import Colipri as Network
    from napari_ctvlp.models.encoders.prompts import Prompts

STEP_MM, EDGE, PATCH = 2.0, 192, 8
LIMIT_HU = 1000.0
Array = NDArray[np.float32]


class Colipri:
    """Encoder protocol of COLIPRI.

    Parameters
    ----------
    card : ModelCard
        Settings ``orientation`` (axes of the image, "RAS" as from version 0.1.2 on, "SAR"
        before), ``field`` ("centre": 384 mm about the middle of the scan, as published;
        "whole": all of it, by windows) and, for tests, ``edge`` and ``sizes``.
    network : Module
    prompts : Prompts
    compute : Compute
    """

    def __init__(
        self, card: ModelCard, network: Network, prompts: Prompts, compute: Compute
    ) -> None:
        self.card, self.network, self.prompts, self.compute = card, network, prompts, compute
        self.edge = int(card.settings.get("edge", EDGE))

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> Colipri:
        """Load the checkpoint that the card names.

        Raises
        ------
        ModelRefused
            If it holds other tensors than the card allows.
        """
        from torch.nn.functional import normalize

        from napari_ctvlp.models.encoders.colipri_net import Colipri as Network
        from napari_ctvlp.models.encoders.colipri_net import Sizes

        sizes = Sizes(**card.settings.get("sizes", {}))
        network = loaded(Network(sizes), card, folder, compute)

        def run(ids: Tensor, mask: Tensor) -> Tensor:
            return normalize(network.text_encoder(ids, mask), dim=-1)

        return cls(card, network, text_vectors(run, card, folder, compute), compute)

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode a scan.

        Parameters
        ----------
        scan : Scan
            A CT in HU.
        anatomy : AnatomyMap
            Gives the body: the cosine of a token in the air means nothing.
        progress : callable

        Returns
        -------
        Encoding
            A grid of the kind "cosine" and one of the kind "split"; the unit image vector.
        """
        order = str(self.card.settings.get("orientation", "RAS"))
        whole = self.card.settings.get("field", "centre") == "whole"
        progress(0.01, "resampling")
        field = prepared(scan, order, self.edge, whole=whole)
        dense, shares, rest, unit = self._run(field.image, progress)
        cells, affine = to_ipl(dense, coarse_affine(field.affine, PATCH))
        seen = inside(scan, cells.shape[:3], affine)
        body = seen & body_on_grid(anatomy, cells.shape[:3], affine)
        parts, _ = to_ipl(shares, coarse_affine(field.affine, PATCH))
        rest = rest + parts[~seen].sum(axis=0)
        words = f"{PATCH * STEP_MM:g}mm"
        grids = (
            TokenGrid(cells.astype(np.float16), affine, body, words, kind="cosine"),
            TokenGrid(parts, affine, seen, words, kind="split", rest=rest),
        )
        return Encoding(grids, dict.fromkeys(("whole", ""), unit), self.card.id, "", scan.digest)

    def attention_frame(
        self, scan: Scan, anatomy: AnatomyMap, point: Point, organ: str = ""
    ) -> Frame:
        """Return the pass over the window whose tokens at a place are used."""
        import torch

        from napari_ctvlp.models.encoders.colipri_net import window_starts

        order = str(self.card.settings.get("orientation", "RAS"))
        whole = self.card.settings.get("field", "centre") == "whole"
        field, edge = prepared(scan, order, self.edge, whole=whole), self.edge
        voxel = voxel_of(field.affine, point)
        starts = [
            [start for start in window_starts(size, edge) if start <= max(at + 0.5, 0)][-1]
            for size, at in zip(field.image.shape, voxel, strict=True)
        ]
        part = field.image[tuple(slice(start, start + edge) for start in starts)]

        def run() -> None:
            lean, device = self.compute.precision == "bfloat16", torch.device(self.compute.device)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lean):
                volume = torch.from_numpy(np.ascontiguousarray(part))[None, None]
                self.network.image_encoder.backbone(volume.to(device))

        shape = (edge // PATCH,) * 3
        affine = coarse_affine(moved(field.affine, tuple(starts)), PATCH)
        return Frame(run, shape, affine, plain(shape))

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the tokens: positive minus negative prompt."""
        return self.prompts.pairs(phrases)

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per finding of the card, for the scan as a whole."""
        temperature = float(self.network.softmax_temperature)
        return table_of(self.card, encoding, self.prompts, temperature)

    def _run(self, image: Array, progress: Progress) -> tuple[Array, Array, Array, Array]:
        """Return dense unit tokens, what each adds to the unit vector, its rest, and the vector."""
        import torch
        from torch.nn.functional import normalize

        from napari_ctvlp.models.encoders.colipri_net import sliding_tokens

        tower = self.network.image_encoder
        lean, device = self.compute.precision == "bfloat16", torch.device(self.compute.device)

        def tick(share: float) -> None:
            progress(0.05 + 0.9 * share, "encoding")

        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lean):
            volume = torch.from_numpy(image)[None, None].to(device)
            tokens = sliding_tokens(tower.backbone, volume, self.edge, tick).float()
            grid = tokens.shape[2:]
            rows = tower.rows(tokens).float()
            vector, weights = tower.pooler(rows)
            size = vector[0].norm()
            dense = normalize(tower.pooler.dense(rows)[0].float(), dim=-1)
            shares = tower.pooler.share(rows[0], weights[0]) / size
            made = (
                dense.unflatten(0, grid), shares.unflatten(0, grid),
                tower.pooler.attn.out_proj.bias / size, vector[0] / size,
            )  # fmt: skip
            a, b, c, d = (part.float().cpu().numpy() for part in made)
            return a, b, c, d


def prepared(scan: Scan, order: str, edge: int, *, whole: bool = False) -> Field:
    """Return the image COLIPRI is fed, -1..1, shape (edge, edge, edge) or larger.

    Parameters
    ----------
    scan : Scan
        In HU.
    order : str
        Axis letters.
    edge : int
        Voxels of 2 mm, about the middle of the scan; the rest is cut off, or filled with the
        image's lowest value.
    whole : bool
        True cuts nothing off: axes longer than ``edge`` are filled up to whole patches.
    """
    field = about_the_middle(oriented(scan, order), STEP_MM)
    image = np.clip(field.image.astype(np.float32), -LIMIT_HU, LIMIT_HU) / np.float32(LIMIT_HU)
    longest = [-(-n // PATCH) * PATCH if whole and n > edge else edge for n in image.shape]
    spare = [n - want for n, want in zip(image.shape, longest, strict=True)]
    first = [math.ceil(n / 2) if n > 0 else -math.ceil(-n / 2) for n in spare]
    return cut_or_filled(Field(image, field.affine), first, longest, float(image.min()))
