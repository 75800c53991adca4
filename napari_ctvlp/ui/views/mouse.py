"""Mouse of every view: wheel through slices, click or drag the crosshair, right drag windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel

from napari_ctvlp.core.geometry import ras_to_screen, screen_to_ras
from napari_ctvlp.ui.choices import preference
from napari_ctvlp.ui.desk import Desk, step_slices

#: A press and a release closer than this, in screen pixels, are a click.
_CLICK_PX = 3.0
#: A press so close to the crosshair's middle takes hold of it, in screen pixels.
_GRAB_PX = 9.0
#: HU per pixel of a right drag, as a share of the window's width, and its bounds.
_GAIN, _GAIN_HU = 1 / 250, (0.02, 12.0)
Point = tuple[float, float, float]


def world_point(position: Any) -> Point | None:
    """Return RAS mm of a cursor position in world (I, P, L) mm, or None if it is not 3D."""
    if len(position) != 3:
        return None
    r, a, s = screen_to_ras(position).tolist()
    return r, a, s


class Hands:
    """Callbacks of one view.

    Parameters
    ----------
    model : ViewerModel
    desk : Desk
        Its session's point and its windows are what the hands move.
    on_hover : callable
        Called with the point under the cursor, RAS mm.
    """

    def __init__(self, model: ViewerModel, desk: Desk, on_hover: Callable[[Point], None]) -> None:
        self.desk = desk
        self.on_hover = on_hover
        self._turned = 0.0
        self._callbacks = (
            (model.mouse_wheel_callbacks, self._wheel),
            (model.mouse_drag_callbacks, self._drag),
            (model.mouse_move_callbacks, self._move),
        )
        for callbacks, callback in self._callbacks:
            callbacks.append(callback)

    def close(self) -> None:
        """Take the callbacks back."""
        for callbacks, callback in self._callbacks:
            if callback in callbacks:
                callbacks.remove(callback)

    def _wheel(self, model: ViewerModel, event: Any) -> None:
        """Scroll slices; touchpads send small steps, which add up. With Shift, zoom."""
        if model.dims.ndisplay != 2 or model.dims.ndim != 3:
            return
        modifiers = {str(one).lower() for one in event.modifiers}
        if modifiers == {"shift"}:
            event.handled = True
            model.scene.camera.zoom *= float(1.1 ** (event.delta[1] or event.delta[0]))
        elif not modifiers and preference("reading", "wheel", "slices") == "slices":
            event.handled = True
            self._turned += float(event.delta[1])
            steps = int(self._turned)
            if steps:
                self._turned -= steps
                step_slices(model, -steps)

    def _drag(self, model: ViewerModel, event: Any) -> Iterator[None]:
        """Tell a drag from a click: whatever is not ours stays what napari makes of it."""
        modifiers = {str(one).lower() for one in event.modifiers}
        if model.dims.ndisplay != 2 or model.dims.ndim != 3 or _drawing(model):
            return
        if event.button == 2 and not modifiers:
            yield from self._window(event)
        elif event.button == 1 and (modifiers == {"shift"} or self._grabbed(model, event)):
            yield from self._carry(event)
        elif event.button == 1 and not modifiers:
            yield from self._click(event)

    def _window(self, event: Any) -> Iterator[None]:
        """Change level (down is darker) and width (right is wider)."""
        layer = self.desk.ct()
        if layer is None:
            return
        event.handled = True
        low, high = layer.contrast_limits
        (x, y), level, width = event.pos, (low + high) / 2, high - low
        gain = float(np.clip(width * _GAIN, *_GAIN_HU))
        yield
        while event.type == "mouse_move":
            wide = max(width + gain * (event.pos[0] - x), 1e-3 * width, 1e-6)
            middle = level + gain * (event.pos[1] - y)
            self.desk.window((middle - wide / 2, middle + wide / 2))
            event.handled = True
            yield

    def _carry(self, event: Any) -> Iterator[None]:
        """Take the crosshair along."""
        event.handled = True
        self._look(event)
        yield
        while event.type == "mouse_move":
            event.handled = True
            self._look(event)
            yield

    def _click(self, event: Any) -> Iterator[None]:
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos) - start).max() < _CLICK_PX:
            self._look(event)

    def _look(self, event: Any) -> None:
        point = world_point(event.position)
        if point is not None:
            self.desk.session.look_at(point)

    def _grabbed(self, model: ViewerModel, event: Any) -> bool:
        """Tell whether a press without modifiers is on the middle of the crosshair."""
        point = self.desk.session.point
        if event.modifiers or point is None or not self.desk.crosshair:
            return False
        away = np.asarray(event.position) - ras_to_screen(point)
        shown = list(model.dims.displayed)
        return bool(np.abs(away[shown]).max() * model.scene.camera.zoom < _GRAB_PX)

    def _move(self, model: ViewerModel, event: Any) -> None:
        point = world_point(event.position)
        if point is not None:
            self.on_hover(point)


def _drawing(model: ViewerModel) -> bool:
    """Tell whether the selected layer wants the mouse for itself."""
    active = model.layers.selection.active
    return str(getattr(active, "mode", "pan_zoom")) not in ("pan_zoom", "transform")
