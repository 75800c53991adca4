"""The dock of linked views: coronal and sagittal beside the main axial canvas."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import QLabel, QMainWindow, QSplitter, QToolBar, QVBoxLayout, QWidget

from napari_ctvlp.ui.desk import ORDERS
from napari_ctvlp.ui.panel import NARROW
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Point
from napari_ctvlp.ui.views.bars import Hint, ReadoutBar, ViewBar, put_into, take_out
from napari_ctvlp.ui.views.clones import Clones
from napari_ctvlp.ui.views.closing import put_away
from napari_ctvlp.ui.views.keys import Keys
from napari_ctvlp.ui.views.link import Link
from napari_ctvlp.ui.views.readout import describe

#: The placeholder stands this long before the first canvas is made, ms.
FIRST_MS = 150
_SIDE = ("coronal", "sagittal")


def _nothing(layout: str) -> None:
    """Leave the docks where they are."""


class Planes(QWidget):
    """Two more planes, and the bars of view controls and readout around the window.

    Opening it shows a placeholder at once; the canvases follow in the next turns of the
    event loop, since each costs several hundred milliseconds.

    Parameters
    ----------
    room : Room
        Its viewer is the main view.
    on_layout : callable
        Called with a layout's name when the user chose one.
    """

    def __init__(self, room: Room, on_layout: Callable[[str], None] = _nothing) -> None:
        super().__init__()
        self._viewer = weakref.ref(room.viewer)
        self.desk, self.session = room.desk, room.session
        self.models: dict[str, ViewerModel] = {}
        self.canvases: dict[str, QtViewer] = {}
        self.clones: list[Clones] = []
        self.link: Link | None = None
        self.readout = QLabel()
        self._on_layout = on_layout
        self._held: list[Link | Clones | Keys] = []
        self._bars: list[QToolBar] = []
        self.destroyed.connect(partial(_let_go, self._held))
        self._place = QSplitter(Qt.Orientation.Vertical)
        self._waiting = QLabel("Opening coronal and sagittal ...")
        self._place.addWidget(self._waiting)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addWidget(self._place, stretch=1)
        self.setMinimumWidth(NARROW)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.build)
        self._timer.start(FIRST_MS)

    def build(self) -> None:
        """Bind the main view, then open the next plane that is missing while the dock is shown."""
        viewer = self._viewer()
        if viewer is None or not self.window().isVisible():
            return
        link = self.link or self._attach(viewer)
        missing = [plane for plane in _SIDE if plane not in self.canvases]
        if not missing or not self.isVisible():
            return
        self._open(viewer, link, missing[0])
        if missing[1:]:
            self._timer.start(0)
        self._waiting.setVisible(bool(missing[1:]))

    def fit(self) -> None:
        """Fit every view to the data."""
        self.desk.fit()

    def flush(self) -> None:
        """Bring all views up to date now (before a screenshot)."""
        for clones in self.clones:
            clones.flush()
        if self.link is not None:
            self.link.spread()

    def shut(self) -> None:
        """Close the canvases and the bars, and let go of the main view."""
        self._timer.stop()
        self.desk.layout_changed.disconnect(self._on_layout, missing_ok=True)
        _let_go(self._held)
        take_out(self._bars)
        self.link = None
        self.clones.clear()
        put_away(*self.canvases.values())
        self.canvases.clear()
        self.models.clear()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Close the canvases with the dock."""
        self.shut()
        super().closeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in, and open the planes if they are not."""
        super().showEvent(event)
        self.window().installEventFilter(self)
        if len(self.canvases) < len(_SIDE):
            self._timer.start(FIRST_MS)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Close the canvases when their window closes (which hides it)."""
        if event.type() == QEvent.Type.Hide and not event.spontaneous():
            self.shut()
        return super().eventFilter(watched, event)

    def _attach(self, viewer: ViewerModel) -> Link:
        """Make the main view one of ours, and put the bars around its window."""
        self.models["axial"] = viewer
        self.link = Link(self.desk, self._hovered)
        self._held += [self.link, Keys(viewer, self.desk)]
        self.link.add(viewer, "axial")
        self.desk.layout_changed.connect(self._on_layout)
        main = self.window()
        if isinstance(main, QMainWindow) and not main.findChildren(ViewBar):
            readout = ReadoutBar()
            self.readout = readout.words
            self._bars = [ViewBar(self.desk), readout, *([Hint()] if Hint.wanted() else [])]
            put_into(main, *self._bars)
        return self.link

    def _open(self, viewer: ViewerModel, link: Link, plane: str) -> None:
        model = ViewerModel(title=plane)
        canvas = QtViewer(model)
        canvas.setAcceptDrops(False)
        canvas.setMinimumHeight(120)
        self._place.addWidget(canvas)
        self.models[plane], self.canvases[plane] = model, canvas
        clones = Clones(viewer, model, canvas.canvas.native, len(self.clones))
        self.clones.append(clones)
        self._held += [clones, Keys(model, self.desk)]
        model.dims.order = ORDERS[plane] if model.dims.ndim == 3 else model.dims.order
        link.add(model, plane)
        model.layers.events.inserted.connect(self._filled)
        model.fit_to_view()

    def _filled(self, event: Any) -> None:
        """Turn a view that was empty until now to its plane."""
        for plane, model in self.models.items():
            if plane != "axial" and model.dims.ndim == 3 and len(model.layers) == 1:
                model.dims.order = ORDERS[plane]
                model.fit_to_view()

    def _hovered(self, point: Point) -> None:
        study = self.session.study
        if study is not None:
            self.readout.setText(describe(study, point))


def _let_go(held: list[Link | Clones | Keys], _: object = None) -> None:
    """Disconnect everything from the main view, whichever way the dock ends."""
    while held:
        held.pop().close()
