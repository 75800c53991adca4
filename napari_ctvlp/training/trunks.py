"""What a head for the user's own labels learns from: cells of a frozen trunk, and its last layers.

The trunk runs once per study. For the embedded tower a *cell* is the input of its last block
(96 channels at 4 mm), so that this block and the token head can be trained on without running
the rest again; for any other :class:`~napari_ctvlp.models.protocol.Encoder` it is the token.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TokenGrid
from napari_ctvlp.core.geometry import coarse_affine, spacing
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.encoders.mini_grid import (
    body_depth,
    body_on_grid,
    chest_box,
    on_grid,
    place_channels,
    to_grid,
)
from napari_ctvlp.models.encoders.mini_pool import ORGANS, organ_masks
from napari_ctvlp.models.encoders.mini_tower import WIDTH, Tower, unit
from napari_ctvlp.models.protocol import Encoder, ModelCard

#: Context kept around the region that is looked at, in 4 mm cells; edges are multiples of 4.
CONTEXT = 8
EDGE = 4
#: Width of the adapter over the tokens of a hosted encoder.
NARROW = 32
#: Cells are looked at in parts of at most so many mm when their region is worked out.
PART_MM = 8.0


@dataclass(frozen=True)
class Example:
    """One study as a head sees it.

    Attributes
    ----------
    id, patient : str
    cells : Tensor, shape (c, i, p, l), float16
        What the last layers read.
    inside : Tensor, shape (i, p, l), bool
        The region that is judged.
    labels : Tensor, shape (k,)
        0, 1 or NaN where nobody judged it.
    cell_ml : float
    split : str
        As in the manifest.
    """

    id: str
    patient: str
    cells: Tensor
    inside: Tensor
    labels: Tensor
    cell_ml: float = 0.064
    split: str = ""


class Tail(nn.Module):
    """Last layers that turn cells into tokens of ``width`` channels.

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


class TowerTail(Tail):
    """The embedded tower from its last upsampling on: about 37 000 parameters.

    Parameters
    ----------
    tower : Tower
        Copied, not changed.
    """

    middle: Tensor

    def __init__(self, tower: Tower) -> None:
        super().__init__(WIDTH)
        self.up_fine = copy.deepcopy(tower.up_fine)
        self.fine_out = copy.deepcopy(tower.fine_out)
        self.head_norm = copy.deepcopy(tower.head_norm)
        self.head_middle_norm = copy.deepcopy(tower.head_middle_norm)
        self.head_fine = copy.deepcopy(tower.head_fine)
        self.head_middle = copy.deepcopy(tower.head_middle)
        self.register_buffer("middle", tower.middle.clone())
        self.requires_grad_(True)

    def forward(self, cells: Tensor) -> Tensor:
        """Return the tokens, (n, 96, i, p, l) to (n, 64, i, p, l): the tower's own at first."""
        fine = self.fine_out(self.up_fine(cells))
        parent = cells[:, : self.head_middle.in_channels]
        token = self.head_fine(self.head_norm(fine))
        token = token + self.head_middle(self.head_middle_norm(parent))
        return unit(token - self.middle.view(1, -1, 1, 1, 1))


class TokenTail(Tail):
    """A residual bottleneck over the tokens of any encoder; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.inner = nn.Conv3d(width, NARROW, 3, padding=1)
        self.outer = nn.Conv3d(NARROW, width, 1, bias=False)
        nn.init.zeros_(self.outer.weight)

    def forward(self, cells: Tensor) -> Tensor:
        """Return the adapted tokens, (n, c, i, p, l) to the same shape."""
        added: Tensor = self.outer(torch.relu(self.inner(cells)))
        return cells + added


def tail_of(encoder: Encoder) -> Tail | None:
    """Return the last layers of the embedded tower, None for an encoder without one."""
    tower = getattr(encoder, "tower", None)
    return TowerTail(tower).cpu() if isinstance(tower, Tower) else None


def tower_cells(tower: Tower, hu: Tensor, place: Tensor) -> Tensor:
    """Run the trunk on one volume.

    Parameters
    ----------
    tower : Tower
    hu : Tensor, shape (i, p, l)
        HU at 2 mm; edges are multiples of 8.
    place : Tensor, shape (4, i/2, p/2, l/2)

    Returns
    -------
    Tensor, shape (96, i/2, p/2, l/2), float16
    """
    caught: list[Tensor] = []
    hook = tower.up_fine.register_forward_hook(lambda _, inputs, __: caught.append(inputs[0]))
    try:
        with torch.inference_mode():
            tower(hu[None, None], place[None])
    finally:
        hook.remove()
    return caught[0][0].half().clone()


def example(
    encoder: Encoder,
    scan: Scan,
    anatomy: AnatomyMap,
    organs: Sequence[str],
    *,
    name: str = "",
    patient: str = "",
    labels: Sequence[float] = (),
    split: str = "",
) -> Example:
    """Run the trunk on one study.

    Parameters
    ----------
    encoder : Encoder
        Embedded or hosted.
    scan : Scan
    anatomy : AnatomyMap
        Of the scan.
    organs : sequence of str
        Regions of ``mini_pool.ORGANS`` or house organs; their union is judged.
    name, patient, labels, split
        As in :class:`Example`.

    Raises
    ------
    InputRefused
        When the scan holds none of the organs.
    """
    tower = getattr(encoder, "tower", None)
    if isinstance(tower, Tower):
        cells, inside, ml = _of_tower(tower, scan, anatomy, organs)
    else:
        cells, inside, ml = _of_tokens(encoder, scan, anatomy, organs)
    wanted = torch.tensor([float(value) for value in labels])
    return Example(name, patient or name, cells, inside, wanted, ml, split)


def _of_tower(
    tower: Tower, scan: Scan, anatomy: AnatomyMap, organs: Sequence[str]
) -> tuple[Tensor, Tensor, float]:
    hu, fine = to_grid(scan)
    affine = coarse_affine(fine, 2)
    shape = tuple(n // 2 for n in hu.shape)
    body = body_on_grid(anatomy, shape, affine)
    box = chest_box(anatomy, body, affine)
    place = place_channels(box, body_depth(body, 4.0), shape, affine)
    inside = _region(anatomy, shape, affine, organs)
    part = _window(inside)
    voxels = tuple(slice(2 * s.start, 2 * s.stop) for s in part)
    volume = torch.from_numpy(np.ascontiguousarray(hu[voxels]))
    where = torch.from_numpy(np.ascontiguousarray(place[:, *part]))
    device = tower.table.device
    cells = tower_cells(tower, volume.to(device), where.to(device)).cpu()
    return cells, torch.from_numpy(inside[part].copy()), 0.064


def _of_tokens(
    encoder: Encoder, scan: Scan, anatomy: AnatomyMap, organs: Sequence[str]
) -> tuple[Tensor, Tensor, float]:
    grid = _grid(encoder.encode(scan, anatomy), encoder.card, organs)
    inside = _touched(anatomy, grid, organs) & grid.valid
    if not inside.any():
        raise _not_there(organs)
    part = _window(inside)
    tokens = np.moveaxis(grid.tokens[part], -1, 0).astype(np.float32)
    if grid.kind == "split":
        tokens = tokens * np.float32(grid.valid.sum())
    cells = torch.from_numpy(np.ascontiguousarray(tokens)).half()
    return cells, torch.from_numpy(inside[part].copy()), float(spacing(grid.affine).prod() / 1000)


def _grid(encoding: Encoding, card: ModelCard, organs: Sequence[str]) -> TokenGrid:
    """Return the grid a head learns from: of the model's organ that the region lies in.

    A cell's own vector where the model has such a grid, else its part of the organ's vector.
    """
    asked = {part for organ in organs for part in _parts(organ)}
    known: Mapping[str, Sequence[str]] = card.settings.get("organs", {})
    named = [name for name, house in known.items() if asked & {*house}]
    if known and (len(named) != 1 or not asked <= {*known[named[0]]}):
        raise InputRefused(
            "no-such-window",
            f"a region within one of the windows of {card.id}: "
            + "; ".join(f"{name} ({', '.join(house)})" for name, house in known.items()),
            f"The region is {', '.join(organs)}.",
            "Choose organs of one window.",
        )
    found = [grid for grid in encoding.grids if not known or grid.organ == named[0]]
    if not found:
        raise _not_there(organs)
    return next((grid for grid in found if grid.kind != "split"), found[0])


def _parts(organ: str) -> tuple[str, ...]:
    place = places().get(organ)
    return place.members if place is not None and place.members else (organ,)


def _touched(anatomy: AnatomyMap, grid: TokenGrid, organs: Sequence[str]) -> NDArray[np.bool_]:
    """Return the cells of which any part lies in a region: some are larger than organs."""
    parts = np.ceil(spacing(grid.affine) / PART_MM).astype(int)
    shape = tuple(int(n) for n in np.array(grid.valid.shape) * parts)
    fine = _region(anatomy, shape, coarse_affine(grid.affine, 1 / parts), organs)
    blocks = [n for pair in zip(grid.valid.shape, parts.tolist(), strict=True) for n in pair]
    return np.asarray(fine.reshape(blocks).any(axis=(1, 3, 5)))


def _region(
    anatomy: AnatomyMap, shape: tuple[int, ...], affine: NDArray[np.float64], organs: Sequence[str]
) -> NDArray[np.bool_]:
    """Union of the named regions on a token grid."""
    wide: Mapping[str, NDArray[np.bool_]] = (
        organ_masks(anatomy, shape, affine) if set(organs) & set(ORGANS) else {}
    )
    inside = on_grid(anatomy, tuple(o for o in organs if o not in ORGANS), shape, affine)
    for organ in organs:
        inside = inside | wide.get(organ, False)
    if not inside.any():
        raise _not_there(organs)
    return np.asarray(inside)


def _not_there(organs: Sequence[str]) -> InputRefused:
    return InputRefused(
        "no-organ",
        f"a scan that holds {' or '.join(organs)}.",
        "The segmenter found none of them.",
        "Choose organs that are in every scan, or leave this scan out.",
    )


def _window(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Box of a mask with context, its edges multiples of ``EDGE`` where the grid allows."""
    found = ndimage.find_objects(inside.view(np.uint8))[0]
    window = []
    for side, size in zip(found, inside.shape, strict=True):
        start = max(0, side.start - CONTEXT) // EDGE * EDGE
        stop = min(size, -(-(side.stop + CONTEXT) // EDGE) * EDGE)
        window.append(slice(start, stop))
    return tuple(window)
