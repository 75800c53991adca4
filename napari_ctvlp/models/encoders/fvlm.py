"""fVLM behind the encoder protocol: organ by organ, in windows as its authors cut them.

Two maps per organ: the exact split of the organ's cosine over its cells, and a dense map of the
cosine each cell would give by itself. Cells are 16 x 16 x 32 voxels, that is 48 x 16 x 32 mm; with
``settings.maps.shifts`` windows are also encoded between the cells and the maps averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.geometry import Affine, coarse_affine, in_order, to_ipl
from napari_ctvlp.core.scan import AIR_HU, Scan
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import fvlm_prepare as prepare
from napari_ctvlp.models.encoders.attending import Frame, Point, holding, plain
from napari_ctvlp.models.encoders.cells import moved, resized_affine
from napari_ctvlp.models.encoders.framing import inside
from napari_ctvlp.models.encoders.hosting import Progressing, loaded, table_of, text_vectors
from napari_ctvlp.models.encoders.organ_query import flags
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ctvlp.models.encoders.fvlm_net import Fvlm as Network
    from napari_ctvlp.models.encoders.prompts import Prompts

#: Axes of the files the published weights were trained on.
ORIENTATION = "LPS"
Array = NDArray[np.float32]
Triple = prepare.Triple


@dataclass(frozen=True)
class Prepared:
    """A framed CT and where it lies: ``affine`` maps its (D, H, W) to RAS mm."""

    image: Array
    labels: NDArray[np.uint8]
    affine: Affine


class Fine:
    """What windows at several shifts say of one organ, gathered on cells of a share of a patch.

    Cell k of a window that is shifted by s of n shares covers the fine cells n k + s to
    n k + s + n - 1 along each axis. With one shift the fine cells are the cells.
    """

    def __init__(self, grid: Triple, shared: int, shifts: int) -> None:
        self.shifts = shifts
        shape = tuple(n * shifts + shifts - 1 for n in grid)
        self.dense = np.zeros((*shape, shared), np.float32)
        self.split = np.zeros((*shape, shared + 1), np.float32)
        self.on, self.seen = np.zeros(shape, np.bool_), np.zeros(shape, np.float32)

    def add(self, shift: Triple, on: NDArray[np.bool_], split: Array, dense: Array) -> None:
        """Add a window: per true cell of ``on`` a row of ``split``, per cell one of ``dense``.

        The last column of ``split`` is the attention, which is gathered in the same way.
        """
        n = self.shifts
        parts = np.zeros((*on.shape, split.shape[1]), np.float32)
        parts[on] = split / n**6
        for inner in product(range(n), repeat=3):
            cells = tuple(
                slice(s + i, s + i + n * count, n)
                for s, i, count in zip(shift, inner, on.shape, strict=True)
            )
            self.split[cells] += parts
            self.dense[cells] += dense.reshape(*on.shape, -1)
            self.on[cells] |= on
            self.seen[cells] += 1

    def grids(self, affine: Affine, organ: str, unit: Array, scan: Scan) -> Iterator[TokenGrid]:
        """Yield the split and the dense grid; ``affine`` maps fine cells to RAS mm."""
        own = np.ascontiguousarray(self.split[..., :-1])
        rest = unit - own.sum(axis=(0, 1, 2))
        parts, place = to_ipl(own, affine)
        on, _ = to_ipl(self.on, affine)
        yield TokenGrid(parts, place, on, organ=organ, kind="split", rest=rest)
        mean = self.dense / np.maximum(self.seen, np.float32(1))[..., None]
        dense, _ = to_ipl(mean.astype(np.float32, copy=False), affine)
        seen = inside(scan, on.shape, place)
        yield TokenGrid(dense, place, seen, organ=organ, kind="cosine")


class Fvlm:
    """Encoder protocol of fVLM.

    Parameters
    ----------
    card : ModelCard
        Settings ``organs`` (in the order of the weights), ``maps.shifts`` and, for tests,
        ``sizes`` and ``roi``.
    network : Module
    prompts : Prompts
    compute : Compute
    """

    def __init__(
        self, card: ModelCard, network: Network, prompts: Prompts, compute: Compute
    ) -> None:
        self.card, self.network, self.prompts, self.compute = card, network, prompts, compute
        self.organs: dict[str, list[str]] = dict(card.settings["organs"])
        self.shifts = int(card.settings.get("maps", {}).get("shifts", 1))
        roi = card.settings.get("roi", prepare.ROI)
        self.roi: Triple = tuple(roi)

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> Fvlm:
        """Load the checkpoint that the card names.

        Raises
        ------
        ModelRefused
            If it holds other tensors than the card allows.
        """
        from napari_ctvlp.models.encoders.fvlm_net import Fvlm as Network
        from napari_ctvlp.models.encoders.fvlm_net import Sizes

        network = loaded(Network(Sizes.of(card.settings)), card, folder, compute)
        return cls(card, network, text_vectors(network.texts, card, folder, compute), compute)

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
            Per organ a grid of the kind "split" and one of the kind "cosine", its unit vector
            and the attention of its query.
        """
        progress(0.01, "resampling")
        ready = prepared(scan, anatomy, list(self.organs.values()))
        windows = self._windows(ready)
        distinct = len({window for pairs in windows.values() for _, window in pairs})
        tick = Progressing(progress, 0.1, 0.95, distinct * len(self.network.visual_encoder.blocks))
        passes: dict[prepare.Window, Tensor] = {}
        grids, units, attention = [], {}, {}
        for organ, pairs in windows.items():
            for _, window in pairs:
                if window not in passes:
                    passes[window] = self._levels(prepare.cut(ready.image, window), tick)
            made, units[organ], attention[organ] = self._organ(scan, ready, organ, pairs, passes)
            grids += made
        grids.sort(key=lambda grid: grid.kind != "split")
        told = tuple(grids or nothing(scan, self.network.sizes.shared))
        weights = next(iter(store.digests(self.card).values()), "")
        return Encoding(told, units, self.card.id, weights, scan.digest, attention)

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the tokens: positive minus negative prompt."""
        return self.prompts.pairs(phrases)

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per finding of the card, by its organ."""
        return table_of(self.card, encoding, self.prompts, float(self.network.temp))

    def attention_frame(
        self, scan: Scan, anatomy: AnatomyMap, point: Point, organ: str = ""
    ) -> Frame:
        """Return the pass over the window of an organ, or of one whose window holds a place."""
        ready = prepared(scan, anatomy, list(self.organs.values()))
        windows = {name: pairs[0][1] for name, pairs in self._windows(ready).items()}
        names = [name for name in windows if organ in ("", name)]
        frames = (self._frame(ready, windows[name], name) for name in names)
        return holding(frames, point, organ, list(self.organs))

    def _frame(self, ready: Prepared, window: prepare.Window, organ: str) -> Frame:
        patch = self.network.sizes.patch
        shape = tuple(n // p for n, p in zip(window.padded, patch, strict=True))
        affine = coarse_affine(moved(ready.affine, window.start), np.array(patch))

        def run() -> Tensor:
            return self._levels(prepare.cut(ready.image, window), lambda: None)

        return Frame(run, shape, affine, plain(shape), organ)

    def _windows(self, ready: Prepared) -> dict[str, list[tuple[Triple, prepare.Window]]]:
        """Return per organ that is there its windows with their shifts, the unshifted one first."""
        found = {}
        for number, organ in enumerate(self.organs):
            patch = self.network.sizes.patch
            window = prepare.window_of(ready.labels == number + 1, patch, self.roi)
            if window is not None:
                found[organ] = [
                    (shift, prepare.shifted(window, shift, self.shifts, patch, ready.image.shape))
                    for shift in product(range(self.shifts), repeat=3)
                ]
        return found

    def _levels(self, image: Array, tick: Callable[[], None]) -> Tensor:
        """Run the image tower over one window, (4, tokens, c)."""
        import torch

        device = torch.device(self.compute.device)
        lean = self.compute.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lean):
            volume = torch.from_numpy(image)[None, None].to(device)
            levels: Tensor = self.network.visual_encoder(volume, tick)[0]
        return levels.float()

    def _organ(
        self,
        scan: Scan,
        ready: Prepared,
        organ: str,
        pairs: Sequence[tuple[Triple, prepare.Window]],
        passes: Mapping[prepare.Window, Tensor],
    ) -> tuple[list[TokenGrid], Array, Array]:
        """Pool one organ in its windows; returns its grids, its unit vector and its attention."""
        import torch

        number, sizes = list(self.organs).index(organ), self.network.sizes
        first = pairs[0][1]
        shape = tuple(n // p for n, p in zip(first.padded, sizes.patch, strict=True))
        fine = Fine(shape, sizes.shared, self.shifts)
        units = []
        for shift, window in pairs:
            mask = torch.from_numpy(prepare.cut(ready.labels == number + 1, window))
            on = flags(mask, sizes.patch)
            if not on.any():
                continue
            with torch.inference_mode():
                levels = passes[window]
                seen = self.network.pool(levels, on.to(levels.device), number)
                dense = self.network.dense(levels, number).cpu().numpy()
            units.append(seen.unit.cpu().numpy())
            rows = torch.cat([seen.split, seen.weights[:, None]], 1).cpu().numpy()
            fine.add(shift, on.numpy().reshape(shape), rows, dense)
        cells = coarse_affine(moved(ready.affine, first.start), np.array(sizes.patch) / self.shifts)
        attention, _ = to_ipl(np.ascontiguousarray(fine.split[..., -1]), cells)
        return list(fine.grids(cells, organ, units[0], scan)), units[0], attention


def prepared(scan: Scan, anatomy: AnatomyMap, organs: Sequence[Sequence[str]]) -> Prepared:
    """Bring a scan to the orientation of the weights, then do what the authors do.

    Parameters
    ----------
    scan : Scan
        In HU.
    anatomy : AnatomyMap
    organs : sequence of sequences of str
        House names of each organ, in the order of the weights.

    Returns
    -------
    Prepared
        Empty when no organ is there.
    """
    labels = grouped(anatomy, organs)
    view, affine = in_order(scan.hu, scan.affine, ORIENTATION)
    target = prepare.target_shape(view.shape, affine)
    small = prepare.resized_labels(in_order(labels, scan.affine, ORIENTATION)[0], target)
    whole = view if view.dtype.kind == "i" else np.nan_to_num(view, nan=AIR_HU)
    found = prepare.framed(prepare.resized(whole, target), small)
    reverse = resized_affine(affine, view.shape, target)[:, [2, 1, 0, 3]]
    if found is None:
        return Prepared(np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0), np.uint8), reverse)
    return Prepared(found.image, found.labels, moved(reverse, found.first))


def grouped(anatomy: AnatomyMap, organs: Sequence[Sequence[str]]) -> NDArray[np.uint8]:
    """Return 1 + number of the model's organ for each voxel of an anatomy, else 0."""
    labels = np.zeros(anatomy.labels.shape, np.uint8)
    for number, names in enumerate(organs):
        labels[anatomy.mask(names)] = number + 1
    return labels


def nothing(scan: Scan, shared: int) -> list[TokenGrid]:
    """Return grids of one cell that nobody looked at, for a scan without any organ."""
    place = coarse_affine(scan.affine, scan.shape)
    tokens, valid = np.zeros((1, 1, 1, shared), np.float32), np.zeros((1, 1, 1), np.bool_)
    return [TokenGrid(tokens, place, valid, kind=kind) for kind in ("split", "cosine")]
