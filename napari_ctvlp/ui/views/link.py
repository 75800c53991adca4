"""One crosshair for all views: a click, a jump or a scroll in one moves the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from napari.components import Dims, ViewerModel
from qtpy.QtCore import QObject, QTimer

from napari_ctvlp.core.geometry import ras_to_screen, screen_to_ras
from napari_ctvlp.ui._compat import HAS_CROSSHAIR, Crosshair
from napari_ctvlp.ui.desk import ORDERS, Desk
from napari_ctvlp.ui.session import Point
from napari_ctvlp.ui.views.clones import COALESCE_MS
from napari_ctvlp.ui.views.filling import Filling
from napari_ctvlp.ui.views.labels import CanvasLabels
from napari_ctvlp.ui.views.mouse import Hands
from napari_ctvlp.ui.views.tracing import Tracing

_OVERLAY = "ctvlp crosshair"
#: Crosshairs follow a scrolling view so often, ms, and less often where the repaint of the other
#: views would take more than one part in so many of the time.
CROSS_MS, _PARTS = 350, 5
#: Slices closer than this are one, mm.
_SAME_MM = 1e-6
#: napari's "roll" gives this order, a coronal lying on its side.
_ROLLED = (1, 2, 0)


class Link(QObject):
    """Binds views to the session's point; the session is the one source of truth.

    Parameters
    ----------
    desk : Desk
        Its session holds the point, and it commands the views.
    on_hover : callable
        Called with the point under the cursor, RAS mm.
    source : ViewerModel, optional
        Whose maps are traced with lines; those of the main view when left out.
    """

    def __init__(self, desk: Desk, on_hover: Any, source: ViewerModel | None = None) -> None:
        super().__init__()
        self.desk = desk
        self.session = desk.session
        self.on_hover, self.source = on_hover, source
        self.session.point_changed.connect(self._wanted)
        desk.crosshair_changed.connect(self._cross)
        self.views: list[tuple[ViewerModel, CanvasLabels, Hands, Tracing]] = []
        self._fillings: dict[ViewerModel, Filling] = {}
        self._busy = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._due)
        self._late, self._rest, self._took_ms = False, COALESCE_MS, 0

    def add(self, model: ViewerModel, plane: str) -> None:
        """Make a view one of ours: plane, camera, letters, mouse and crosshair."""
        model.scene.camera.orientation = ("towards", "down", "right")
        if model.dims.ndim == 3:
            model.dims.order = ORDERS[plane]
        if HAS_CROSSHAIR:
            model.scene.overlays[_OVERLAY] = Crosshair(visible=False)
        self.desk.models.append(model)
        source = self.desk.models[0] if self.source is None else self.source
        labels, hands = CanvasLabels(model), Hands(model, self.desk, self.on_hover)
        self.views.append((model, labels, hands, Tracing(model, self.desk, source)))
        if model is not source:
            self._fillings[model] = Filling(model, source)
        model.dims.events.point.connect(self._scrolled)
        model.dims.events.order.connect(self._reordered)
        self.spread()

    def remove(self, model: ViewerModel) -> None:
        """Let go of a view."""
        for entry in [view for view in self.views if view[0] is model]:
            self.views.remove(entry)
            if model in self.desk.models:
                self.desk.models.remove(model)
            entry[1].close()
            entry[2].close()
            entry[3].close()
            if model in self._fillings:
                self._fillings.pop(model).close()
            model.dims.events.point.disconnect(self._scrolled)
            model.dims.events.order.disconnect(self._reordered)

    def close(self) -> None:
        """Let go of every view."""
        self._timer.stop()
        self.session.point_changed.disconnect(self._wanted, missing_ok=True)
        self.desk.crosshair_changed.disconnect(self._cross, missing_ok=True)
        for model, *_ in list(self.views):
            self.remove(model)

    def spread(self) -> None:
        """Bring slices and crosshairs of all views to the point."""
        point = self.session.point
        if point is None or self._busy:
            return
        screen = tuple(ras_to_screen(point).tolist())
        self._busy = True
        try:
            for model, *_ in self.views:
                if model.dims.ndim == 3:
                    _go(model, screen, self.desk.crosshair)
        finally:
            self._busy = False

    def _wanted(self, point: Point) -> None:
        """Move all views at once if they have rested; else when they have, to the latest wish.

        So a stream of wishes costs one round of all views per ``COALESCE_MS``. Where a view was
        scrolled no other needs a new slice: their crosshairs follow when the scrolling leaves
        time, every ``CROSS_MS`` or more.
        """
        behind = self._behind(point)
        rest = COALESCE_MS if behind else max(CROSS_MS, self._took_ms * _PARTS)
        if self._timer.isActive() and self._timer.interval() <= rest:
            self._late, self._rest = True, rest
            return
        self._late, self._rest = not behind, rest
        if behind:
            self.spread()
        self._timer.start(rest)

    def _due(self) -> None:
        """Follow the wishes that came while the views rested, and let them rest again."""
        if self._late:
            self._late, start = False, time.monotonic()
            self.spread()
            self._timer.start(self._rest)
            turn = partial(QTimer.singleShot, 0, self)  # two turns: the views are painted between
            turn(lambda: turn(lambda: self._painted(start)))

    def _painted(self, start: float) -> None:
        self._took_ms = round(1000 * (time.monotonic() - start))

    def _behind(self, point: Point) -> bool:
        """Tell whether a view shows another slice than the one through a point."""
        screen = ras_to_screen(point).tolist()
        flat = [model.dims for model, *_ in self.views if model.dims.ndim == 3]
        return any(abs(d.point[d.order[0]] - _nearest(d, screen)) > _SAME_MM for d in flat)

    def _cross(self, shown: bool) -> None:
        for model, *_ in self.views:
            cross = model.scene.overlays.get(_OVERLAY)
            if cross is not None:
                cross.visible = shown and self.session.point is not None

    def _scrolled(self, event: Any) -> None:
        """Take the new slice of the view that was scrolled into the session's point."""
        dims = event.source
        if self._busy or len(dims.point) != 3 or self.session.point is None:
            return
        screen = ras_to_screen(self.session.point)
        axis = dims.order[0]
        if abs(screen[axis] - dims.point[axis]) > _SAME_MM:
            screen[axis] = dims.point[axis]
            r, a, s = screen_to_ras(screen).tolist()
            self.session.look_at((r, a, s))

    def _reordered(self, event: Any) -> None:
        if tuple(event.source.order) == _ROLLED:
            event.source.order = ORDERS["coronal"]


def _go(model: ViewerModel, screen: tuple[float, ...], crosshair: bool) -> None:
    """Show the slice through a world point, and the crosshair on it."""
    axis, place = model.dims.order[0], _nearest(model.dims, screen)
    if abs(model.dims.point[axis] - place) > _SAME_MM:
        model.dims.set_point(axis, place)
    cross = model.scene.overlays.get(_OVERLAY)
    if cross is not None:
        cross.position = screen
        cross.visible = crosshair


def _nearest(dims: Dims, screen: Sequence[float]) -> float:
    """Return the slice next to a world point along a view's slice axis, mm.

    A view that is sent between two slices takes one step to the point and one to the slice.
    """
    axis = dims.order[0]
    start, stop, step = dims.range[axis]
    if step <= 0:
        return float(screen[axis])
    return float(np.clip(start + round((screen[axis] - start) / step) * step, start, stop))
