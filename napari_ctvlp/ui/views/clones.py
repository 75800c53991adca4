"""Copies of the main view's layers in another view: data shared, looks followed."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels, Layer, Shapes
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_ctvlp.ui._compat import without_thumbnail
from napari_ctvlp.ui.calm import paint_later
from napari_ctvlp.ui.layers import ALONE

#: What a copy takes over from its original when it changes there.
FOLLOWED = (
    "data", "visible", "opacity", "contrast_limits", "gamma", "colormap", "blending",
    "interpolation2d", "contour", "name", "projection_mode", "features",
)  # fmt: skip
#: What says that voxels of a labels layer were painted over in place.
PAINTED = ("paint", "set_data")
#: Changes within this time are passed on together, the latest wins.
COALESCE_MS = 30
#: A new layer is copied so much later, ms: each copy takes its time.
LAYER_MS = 200


class Clones(QObject):
    """Keeps the layers of ``target`` the same as those of ``source``, one way.

    One layer object cannot live in two views (napari keeps the slice on it), so each gets a
    copy around the same array.

    Parameters
    ----------
    source, target : ViewerModel
    canvas : QWidget, optional
        Paints ``target``.
    place : int
        Views with different places take their turns apart and do not stall the window together.
    """

    def __init__(
        self,
        source: ViewerModel,
        target: ViewerModel,
        canvas: QWidget | None = None,
        place: int = 0,
    ) -> None:
        super().__init__()
        self.source, self.target, self.canvas = source, target, canvas
        self.delay_ms, self.layer_ms = COALESCE_MS * (1 + place), LAYER_MS * (1 + place)
        self._waiting: list[Layer] = []
        self.copies: dict[Layer, Layer] = {}
        self._changed: set[tuple[Layer, str]] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.flush)
        for layer in source.layers:
            if ALONE not in layer.metadata:
                self._add(layer)
        source.layers.events.inserted.connect(self._inserted)
        source.layers.events.removed.connect(self._removed)
        source.layers.events.moved.connect(self._moved)

    def flush(self) -> None:
        """Pass on what has changed since the last time: new layers, then looks."""
        waiting, self._waiting = self._waiting, []
        for layer in waiting:
            self._add(layer)
        if waiting:
            self._moved()
        changed, self._changed = self._changed, set()
        for layer, name in changed:
            copy = self.copies.get(layer)
            if copy is not None:
                _pass_on(layer, copy, name)

    def close(self) -> None:
        """Let go of both views."""
        self._timer.stop()
        events = self.source.layers.events
        events.inserted.disconnect(self._inserted)
        events.removed.disconnect(self._removed)
        events.moved.disconnect(self._moved)
        for layer in list(self.copies):
            self._forget(layer)

    def _inserted(self, event: Any) -> None:
        if ALONE not in event.value.metadata:
            self._waiting.append(event.value)
            self._timer.start(self.layer_ms)

    def _add(self, layer: Layer) -> None:
        copy = Layer.create(*layer.as_layer_data_tuple())
        without_thumbnail(copy)
        self.copies[layer] = copy
        paint_later(self.canvas)
        self.target.layers.append(copy)
        for name in _followed(layer):
            getattr(layer.events, name).connect(self._note)

    def _note(self, event: Any) -> None:
        if event.type == "set_data" and not event.source.editable:
            return
        self._changed.add((event.source, event.type))
        if not self._waiting:
            self._timer.start(self.delay_ms)

    def _removed(self, event: Any) -> None:
        if event.value in self._waiting:
            self._waiting.remove(event.value)
        copy = self._forget(event.value)
        if copy is not None and copy in self.target.layers:
            self.target.layers.remove(copy)

    def _forget(self, layer: Layer) -> Layer | None:
        copy = self.copies.pop(layer, None)
        self._changed = {pair for pair in self._changed if pair[0] is not layer}
        for name in _followed(layer) if copy is not None else ():
            getattr(layer.events, name).disconnect(self._note)
        return copy

    def _moved(self, event: Any = None) -> None:
        """Bring the copies into the order of their originals."""
        copies = [self.copies[layer] for layer in self.source.layers if layer in self.copies]
        for place, copy in enumerate(copies):
            if self.target.layers.index(copy) != place:
                self.target.layers.move(self.target.layers.index(copy), place)


def _followed(layer: Layer) -> list[str]:
    """Name the events of a layer that its copies hear."""
    names = (*FOLLOWED, *PAINTED) if isinstance(layer, Labels) else FOLLOWED
    return [name for name in names if hasattr(layer.events, name)]


def _pass_on(layer: Layer, copy: Layer, name: str) -> None:
    if name in PAINTED:
        copy.refresh()
    elif name == "data" and isinstance(layer, Shapes):
        copy.data = list(zip(layer.data, layer.shape_type, strict=True))
    else:
        setattr(copy, name, getattr(layer, name))
