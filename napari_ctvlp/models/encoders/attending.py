"""What an encoder shows of its attention between places: one pass and where its tokens lie.

An encoder whose tokens attend to one another has a method
``attention_frame(scan, anatomy, point, organ) -> Frame``; that is all it needs to be inspected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, voxel_of
from napari_ctvlp.errors import InputRefused

Point = tuple[float, float, float]
Cells = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """One pass of an image tower over one window.

    Attributes
    ----------
    run : callable
        Runs the pass.
    shape : tuple of int
        Cells along the window's own axes.
    affine : ndarray, shape (4, 4)
        Cell to RAS mm.
    layouts : tuple of ndarray, shape (batch, tokens), int64
        Flat cell of each token, -1 for one that has no place; one for each way the tower lays
        its tokens out. Attention of another shape is not between places of the image.
    organ : str
        The model's organ whose window it is, or ``""``.
    """

    run: Callable[[], object]
    shape: tuple[int, ...]
    affine: Affine
    layouts: tuple[Cells, ...]
    organ: str = ""

    def holds(self, point: Point) -> bool:
        """Say whether a token lies at a world point."""
        return self._cell(point) is not None

    def cell(self, point: Point) -> int:
        """Return the flat cell that holds a world point.

        Raises
        ------
        InputRefused
            If it is not in the window, or no token lies there.
        """
        flat = self._cell(point)
        if flat is None:
            raise InputRefused(
                "outside-window", "a place inside the window the model looked at.",
                f"{tuple(round(value) for value in point)} is outside.",
                "Choose another place, or another organ's window.",
            )  # fmt: skip
        return flat

    def _cell(self, point: Point) -> int | None:
        at = np.rint(voxel_of(self.affine, point)).astype(int)
        if (at < 0).any() or (at >= self.shape).any():
            return None
        flat = int(np.ravel_multi_index(tuple(at), self.shape))
        return flat if all((layout == flat).any() for layout in self.layouts) else None


def plain(shape: Sequence[int]) -> tuple[Cells, ...]:
    """Return the layout of a tower whose tokens all attend to one another."""
    return (np.arange(int(np.prod(shape)), dtype=np.int64)[None],)


def no_organ(organ: str, known: Sequence[str]) -> InputRefused:
    """Return the refusal of an organ that the model or the scan does not have."""
    return InputRefused(
        "organ-missing", "an organ of the model that is in this scan.",
        f"{organ or 'None'} of {', '.join(known)} is.", "Choose another organ.",
    )  # fmt: skip


def holding(frames: Iterable[Frame], point: Point, organ: str, known: Sequence[str]) -> Frame:
    """Return the frame of an organ, or without one the first frame that holds a place.

    Raises
    ------
    InputRefused
        If there is none.
    """
    last = None
    for last in frames:
        if organ or last.holds(point):
            return last
    if last is None:
        raise no_organ(organ, known)
    return last
