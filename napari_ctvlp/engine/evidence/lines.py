"""Lines over one plane of a map: equal values, hatching where nobody looked, the token grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import spacing, transform, voxel_of
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan

Line = NDArray[np.float64]
#: Pieces of lines, shape (n, 2, 3): both ends of each in RAS mm.
Pieces = NDArray[np.float64]
#: Lines are drawn at these shares of full scale, by name.
LEVELS: Mapping[str, float] = {"faint": 0.25, "half": 0.5, "strong": 0.75}
#: Length of a dash and of the gap after it, and the step a line is cut into for that, mm.
DASH_MM, STEP_MM = 3.0, 1.5
#: Distance of hatching lines, and how finely they follow what they fill, mm.
HATCH_MM, HATCH_STEP_MM = 10.0, 2.0
NOTHING: Pieces = np.empty((0, 2, 3))


def isolines(
    heat: Heatmap, axis: int, index: float, levels: Mapping[str, float] = LEVELS
) -> dict[str, list[Line]]:
    """Return lines of equal value in one plane of the map's own grid.

    Parameters
    ----------
    heat : Heatmap
    axis : int
        0 axial, 1 coronal, 2 sagittal.
    index : float
        Which plane; between two it is interpolated.
    levels : mapping of str to float
        Share of :attr:`Heatmap.full_scale` by name.

    Returns
    -------
    dict of str to list of ndarray, shape (n, 3)
        RAS mm of each line's points. Where the model did not look, or the gate forbids the
        search, the map counts as 0.
    """
    return Outlines(heat).lines(axis, index, levels)


class Outlines:
    """Lines of equal value of one map, for any plane; planes without any cost next to nothing.

    Parameters
    ----------
    heat : Heatmap
    """

    def __init__(self, heat: Heatmap) -> None:
        self.heat = heat
        searched = heat.allowed & np.isfinite(heat.values)
        self._shares = np.where(searched, heat.values, np.float32(0)) / np.float32(heat.full_scale)

    def lines(
        self, axis: int, index: float, levels: Mapping[str, float] = LEVELS
    ) -> dict[str, list[Line]]:
        """Return lines by the name of their level; see :func:`isolines`."""
        found: dict[str, list[Line]] = {name: [] for name in levels}
        top = self._tops[axis]
        low = int(np.floor(index))
        near = [n for n in (low, low + 1) if 0 <= n < len(top)]
        least = min(levels.values(), default=1.0)
        if (
            not near
            or max(top[n] for n in near) <= least
            or min(np.delete(self._shares.shape, axis)) < 2
        ):
            return found
        from skimage.measure import find_contours

        plane = np.take(self._shares, near[0], axis)
        if len(near) == 2 and index > low:
            share = np.float32(index - low)
            plane = plane * (1 - share) + np.take(self._shares, near[1], axis) * share
        for name, level in levels.items():
            cells = (np.insert(cut, axis, index, axis=1) for cut in find_contours(plane, level))
            found[name] = [transform(self.heat.affine, cut) for cut in cells]
        return found

    @cached_property
    def _tops(self) -> tuple[NDArray[np.float32], ...]:
        """Highest value of every plane, by axis."""
        return tuple(self._shares.max(axis=tuple({0, 1, 2} - {axis})) for axis in range(3))


def solid(lines: Iterable[Line]) -> Pieces:
    """Cut lines into the pieces between their points."""
    cut = [np.stack([line[:-1], line[1:]], axis=1) for line in lines if len(line) > 1]
    return np.concatenate(cut) if cut else NOTHING


def dashed(lines: Iterable[Line]) -> Pieces:
    """Cut lines into dashes of ``DASH_MM`` with gaps as long."""
    whole = solid(lines)
    lengths = np.linalg.norm(whole[:, 1] - whole[:, 0], axis=1)
    parts = np.maximum(1, np.ceil(lengths / STEP_MM)).astype(int)
    piece = np.repeat(np.arange(len(whole)), parts)
    place = np.arange(len(piece)) - np.repeat(np.cumsum(parts) - parts, parts)
    ends = (place[:, None] + [0.0, 1.0]) / parts[piece, None]
    along = (np.cumsum(lengths) - lengths)[piece] + ends.mean(axis=1) * lengths[piece]
    start, way = whole[piece, 0], whole[piece, 1] - whole[piece, 0]
    cut = start[:, None] + ends[..., None] * way[:, None]
    return np.asarray(cut[(along // DASH_MM) % 2 == 0])


def hatching(heat: Heatmap, scan: Scan, axis: int, index: float) -> Pieces:
    """Return slanted lines over what was not searched, in one plane and within the scan.

    Parameters
    ----------
    heat : Heatmap
        Cells without a value, cells that its gate excludes, and what lies beyond its grid.
    scan : Scan
        Its box is filled.
    axis : int
    index : float
        Plane in cells of the map.

    Returns
    -------
    ndarray, shape (n, 2, 3)
        RAS mm of both ends of each piece.
    """
    searched = heat.allowed & np.isfinite(heat.values)
    at = round(index)
    inside = 0 <= at < searched.shape[axis]
    plane = np.take(searched, at, axis) if inside else np.zeros((1, 1), np.bool_)
    step = np.delete(spacing(heat.affine), axis)
    corners = transform(scan.affine, [[-0.5] * 3, [n - 0.5 for n in scan.shape]])
    low, high = np.sort(voxel_of(heat.affine, corners), axis=0)
    (top, left), (bottom, right) = (np.delete(end, axis) * step for end in (low, high))
    slants = np.arange(
        np.ceil((top + left) / HATCH_MM) * HATCH_MM, bottom + right, HATCH_MM
    )  # down + right is constant along each
    down = np.arange(top, bottom, HATCH_STEP_MM)
    across = slants[:, None] - down[None, :]
    kept = (across > left) & (across < right)
    row = np.rint(down / step[0]).astype(int)[None, :].repeat(len(slants), axis=0)
    column = np.rint(across / step[1]).astype(int)
    known = (row >= 0) & (row < plane.shape[0]) & (column >= 0) & (column < plane.shape[1])
    kept[known] &= ~plane[row[known], column[known]]
    edges = np.diff(np.pad(kept, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (line, first), (_, stop) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    ends = np.stack([down[first], down[stop - 1] + HATCH_STEP_MM / 2], axis=1)
    cells = np.stack([ends / step[0], (slants[line][:, None] - ends) / step[1]], axis=-1)
    return transform(heat.affine, np.insert(cells, axis, index, axis=-1))


def token_grid(heat: Heatmap, axis: int, index: float) -> Pieces:
    """Return the borders of the map's cells in one plane; none outside of its grid.

    Returns
    -------
    ndarray, shape (n, 2, 3)
        RAS mm.
    """
    if not -0.5 <= index <= heat.values.shape[axis] - 0.5:
        return NOTHING
    rows, columns = np.delete(heat.values.shape, axis)
    across = np.arange(columns + 1) - 0.5
    down = np.arange(rows + 1) - 0.5
    upright = np.stack([np.stack([np.full_like(across, end), across], -1)
                        for end in (-0.5, rows - 0.5)], axis=1)  # fmt: skip
    level = np.stack([np.stack([down, np.full_like(down, end)], -1)
                      for end in (-0.5, columns - 0.5)], axis=1)  # fmt: skip
    cells = np.insert(np.concatenate([upright, level]), axis, index, axis=-1)
    return transform(heat.affine, cells)
