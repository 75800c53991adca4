"""The compare dock: a second study beside the first, linked by world position."""

from __future__ import annotations

from functools import partial

from napari.components import ViewerModel
from napari.layers import Image
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QLabel, QPushButton, QWidget

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import CtvlpError, JobCancelled
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.docks.scale import scale_words
from napari_ctvlp.ui.drawn import DRAWN
from napari_ctvlp.ui.layers import ct_layer, dress, heat_arguments
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Look, Point, Study
from napari_ctvlp.ui.studies import studies_of
from napari_ctvlp.ui.views.closing import put_away
from napari_ctvlp.ui.views.link import Link

#: A dock that was raised has its size by then, ms.
_SHOWN_MS = 200
_EMPTY = (
    "In 'Studies', tick 'Open beside' and click a series: it is shown here. "
    "So is a second phrase or model, from 'Answers'."
)


class CompareDock(QWidget):
    """Shows another scan at the same place of the world; both scroll together.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.bridge, self.session = room, room.bridge, room.session
        self.other: Scan | None = None
        self.shown: Scan | None = None
        self.model: ViewerModel | None = None
        self.canvas: QtViewer | None = None
        self._links: list[Link] = []
        self._number = 0
        self.align = QPushButton("&Align")
        self.plain = QPushButton("As &it is")
        self.away = QPushButton("&Close it")
        self.bar = JobBar()
        self.state = QLabel(_EMPTY)
        self._arrange()
        self.destroyed.connect(partial(_let_go, self._links))
        self.align.clicked.connect(lambda _=False: self.align_it())
        self.plain.clicked.connect(lambda _=False: self._show(self.other))
        self.away.clicked.connect(lambda _=False: self.close_it())
        studies_of(room).beside.connect(self.compare_with)
        self.session.beside_wanted.connect(self.show_answer)
        self.session.look_changed.connect(self._dress)
        self.session.study_changed.connect(self._study)
        self.bridge.progressed.connect(self._progressed)
        self.bridge.finished.connect(self._finished)
        self.bridge.failed.connect(self._failed)

    def compare_with(self, scan: Scan) -> None:
        """Show a scan beside the study, at its own place in the world."""
        self._stop()
        self.other = scan
        self._show(scan)
        self._raise()

    def show_answer(self, heat: Heatmap) -> None:
        """Show another answer over the same scan: drawn as in the main view, on the same scale."""
        study = self.session.study
        if study is None:
            return
        self._stop()
        self.other = None
        self._show(study.scan)
        model = self._view()
        layer = Image(**heat_arguments(heat))
        dress(layer, self.session.look)
        model.layers.append(layer)
        for link in self._links:
            link.spread()
        self._buttons()
        self.state.setText(
            f"{heat.phrase.text} ({heat.model}): {heat.verdict}, peak {heat.peak:.2f}. "
            f"{scale_words(heat, self.session.look)}"
        )
        self._raise()

    def align_it(self) -> None:
        """Start the rigid alignment in the compute process; it is shown when it is done."""
        study = self.session.study
        if study is None or self.other is None:
            self.state.setText("Two studies are needed: one open, one beside it.")
            return
        self._number = self.bridge.submit("align", fixed=study.scan, moving=self.other)
        self.bar.setVisible(True)
        self.state.setText("Aligning ...")

    def close_it(self) -> None:
        """Take the second study away."""
        self._stop()
        self.other = self.shown = None
        self._shut()
        self._buttons()
        self.state.setText(_EMPTY)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Close the view with the dock."""
        self._shut()
        super().closeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in."""
        super().showEvent(event)
        self.window().installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Close the view when its window closes (which hides it)."""
        if event.type() == QEvent.Type.Hide and not event.spontaneous():
            self._shut()
        return super().eventFilter(watched, event)

    def _arrange(self) -> None:
        self.align.setToolTip("Turn and shift the second study onto the first (Alt-A)")
        self.plain.setToolTip("Show it unmoved, at its own coordinates (Alt-I)")
        self.away.setToolTip("Take the second study away (Alt-C)")
        wrap(self.state)
        self.bar.setVisible(False)
        self._body = column(self)
        self._body.addLayout(row(self.align, self.plain, self.away))
        self._body.addWidget(self.bar)
        self._body.addWidget(self.state)
        self._buttons()

    def _raise(self) -> None:
        """Bring the dock to the front, and fit the view once it is there."""
        parent = self.parent()
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parent()
        if parent is not None:
            parent.show()
            parent.raise_()
        QTimer.singleShot(_SHOWN_MS, self, self._fit)

    def _dress(self, look: Look) -> None:
        for layer in self.model.layers if self.model is not None else ():
            if isinstance(layer, Image) and DRAWN in layer.metadata:
                dress(layer, look)

    def _study(self, study: Study | None) -> None:
        """Take an answer to another scan away; a study beside stays."""
        if self.other is None:
            self.close_it()

    def _stop(self) -> None:
        """Stop an alignment: what it would show is no longer wanted."""
        if self._number:
            self.bridge.cancel(self._number)
        self._number = 0
        self.bar.setVisible(False)

    def _fit(self) -> None:
        """Fit the view once it has its size."""
        if self.model is not None:
            self.model.fit_to_view()

    def _buttons(self) -> None:
        for button in (self.align, self.plain):
            button.setEnabled(self.other is not None)
        self.away.setEnabled(self.shown is not None)

    def _show(self, scan: Scan | None) -> None:
        if scan is None:
            return
        model = self._view()
        model.layers.clear()
        layer, ct = ct_layer(scan), self.room.desk.ct()
        layer.blending = "translucent_no_depth"  # else the only layer hides the crosshair
        if ct is not None:
            layer.contrast_limits = ct.contrast_limits
        model.layers.append(layer)
        self.shown = scan
        for link in self._links:
            link.remove(model)
            link.add(model, "axial")
        model.fit_to_view()
        self._buttons()
        said = [message.message for message in scan.meta.notices if message.code == "aligned"]
        unmoved = "Shown at its own coordinates: the same millimetres, not the same anatomy."
        self.state.setText(f"{scan.meta.series or 'CT'}. {said[0] if said else unmoved}")

    def _view(self) -> ViewerModel:
        """Return the second view, made on first use."""
        if self.model is None:
            self.model = ViewerModel(title="compare")
            self.canvas = QtViewer(self.model)
            self.canvas.setAcceptDrops(False)
            self.canvas.setMinimumHeight(200)
            self._body.addWidget(self.canvas, stretch=1)
            self._links.append(Link(self.room.desk, _ignore, self.model))
        return self.model

    def _shut(self) -> None:
        _let_go(self._links)
        canvas, self.canvas, self.model = self.canvas, None, None
        if canvas is not None:
            put_away(canvas)

    def _progressed(self, number: int, share: float, stage: str) -> None:
        if number == self._number:
            self.bar.show_share(share, stage)

    def _finished(self, number: int, scan: object) -> None:
        if number == self._number and isinstance(scan, Scan):
            self._number = 0
            self.bar.setVisible(False)
            self._show(scan)

    def _failed(self, number: int, error: object) -> None:
        if number == self._number and isinstance(error, CtvlpError):
            self._number = 0
            self.bar.setVisible(False)
            cancelled = isinstance(error, JobCancelled)
            self.state.setText("Cancelled." if cancelled else str(error))


def _ignore(point: Point) -> None:
    """Leave the readout to the first study: this one has values of its own."""


def _let_go(links: list[Link], _: object = None) -> None:
    """Disconnect from the session, whichever way the dock ends."""
    while links:
        links.pop().close()
