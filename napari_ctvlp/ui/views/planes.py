"""The dock of linked views: coronal and sagittal beside the main axial canvas."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSplitter, QVBoxLayout, QWidget

from napari_ctvlp.core.scan import Scan
from napari_ctvlp.ui.layers import OVER, WINDOWS, noun_of
from napari_ctvlp.ui.session import Point, Session
from napari_ctvlp.ui.views.clones import Clones
from napari_ctvlp.ui.views.keys import Keys
from napari_ctvlp.ui.views.link import ORDERS, Link
from napari_ctvlp.ui.views.readout import describe

#: The placeholder stands this long before the first canvas is made, ms.
FIRST_MS = 150


class Planes(QWidget):
    """Two more planes, window presets and the readout.

    Opening it shows a placeholder at once; the canvases follow in the next turns of the
    event loop, since each costs several hundred milliseconds.

    Parameters
    ----------
    viewer : ViewerModel
        The main view, which stays axial.
    session : Session
    """

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.session = session
        self.models: dict[str, ViewerModel] = {}
        self.canvases: dict[str, QtViewer] = {}
        self.clones: list[Clones] = []
        self.link: Link | None = None
        self._held: list[Link | Clones | Keys] = []
        self.destroyed.connect(partial(_let_go, self._held))
        self.readout = QLabel(" ")
        self.readout.setWordWrap(True)
        self.readout.setMinimumHeight(34)
        self._place = QSplitter(Qt.Orientation.Vertical)
        self._waiting = QLabel("Opening coronal and sagittal ...")
        self._place.addWidget(self._waiting)
        self._arrange()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.build)
        self._timer.start(FIRST_MS)

    def build(self) -> None:
        """Open the next plane that is missing; nothing while the dock is not shown."""
        viewer = self._viewer()
        missing = [plane for plane in ORDERS if plane not in self.canvases and plane != "axial"]
        if viewer is None or not missing or not self.window().isVisible():
            return
        if self.link is None:
            self.models["axial"] = viewer
            self.link = Link(self.session, self._hovered)
            self._held += [self.link, Keys(viewer, self.blink, self.set_window)]
            self.link.add(viewer, "axial")
        self._open(viewer, self.link, missing[0])
        if missing[1:]:
            self._timer.start(0)
        self._waiting.setVisible(bool(missing[1:]))

    def set_window(self, name: str) -> None:
        """Set the contrast of every CT to a preset of ``WINDOWS``."""
        viewer = self._viewer()
        for layer in viewer.layers if viewer is not None else ():
            if isinstance(layer, Image) and isinstance(noun_of(layer), Scan):
                layer.contrast_limits = WINDOWS[name]

    def blink(self) -> None:
        """Hide every overlay, or show them again."""
        viewer = self._viewer()
        over = [layer for layer in viewer.layers if OVER in layer.metadata] if viewer else []
        shown = any(layer.visible for layer in over)
        for layer in over:
            layer.visible = not shown

    def fit(self) -> None:
        """Fit every view to the data."""
        for model in self.models.values():
            model.fit_to_view()

    def flush(self) -> None:
        """Bring all views up to date now (before a screenshot)."""
        for clones in self.clones:
            clones.flush()
        if self.link is not None:
            self.link.spread()

    def shut(self) -> None:
        """Close the canvases and let go of the main view."""
        self._timer.stop()
        _let_go(self._held)
        self.link = None
        self.clones.clear()
        for canvas in self.canvases.values():
            canvas.setParent(None)
            canvas.close()
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
        if not self.canvases:
            self._timer.start(FIRST_MS)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Close the canvases when their window closes (which hides it)."""
        if event.type() == QEvent.Type.Hide and not event.spontaneous():
            self.shut()
        return super().eventFilter(watched, event)

    def _arrange(self) -> None:
        presets = QHBoxLayout()
        for number, name in enumerate(WINDOWS, start=1):
            button = QPushButton(name)
            button.setToolTip(
                f"Alt-{number}: window {WINDOWS[name][0]:.0f} to {WINDOWS[name][1]:.0f} HU"
            )
            button.clicked.connect(lambda _=False, chosen=name: self.set_window(chosen))
            presets.addWidget(button)
            button.setObjectName(f"preset {number}")
        fit = QPushButton("Fit")
        fit.setToolTip("Fit all views to the scan")
        fit.clicked.connect(lambda _=False: self.fit())
        presets.addWidget(fit)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addLayout(presets)
        layout.addWidget(self._place, stretch=1)
        layout.addWidget(self.readout)
        self.setMinimumWidth(330)

    def _open(self, viewer: ViewerModel, link: Link, plane: str) -> None:
        model = ViewerModel(title=plane)
        canvas = QtViewer(model)
        canvas.setAcceptDrops(False)
        canvas.setMinimumHeight(150)
        self._place.addWidget(canvas)
        self.models[plane], self.canvases[plane] = model, canvas
        clones = Clones(viewer, model, canvas.canvas.native, len(self.clones))
        self.clones.append(clones)
        self._held += [clones, Keys(model, self.blink, self.set_window)]
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
