"""One crosshair for all views: a click, a jump or a scroll in one moves the others."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import QObject, QTimer

from napari_ctvlp.core.geometry import ras_to_screen, screen_to_ras
from napari_ctvlp.ui._compat import HAS_CROSSHAIR, Crosshair
from napari_ctvlp.ui.session import Session
from napari_ctvlp.ui.views.clones import COALESCE_MS
from napari_ctvlp.ui.views.labels import CanvasLabels
from napari_ctvlp.ui.views.mouse import Hands

_OVERLAY = "ctvlp crosshair"
#: A view's slice axis, then what is drawn downward, then rightward.
ORDERS = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
#: napari's "roll" gives this order, a coronal lying on its side.
_ROLLED = (1, 2, 0)


class Link(QObject):
    """Binds views to the session's point; the session is the one source of truth.

    Parameters
    ----------
    session : Session
    on_hover : callable
        Called with the point under the cursor, RAS mm.
    """

    def __init__(self, session: Session, on_hover: Any) -> None:
        super().__init__()
        self.session = session
        self.on_hover = on_hover
        session.point_changed.connect(self._wanted)
        self.views: list[tuple[ViewerModel, CanvasLabels, Hands]] = []
        self._busy = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.spread)

    def add(self, model: ViewerModel, plane: str) -> None:
        """Make a view one of ours: plane, camera, letters, mouse and crosshair."""
        model.scene.camera.orientation = ("towards", "down", "right")
        if model.dims.ndim == 3:
            model.dims.order = ORDERS[plane]
        if HAS_CROSSHAIR:
            model.scene.overlays[_OVERLAY] = Crosshair(visible=False)
        self.views.append(
            (model, CanvasLabels(model), Hands(model, self.session.look_at, self.on_hover))
        )
        model.dims.events.point.connect(self._scrolled)
        model.dims.events.order.connect(self._reordered)
        self.spread()

    def remove(self, model: ViewerModel) -> None:
        """Let go of a view."""
        for entry in [view for view in self.views if view[0] is model]:
            self.views.remove(entry)
            entry[1].close()
            entry[2].close()
            model.dims.events.point.disconnect(self._scrolled)
            model.dims.events.order.disconnect(self._reordered)

    def close(self) -> None:
        """Let go of every view."""
        self.session.point_changed.disconnect(self._wanted, missing_ok=True)
        for model, _, _ in list(self.views):
            self.remove(model)

    def spread(self, most: int | None = None) -> None:
        """Bring slices and crosshairs of all views, or the ``most`` first, to the point."""
        point = self.session.point
        if point is None or self._busy:
            return
        screen = tuple(ras_to_screen(point).tolist())
        self._busy = True
        try:
            for model, _, _ in self.views[:most]:
                if model.dims.ndim == 3:
                    _go(model, screen)
        finally:
            self._busy = False

    def _wanted(self, point: object) -> None:
        """Move the main view now and the others a moment later, the latest wish only."""
        self.spread(1)
        self._timer.start(COALESCE_MS)

    def _scrolled(self, event: Any) -> None:
        """Take the new slice of the view that was scrolled into the session's point."""
        dims = event.source
        if self._busy or len(dims.point) != 3 or self.session.point is None:
            return
        screen = ras_to_screen(self.session.point)
        axis = dims.order[0]
        if abs(screen[axis] - dims.point[axis]) > 1e-6:
            screen[axis] = dims.point[axis]
            r, a, s = screen_to_ras(screen).tolist()
            self.session.look_at((r, a, s))

    def _reordered(self, event: Any) -> None:
        if tuple(event.source.order) == _ROLLED:
            event.source.order = ORDERS["coronal"]


def _go(model: ViewerModel, screen: tuple[float, ...]) -> None:
    """Show the slice through a world point, and the crosshair on it."""
    axis = model.dims.order[0]
    if abs(model.dims.point[axis] - screen[axis]) > 1e-6:
        model.dims.set_point(axis, screen[axis])
    cross = model.scene.overlays.get(_OVERLAY)
    if cross is not None:
        cross.position = screen
        cross.visible = True
