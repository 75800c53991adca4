"""Surfaces: the outsides of organs as triangles in patient millimetres."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Surfaces:
    """Triangles of several organs, one after the other.

    Attributes
    ----------
    names : tuple of str
        House names of the organs, in the order of their triangles.
    vertices : ndarray, shape (n, 3), float32
        RAS mm.
    faces : ndarray, shape (m, 3), int32
        Three rows of ``vertices`` each.
    vertex_ends, face_ends : tuple of int
        Where each organ's vertices and faces end.
    """

    names: tuple[str, ...]
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    vertex_ends: tuple[int, ...]
    face_ends: tuple[int, ...]

    def faces_of(self, names: Collection[str]) -> NDArray[np.int32]:
        """Return the triangles of some organs, shape (m, 3)."""
        starts = (0, *self.face_ends)
        kept = [
            self.faces[start:end]
            for name, start, end in zip(self.names, starts, self.face_ends, strict=False)
            if name in names
        ]
        return np.concatenate(kept) if kept else np.empty((0, 3), np.int32)

    def owner(self) -> NDArray[np.intp]:
        """Return for each vertex the place of its organ in ``names``, shape (n,)."""
        counts = np.diff((0, *self.vertex_ends))
        return np.repeat(np.arange(len(self.names)), counts)
