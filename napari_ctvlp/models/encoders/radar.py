"""RADAR behind the encoder protocol: it draws its own organs and reads each in one window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import radar_windows as windows
from napari_ctvlp.models.encoders.cells import moved, organ_grid, strided
from napari_ctvlp.models.encoders.fvlm import nothing
from napari_ctvlp.models.encoders.fvlm_prepare import Window, cut, window_of
from napari_ctvlp.models.encoders.hosting import (
    Progressing,
    loaded,
    sizes_of,
    table_of,
    text_vectors,
)
from napari_ctvlp.models.encoders.organ_query import flags
from napari_ctvlp.models.encoders.prompts import Prompts
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent
from napari_ctvlp.models.store.hosted import converted

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ctvlp.models.encoders.radar_net import Radar as Network
    from napari_ctvlp.models.encoders.radar_net import Seen

#: Width of the space that image and text share.
SHARED = 256
#: Ticks of one pass of the image tower.
TICKS = 10
Found = dict[int, tuple[TokenGrid, NDArray[np.float32], NDArray[np.float32]]]
Pairs = dict[str, NDArray[np.float32]]


class Radar:
    """Encoder protocol of RADAR.

    Parameters
    ----------
    card : ModelCard
        Settings ``organs`` (in the order of the weights), ``findings`` with the ``key`` of their
        ready-made texts and, for tests, ``sizes`` and ``roi``.
    network : Module
    prompts : Prompts
        Of free text.
    pairs : mapping of str to ndarray, shape (2, c)
        Ready-made negative and positive text by key; empty where the file is missing.
    compute : Compute
    """

    def __init__(
        self,
        card: ModelCard,
        network: Network,
        prompts: Prompts,
        pairs: Pairs,
        compute: Compute,
    ) -> None:
        self.card, self.network, self.prompts, self.compute = card, network, prompts, compute
        self.organs = list(card.settings["organs"])
        self.roi = tuple(card.settings.get("roi", windows.ROI))
        self.pairs, self.named = pairs, _named(card, pairs)

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> Radar:
        """Load the checkpoint that the card names, and the ready-made texts where they are.

        Raises
        ------
        ModelRefused
            If they hold other tensors than the card allows.
        """
        from napari_ctvlp.models.encoders.radar_net import Radar as Network
        from napari_ctvlp.models.encoders.radar_net import Sizes

        network = loaded(Network(Sizes(**sizes_of(card))), card, folder, compute)
        prompts = text_vectors(network.text, card, folder, compute)
        return cls(card, network, prompts, ready_made(card, folder), compute)

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode a scan window by window.

        An organ is read in the first window that holds it whole; those of the findings that no
        window does, in a window about what was drawn of them.

        Parameters
        ----------
        scan : Scan
            A CT in HU.
        anatomy : AnatomyMap
            Not needed: the network draws the organs.
        progress : callable

        Returns
        -------
        Encoding
            Per organ one grid of the kind "split", cells of 2 x 8 x 8 voxels (10 x 8 x 8 mm), its
            unit vector and the attention of its query.
        """
        progress(0.01, "resampling")
        ready = windows.prepared(scan, self.roi)
        first = windows.sliding(ready.image.shape, self.roi)
        tick = Progressing(progress, 0.1, 0.6, TICKS * len(first))
        found: Found = {}
        drawn = []
        for window in first:
            seen = self._look(ready, window, tick)
            self._read(ready, window, seen, found)
            drawn.append((window, seen.logits.softmax(0)))
        left = list(self._left(drawn, ready.image.shape, found))
        tick = Progressing(progress, 0.6, 0.95, TICKS * len(left))
        for number, window in left:
            if number not in found:
                self._read(ready, window, self._look(ready, window, tick), found, number)
        grids = tuple(grid for grid, *_ in found.values()) or tuple(nothing(scan, SHARED)[:1])
        units = {self.organs[number]: unit for number, (_, _, unit) in found.items()}
        attention = {self.organs[number]: map_ for number, (_, map_, _) in found.items()}
        return Encoding(grids, units, self.card.id, "", scan.digest, attention)

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the tokens.

        The card's findings, alone or with their organ, are positive minus negative ready-made
        text; everything else is read by the text tower.
        """
        known = [self.named.get(phrase.strip().rstrip(".").casefold()) for phrase in phrases]
        free = [text for text, vector in zip(phrases, known, strict=True) if vector is None]
        read = iter(self.prompts.pairs(free))
        return [next(read) if vector is None else TextVector(vector) for vector in known]

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per finding of the card, by its organ and ready-made texts."""
        rows = [dict(row) for row in self.card.settings["findings"]]
        if not self.pairs:
            nan = float("nan")
            file = self.card.settings["checkpoints"]["texts"]["file"]
            why = f"The ready-made texts, {file}, are not in the model's folder."
            told = (
                FindingRow(row["organ"], row["name"], nan, nan, nan, support=why) for row in rows
            )
            return FindingsTable(tuple(told), self.card.id, encoding.scan)
        texts = {f"{key} {side}": pair[side] for key, pair in self.pairs.items() for side in (0, 1)}
        rows = [
            {**row, "negative": f"{row['key']} 0", "positive": f"{row['key']} 1"}
            for row in rows
            if row["key"] in self.pairs
        ]
        card = replace(self.card, settings={**self.card.settings, "findings": rows})
        return table_of(card, encoding, Prompts(None, texts), float(self.network.temp))

    def _look(self, ready: windows.Prepared, window: Window, tick: Callable[[], None]) -> Seen:
        import torch

        with torch.inference_mode():
            image = torch.from_numpy(cut(ready.image, window))[None, None]
            seen: Seen = self.network.visual_encoder(image.to(self.compute.device), tick)
        return seen

    def _read(
        self, ready: windows.Prepared, window: Window, seen: Seen, found: Found, but: int = -1
    ) -> None:
        """Pool the organs that a window holds whole and that were not read before."""
        import torch

        from napari_ctvlp.models.encoders.radar_net import STRIDES

        strides = STRIDES[::-1]
        place = strided(moved(ready.affine, window.start), strides[0])
        scales = seen.scales[::-1]
        for number in windows.whole_organs(seen.mask, but):
            if number in found:
                continue
            on = [flags(seen.mask == number + 1, stride) for stride in strides]
            with torch.inference_mode():
                rows = [x.flatten(1)[:, marks].T for x, marks in zip(scales, on, strict=True)]
                pooled = self.network.pool(torch.cat(rows), number)
            valid = [
                marks.cpu().numpy().reshape(x.shape[1:])
                for x, marks in zip(scales, on, strict=True)
            ]
            grid, attention = organ_grid(pooled, valid, strides, place, self.organs[number])
            found[number] = grid, attention, pooled.unit.cpu().numpy()

    def _left(
        self, drawn: list[tuple[Window, Tensor]], shape: tuple[int, ...], found: Found
    ) -> Iterator[tuple[int, Window]]:
        """Yield the findings' organs that no window held whole, with a window about each."""
        asked = dict.fromkeys(row["organ"] for row in self.card.settings["findings"])
        missing = [n for n in map(self.organs.index, asked) if n not in found]
        if not missing:
            return
        mask = np.concatenate(
            [part.numpy().astype(np.uint8) for part in windows.stitched(drawn, shape)]
        )
        for number in missing:
            window = window_of(mask == number + 1, windows.STEP, self.roi)
            if window is not None:
                yield number, window


def ready_made(card: ModelCard, folder: Path) -> Pairs:
    """Return the authors' negative and positive text of each finding; empty without the file."""
    file = folder / str(card.settings["checkpoints"]["texts"]["file"])
    if not file.is_file() and not converted(file).is_file():
        return {}
    expected = {str(row["key"]): (2, SHARED) for row in card.settings["findings"]}
    found = store.state_dict(card, folder, expected, "texts")
    return {key: value.float().numpy() for key, value in found.items()}


def _named(card: ModelCard, pairs: Pairs) -> Pairs:
    """Return positive minus negative text by what a user would write: finding, with its organ."""
    rows = [row for row in card.settings["findings"] if row["key"] in pairs]
    counts = Counter(row["name"].casefold() for row in rows)
    out: Pairs = {}
    for row in rows:
        negative, positive = pairs[row["key"]]
        name, organ = row["name"].casefold(), row["organ"]
        texts = [f"{organ} {name}", f"{name} in the {organ}", f"{name} of the {organ}"]
        out |= dict.fromkeys(texts + [name] * (counts[name] == 1), positive - negative)
    return out
