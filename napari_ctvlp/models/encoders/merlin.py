"""Merlin behind the encoder protocol: an abdominal CT in cells of 48 mm.

Average and head commute, so the head applied to each cell splits the score exactly and leaves no
constant. The same rows, each at unit length, are the dense map. Cells this large tell which
region, not where.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.geometry import to_ipl
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models.encoders.cells import strided
from napari_ctvlp.models.encoders.framing import (
    Field,
    cut_or_filled,
    from_the_first,
    inside,
    oriented,
)
from napari_ctvlp.models.encoders.hosting import loaded, table_of, text_vectors
from napari_ctvlp.models.encoders.mini_grid import body_on_grid
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent

if TYPE_CHECKING:
    from napari_ctvlp.models.encoders.merlin_net import Merlin as Network
    from napari_ctvlp.models.encoders.prompts import Ids, Prompts, Tokenizer

#: Axes X, Y, Z of the network's input.
ORDER = "RAS"
STEP_MM, SHAPE, STRIDE = (1.5, 1.5, 3.0), (224, 224, 160), (32, 32, 16)
LOW_HU, HIGH_HU = -1000.0, 1000.0
Array = NDArray[np.float32]


class Merlin:
    """Encoder protocol of Merlin.

    Parameters
    ----------
    card : ModelCard
        For tests, settings ``shape`` and ``sizes``.
    network : Module
    prompts : Prompts
    compute : Compute
    """

    def __init__(
        self, card: ModelCard, network: Network, prompts: Prompts, compute: Compute
    ) -> None:
        self.card, self.network, self.prompts, self.compute = card, network, prompts, compute
        x, y, z = card.settings.get("shape", SHAPE)
        self.shape = (int(x), int(y), int(z))

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> Merlin:
        """Load the checkpoint that the card names.

        Raises
        ------
        ModelRefused
            If it holds other tensors than the card allows.
        """
        from napari_ctvlp.models.encoders.merlin_net import Merlin as Network
        from napari_ctvlp.models.encoders.merlin_net import Sizes

        network = loaded(Network(Sizes(**card.settings.get("sizes", {}))), card, folder, compute)
        prompts = text_vectors(network.text, card, folder, compute, byte_pairs, "vocab.json")
        return cls(card, network, prompts, compute)

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode a scan.

        Parameters
        ----------
        scan : Scan
            A CT in HU; 336 x 336 x 480 mm about its middle are seen.
        anatomy : AnatomyMap
            Gives the body: the cosine of a cell in the air means nothing.
        progress : callable

        Returns
        -------
        Encoding
            A grid of the kind "split" and one of the kind "cosine"; the unit image vector.
        """
        progress(0.01, "resampling")
        field = prepared(scan, self.shape)
        rows = self._run(field.image, progress)
        cells, affine = to_ipl(rows, strided(field.affine, STRIDE))
        vector = cells.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
        size = np.linalg.norm(vector)
        seen = inside(scan, cells.shape[:3], affine)
        body = seen & body_on_grid(anatomy, cells.shape[:3], affine)
        parts = cells / (seen.size * size)
        unit = cells / np.linalg.norm(cells, axis=-1, keepdims=True)
        rest = parts[~seen].sum(axis=0)
        grids = (
            TokenGrid(parts, affine, seen, "48mm", kind="split", rest=rest),
            TokenGrid(unit, affine, body, "48mm", kind="cosine"),
        )
        return Encoding(
            grids, dict.fromkeys(("whole", ""), vector / size), self.card.id, "", scan.digest
        )

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the cells: positive minus negative prompt."""
        return self.prompts.pairs(phrases)

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per finding of the card, for the scan as a whole; no probability.

        The authors publish no temperature to judge by: the larger similarity wins.
        """
        return table_of(self.card, encoding, self.prompts)

    def _run(self, image: Array, progress: Progress) -> Array:
        """Return the contrastive head of every cell, shape (x, y, z, 512)."""
        import torch

        tower = self.network.image
        lean, device = self.compute.precision == "bfloat16", torch.device(self.compute.device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lean):
            volume = torch.from_numpy(image)[None, None].to(device)
            cells = tower(volume, lambda share: progress(0.05 + 0.9 * share, "encoding"))
            rows = tower.contrastive_head(cells)[0].float()
            return np.asarray(rows.permute(2, 3, 1, 0).cpu().numpy())


def prepared(scan: Scan, shape: tuple[int, int, int] = SHAPE) -> Field:
    """Return the image Merlin is fed, 0..1, of ``shape`` (X, Y, Z): cut, or filled with air."""
    field = from_the_first(oriented(scan, ORDER), STEP_MM)
    scaled = np.clip((field.image - LOW_HU) / (HIGH_HU - LOW_HU), 0, 1).astype(np.float32)
    first = [
        n // 2 - want // 2 if n > want else -((want - n) // 2)
        for n, want in zip(scaled.shape, shape, strict=True)
    ]
    return cut_or_filled(Field(scaled, field.affine), first, shape, 0.0)


def byte_pairs(vocabulary: Path, longest: int) -> Tokenizer | None:
    """Return the Longformer's tokenizer from ``vocab.json`` and ``merges.txt`` beside it.

    None when one of them is missing. Texts are put into lower case with words and signs apart,
    as the authors feed them.
    """
    merges = vocabulary.with_name("merges.txt")
    if not vocabulary.is_file() or not merges.is_file():
        return None
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing

    tokenizer = ByteLevelBPETokenizer(str(vocabulary), str(merges))
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=1)

    def run(texts: Sequence[str]) -> tuple[Ids, Ids]:
        found = tokenizer.encode_batch([sanitised(text) for text in texts])
        ids = np.array([one.ids for one in found], np.int64)
        return ids, np.array([one.attention_mask for one in found], np.int64)

    return run


def sanitised(report: str) -> str:
    """Return a text as the authors feed it: lower case, words and signs apart."""
    return " ".join(re.findall(r"\w+|[^\w\s]+", report.lower()))
