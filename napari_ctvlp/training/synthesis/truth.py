"""What is true of a painting: its side, size and place, measured on the voxels it labelled."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import FINDINGS, VOXEL_MM, Canvas, Painted

#: Directions in which a diameter is measured: axes, face and space diagonals.
WAYS = [
    (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1),
    (0, 1, -1), (1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1),
]  # fmt: skip
#: Levels of a lung: names and upper ends in half heights of the lung box.
LEVELS = (("apical", -0.75), ("upper", -0.25), ("middle", 0.3), ("lower", 0.75), ("basal", 9.0))


def tell(
    canvas: Canvas,
    finding: str,
    organ: str,
    mask: Tensor,
    where: tuple[slice, ...] | None = None,
    *,
    diffuse: bool = False,
    place: str = "",
    traits: tuple[str, ...] = (),
) -> Painted | None:
    """Describe a painting.

    Parameters
    ----------
    canvas : Canvas
    finding : str
    organ : str
        An anatomy; ``"lung"`` and ``"kidney"`` get their side; ``"mediastinum"`` has none.
    mask : Tensor, bool
        The painting's voxels in the box ``where`` (the whole canvas when None); only those that
        carry the label of ``finding`` count.
    diffuse : bool
        True when a size means nothing.
    place : str
        Said instead of the level of a lung.
    traits : tuple of str

    Returns
    -------
    Painted or None
        None when no voxel carries the label.
    """
    box = where or (slice(None),) * 3
    mask = mask & (canvas.found[box] == FINDINGS.index(finding) + 1)
    spots = torch.nonzero(mask)
    if not spots.numel():
        return None
    sided = organ in ("lung", "kidney", "spleen")
    side = _side(canvas, mask, box, lung=organ == "lung") if sided else ""
    if organ == "lung":
        place = place or _level(canvas, mask, box)
    if organ in ("lung", "kidney"):
        organ = f"{organ}_{side}"
    size = math.nan if diffuse else diameter(spots)
    return Painted(finding, organ, side, size, place, traits)


def diameter(spots: Tensor) -> float:
    """Return the largest extent of voxels in mm, one voxel being 2 mm; shape (n, 3)."""
    ways = torch.nn.functional.normalize(torch.tensor(WAYS, device=spots.device).float(), dim=1)
    along = spots.float() @ ways.T
    spread = (along.amax(dim=0) - along.amin(dim=0)).amax()
    return VOXEL_MM * (float(spread) + 1)


def _side(canvas: Canvas, mask: Tensor, box: tuple[slice, ...], *, lung: bool) -> str:
    """Tell the side by the lung's label, or by the position across the body."""
    codes = canvas.side[box][mask]
    left, right = int((codes == 1).sum()), int((codes == 2).sum())
    if lung and left != right:
        return "left" if left > right else "right"
    return "left" if float(canvas.across[box][mask].mean()) > 0 else "right"


def _level(canvas: Canvas, mask: Tensor, box: tuple[slice, ...]) -> str:
    if canvas.up is None:
        return ""
    middle = float(canvas.up[box][mask].mean())
    return next(name for name, end in LEVELS if middle < end)
