"""Organs drawn as outlines alone, until somebody chooses other organs."""

from __future__ import annotations

from napari.layers import Labels

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.room import Room

#: Width of an outline in voxels, and how strongly it is drawn.
WIDTH, STRONG = 1, 0.9


class Outline:
    """Shows some organs of a room in outline, and everything as before afterwards.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.names: frozenset[str] = frozenset()
        self._before: tuple[frozenset[str], float] | None = None
        room.session.shown_organs_changed.connect(self._chosen)

    def draw(self, names: frozenset[str]) -> None:
        """Draw these organs in outline and hide the others."""
        layer = self._layer()
        if layer is None or not names:
            return
        if self._before is None:
            self._before = self.room.session.shown_organs, layer.opacity
        self.names = names
        self.room.session.show_organs(names)
        layer.contour, layer.opacity, layer.visible = WIDTH, STRONG, True

    def undo(self) -> None:
        """Fill the organs again that were shown before."""
        if self._before is not None:
            shown, self.names = self._before[0], frozenset()
            self.room.session.show_organs(shown)

    def _chosen(self, names: frozenset[str]) -> None:
        """Fill organs again as soon as somebody chooses others."""
        layer, before = self._layer(), self._before
        if before is None or names == self.names:
            return
        self._before, self.names = None, frozenset()
        if layer is not None:
            layer.contour, layer.opacity = 0, before[1]

    def _layer(self) -> Labels | None:
        layers = (one for one in self.room.viewer.layers if isinstance(noun_of(one), AnatomyMap))
        found = next(layers, None)
        return found if isinstance(found, Labels) else None
