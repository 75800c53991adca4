"""Every use of a napari private name, with the version it was seen in.

Without one of them a feature switches off; the application goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.components.overlays import SceneOverlay, TextOverlay
from napari.layers import Image, Layer
from numpy.typing import NDArray
from pydantic import PrivateAttr
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_ctvlp.ui.marks import Sheet

#: Half length of a crosshair line in mm: beyond any scan.
_REACH_MM = 1e4
#: What a layer tells with every slice.
_OF_A_SLICE = frozenset({"set_data", "_extent_augmented", "extent", "highlight"})
#: A layer's thumbnail is made at most so often, ms.
_THUMBNAIL_MS = 500
#: Left free around the point itself, in mm, so that it can be seen.
_GAP_MM = 6.0


class Crosshair(SceneOverlay):  # type: ignore[misc]
    """Lines that meet at a world point; an overlay, so that it changes neither extent nor sliders.

    Attributes
    ----------
    position : tuple of float
        World (I, P, L) mm.
    color : str
    """

    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    color: str = "#ffd24a"


def _register_crosshair() -> bool:
    """Tell napari how to draw :class:`Crosshair` (private names seen in 0.9.2 and 0.10.0rc1)."""
    try:
        from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
        from napari._vispy.utils.visual import overlay_to_visual
        from vispy.scene.visuals import Line
    except ImportError:
        return False

    class VispyCrosshair(ViewerOverlayMixin, VispySceneOverlay):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            node = Line(connect="segments", width=1, antialias=False)
            super().__init__(node=node, **kwargs)
            self.overlay.events.position.connect(self._draw)
            self.viewer.dims.events.order.connect(self._draw)
            self.viewer.dims.events.ndisplay.connect(self._draw)
            self.reset()
            self._draw()

        def _draw(self, event: object = None) -> None:
            displayed = list(self.viewer.dims.displayed)
            if len(displayed) != 2 or max(displayed) > 2:
                self.node.visible = False
                return
            point = np.array(self.overlay.position)[displayed][::-1]
            arms = np.concatenate([np.eye(2), -np.eye(2)])
            ends = [[point + arm * _GAP_MM, point + arm * _REACH_MM] for arm in arms]
            self.node.set_data(pos=np.concatenate(ends), color=self.overlay.color)
            self._on_visible_change()

        def close(self) -> None:
            self.overlay.events.position.disconnect(self._draw)
            self.viewer.dims.events.order.disconnect(self._draw)
            self.viewer.dims.events.ndisplay.disconnect(self._draw)
            super().close()

    overlay_to_visual[Crosshair] = VispyCrosshair
    return True


HAS_CROSSHAIR = _register_crosshair()


class Strokes(SceneOverlay):  # type: ignore[misc]
    """Pieces of lines in a view's plane; an overlay, so that scrolling rebuilds no layer.

    Attributes
    ----------
    stamp : int
        Rises when there are other pieces.
    """

    stamp: int = 0
    _ends: Any = PrivateAttr(default=None)
    _colours: Any = PrivateAttr(default=None)

    def show(self, ends: NDArray[np.float64], colours: NDArray[np.float32]) -> None:
        """Draw pieces, shape (n, 2, 3) in world (I, P, L) mm, each in its RGBA, shape (n, 4)."""
        if len(ends) or (self._ends is not None and len(self._ends)):
            self._ends, self._colours = ends, colours
            self.stamp += 1

    def on(self, axes: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return both ends of every piece on two world axes, and a colour for each end."""
        if self._ends is None or not len(self._ends):
            return np.zeros((2, 2), np.float32), np.zeros((2, 4), np.float32)
        flat = self._ends.reshape(-1, 3)[:, axes]
        return flat.astype(np.float32), np.repeat(self._colours, 2, axis=0)


def _register_strokes() -> bool:
    """Tell napari how to draw :class:`Strokes` (private names seen in 0.9.2 and 0.10.0rc1)."""
    try:
        from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
        from napari._vispy.utils.visual import overlay_to_visual
        from vispy.scene.visuals import Line
    except ImportError:
        return False

    class VispyStrokes(ViewerOverlayMixin, VispySceneOverlay):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(node=Line(connect="segments", width=1.5, antialias=False), **kwargs)
            self.overlay.events.stamp.connect(self._draw)
            self.reset()
            self._draw()

        def _draw(self, event: object = None) -> None:
            displayed = list(self.viewer.dims.displayed)
            if len(displayed) != 2 or max(displayed) > 2:
                self.node.visible = False
                return
            pos, color = self.overlay.on(displayed[::-1])
            self.node.set_data(pos=pos, color=color)
            self._on_visible_change()

        def close(self) -> None:
            self.overlay.events.stamp.disconnect(self._draw)
            super().close()

    overlay_to_visual[Strokes] = VispyStrokes
    return True


HAS_STROKES = _register_strokes()


class Fill(SceneOverlay):  # type: ignore[misc]
    """Pictures in a view's plane; an overlay, since napari takes 5 ms and more to slice a layer.

    Attributes
    ----------
    stamp : int
        Rises when there are other pictures.
    """

    stamp: int = 0
    order: int = 10**6 - 1
    _sheets: Any = PrivateAttr(default=())

    def show(self, sheets: Sequence[Sheet]) -> None:
        """Draw pictures, the lowest first."""
        if sheets or self._sheets:
            self._sheets = tuple(sheets)
            self.stamp += 1

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """What is drawn."""
        drawn: tuple[Sheet, ...] = self._sheets
        return drawn


class Filled(Image):  # type: ignore[misc]
    """An image layer in the list that napari neither slices nor draws: a :class:`Fill` shows it."""

    _type_string = "image"

    def _slice_dims(self, dims: object, force: bool = False) -> None:
        """Stay as it is."""

    def _update_draw(self, *args: object, **kwargs: object) -> None:
        """Stay as it is."""

    def _update_thumbnail(self) -> None:
        """Have none: there is no slice."""


def _register_fill() -> bool:
    """Tell napari how to draw :class:`Fill`, and nothing for :class:`Filled` (seen in 0.9.2)."""
    try:
        from napari._vispy.layers.base import VispyBaseLayer
        from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
        from napari._vispy.utils.visual import layer_to_visual, overlay_to_visual
        from vispy.scene import Node

        from napari_ctvlp.ui.marks import Picture
    except ImportError:
        return False
    if not (hasattr(Image, "_slice_dims") and hasattr(Image, "_update_draw")):
        return False

    class VispyFill(ViewerOverlayMixin, VispySceneOverlay):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(node=Picture("linear"), **kwargs)
            self._pictures = [self.node]
            self.overlay.events.stamp.connect(self._draw)
            self._draw()

        def _draw(self, event: object = None) -> None:
            sheets, pictures = self.overlay.sheets, self._pictures
            while len(pictures) < len(sheets):
                pictures.append(Picture("linear", parent=self.node))
            for number, picture in enumerate(pictures):
                picture.visible = number < len(sheets)
            for picture, sheet in zip(pictures, sheets, strict=False):
                picture.lay(sheet)

        def close(self) -> None:
            self.overlay.events.stamp.disconnect(self._draw)
            super().close()

    class VispyFilled(VispyBaseLayer):  # type: ignore[misc]
        def __init__(self, layer: Layer, **kwargs: Any) -> None:
            super().__init__(layer, Node(), **kwargs)

        def _nothing(self, event: object = None) -> None:
            """Draw nothing."""

        _on_data_change = _on_blending_change = _on_matrix_change = _on_refresh_change = _nothing

    overlay_to_visual[Fill] = VispyFill
    layer_to_visual[Filled] = VispyFilled
    return True


HAS_FILL = _register_fill()


class Mark(TextOverlay):  # type: ignore[misc]
    """A text overlay that is cheap to change and to paint (else napari's own draws it)."""


def _register_mark() -> bool:
    """Tell napari how to draw :class:`Mark` (private names seen in 0.9.2 and 0.10.0rc1)."""
    try:
        from napari._vispy.overlays.base import ViewerOverlayMixin, VispyCanvasOverlay
        from napari._vispy.utils.visual import overlay_to_visual

        from napari_ctvlp.ui.marks import Picture, written
    except ImportError:
        return False

    class VispyMark(ViewerOverlayMixin, VispyCanvasOverlay):  # type: ignore[misc]
        x_size: float
        y_size: float

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(node=Picture(), **kwargs)
            for name in _MARK_EVENTS:
                getattr(self.overlay.events, name).connect(self._write)
            self.reset()
            self._write()

        def _on_box_change(self) -> None:
            """The box is part of the picture."""

        def _write(self) -> None:
            overlay = self.overlay
            native = getattr(self.node.canvas, "native", None)
            ratio = float(native.devicePixelRatioF()) if native is not None else 1.0
            colour = overlay.color if overlay.color is not None else self._get_fgcolor()
            box = overlay.box_color if overlay.box else None
            picture = written(
                overlay.text, overlay.font_size, colour, box, self._font_info.face, ratio
            )
            self.node.show(picture, ratio)
            size = (picture.shape[1] / ratio, picture.shape[0] / ratio)
            if size != (self.x_size, self.y_size):
                self.x_size, self.y_size = size
                self._on_position_change()

        def close(self) -> None:
            for name in _MARK_EVENTS:
                getattr(self.overlay.events, name).disconnect(self._write)
            super().close()

    overlay_to_visual[Mark] = VispyMark
    return True


_MARK_EVENTS = ("text", "color", "font_size", "box", "box_color")
_register_mark()


def without_thumbnail(layer: Layer) -> None:
    """Spare a layer of which nobody sees the thumbnail (private name seen in 0.9.2, 0.10.0rc1)."""
    if hasattr(layer, "_update_thumbnail"):
        layer._update_thumbnail = lambda: None


def calm_list(viewer: ViewerModel) -> None:
    """Let a new slice leave the layer list alone (private names seen in 0.9.2).

    napari paints all its rows anew with everything that a layer tells, such as its new slice.
    """
    qt_viewer = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
    model = getattr(qt_viewer, "layers", None)
    while model is not None and not hasattr(model, "_process_event"):
        inner = getattr(model, "sourceModel", None) or getattr(model, "model", None)
        model = inner() if inner is not None else None
    if model is None:
        return
    process = model._process_event

    def loud(event: Any) -> None:
        if event.type not in _OF_A_SLICE:
            process(event)

    model._process_event = loud


def seldom_thumbnail(layer: Layer) -> None:
    """Make a layer's thumbnail less often than slices come (private name seen in 0.9.2).

    Each new one repaints every row of the layer list.
    """
    if not hasattr(layer, "_update_thumbnail"):
        return
    update, waiting = layer._update_thumbnail, [False]

    def now() -> None:
        waiting[0] = False
        update()

    def later() -> None:
        if not waiting[0]:
            waiting[0] = True
            QTimer.singleShot(_THUMBNAIL_MS, now)

    layer._update_thumbnail = later


def main_canvas(viewer: ViewerModel) -> QWidget | None:
    """Return the widget that paints the main view (private name seen in 0.9.2 and 0.10.0rc1)."""
    window = getattr(viewer, "window", None)
    qt_viewer = getattr(window, "_qt_viewer", None)
    return getattr(getattr(qt_viewer, "canvas", None), "native", None)


def plain_viewer(viewer: Any) -> ViewerModel:
    """Take the viewer out of the proxy that napari hands to plugins (seen in 0.9.2)."""
    bare: ViewerModel = getattr(viewer, "__wrapped__", viewer)
    return bare


def drop_target(viewer: ViewerModel) -> QWidget | None:
    """Return the widget that files are dropped on (private name seen in 0.9.2 and 0.10.0rc1)."""
    target: QWidget | None = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
    return target
