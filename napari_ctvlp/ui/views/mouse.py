"""Mouse and keys of every view: wheel through slices, click to look, hover to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel

from napari_ctvlp.core.geometry import screen_to_ras

#: A press and a release closer than this, in screen pixels, are a click.
_CLICK_PX = 3.0
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
    on_click, on_hover : callable
        Called with a point in RAS mm.
    """

    def __init__(
        self,
        model: ViewerModel,
        on_click: Callable[[Point], None],
        on_hover: Callable[[Point], None],
    ) -> None:
        self.on_click = on_click
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
        """Scroll slices; touchpads send small steps, which add up."""
        if event.modifiers or model.dims.ndisplay != 2 or model.dims.ndim != 3:
            return
        event.handled = True
        self._turned += float(event.delta[1])
        steps = int(self._turned)
        if steps:
            self._turned -= steps
            step_slices(model, -steps)

    def _drag(self, model: ViewerModel, event: Any) -> Iterator[None]:
        """Look at a clicked point; a drag stays what napari makes of it."""
        if event.button != 1 or event.modifiers or model.dims.ndisplay != 2:
            return
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        point = world_point(event.position)
        if point is not None and np.abs(np.array(event.pos) - start).max() < _CLICK_PX:
            self.on_click(point)

    def _move(self, model: ViewerModel, event: Any) -> None:
        point = world_point(event.position)
        if point is not None:
            self.on_hover(point)


def step_slices(model: ViewerModel, steps: int) -> None:
    """Move a view by whole slices along its slice axis, within the data."""
    axis = model.dims.order[0]
    wanted = int(model.dims.current_step[axis]) + steps
    model.dims.set_current_step(axis, int(np.clip(wanted, 0, model.dims.nsteps[axis] - 1)))
