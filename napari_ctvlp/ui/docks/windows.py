"""The windows dock: histogram, level and width, and the user's own presets."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Layer
from qtpy.QtCore import QPointF, Qt, QTimer
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QListWidget,
    QPushButton,
    QWidget,
)

from napari_ctvlp.core.measure import hu_histogram
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.panel import column, row
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.windows import (
    Limits,
    forget_window,
    keep_window,
    level_width,
    limits_of,
    own_windows,
)

#: HU drawn from left to right.
SPAN = (-1100.0, 1700.0)
#: Figures follow the mouse this much later, ms.
SOON_MS = 50


class Histogram(QWidget):
    """Voxels per HU of one scan, with the window drawn over them."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumHeight(70)
        self.setToolTip("Voxels per HU, -1100 to 1700 (root scale); the band is the window")
        self.scan: Scan | None = None
        self.window_hu: Limits = (0.0, 1.0)
        self._heights: list[float] = []

    def show_scan(self, scan: Scan | None) -> None:
        """Count a scan's voxels, unless it is the one already shown."""
        if scan is self.scan:
            return
        self.scan = scan
        counts = hu_histogram(scan, *SPAN) if scan is not None else None
        top = max(1, int(counts.max())) if counts is not None else 1
        self._heights = [(int(n) / top) ** 0.5 for n in counts] if counts is not None else []
        self.update()

    def show_window(self, limits: Limits) -> None:
        """Draw another window."""
        self.window_hu = limits
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the window as a band and the counts as a filled line."""
        painter = QPainter(self)
        wide, high = self.width(), self.height()
        colour = self.palette().text().color()
        low, top = (self._across(hu) for hu in self.window_hu)
        band = QColor(88, 166, 255, 90)
        painter.fillRect(round(low), 0, max(2, round(top - low)), high, band)
        points = [QPointF(0, high)]
        for place, share in enumerate(self._heights):
            points.append(QPointF(wide * (place + 0.5) / len(self._heights), high * (1 - share)))
        points.append(QPointF(wide, high))
        colour.setAlpha(140)
        painter.setBrush(colour)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawPolygon(QPolygonF(points))
        painter.end()

    def _across(self, hu: float) -> float:
        return self.width() * min(1.0, max(0.0, (hu - SPAN[0]) / (SPAN[1] - SPAN[0])))


class WindowsDock(QWidget):
    """Level and width of the CT in numbers, and windows of the user's own.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.desk = room, room.desk
        self.histogram = Histogram()
        self.level, self.width_box = _spin("Level, HU"), _spin("Width, HU")
        self.width_box.setMinimum(0.01)
        self.auto = _push("Automatic", "Window what is in the scan (Alt-0)")
        self.name = QLineEdit()
        self.name.setPlaceholderText("name of a window of your own")
        self.name.setToolTip("Name under which Keep stores level and width")
        self.keep = _push("Keep", "Keep level and width as a window of your own")
        self.forget = _push("Forget", "Forget the selected window of your own")
        self.own = QListWidget()
        self.own.setToolTip("Your own windows: Enter or double click sets one; Alt-8, Alt-9")
        self._watched: Layer | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.refresh)
        self._arrange()
        self._connect()
        self._list()
        self._soon()

    def refresh(self) -> None:
        """Show the window of the CT that windows act on."""
        layer = self.desk.ct()
        self._watch(layer)
        noun = noun_of(layer) if layer is not None else None
        self.histogram.show_scan(noun if isinstance(noun, Scan) else None)
        for widget in (self.level, self.width_box, self.auto, self.keep):
            widget.setEnabled(layer is not None)
        if layer is None:
            return
        low, high = layer.contrast_limits
        self.histogram.show_window((low, high))
        for box, value in zip((self.level, self.width_box), level_width((low, high)), strict=True):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)

    def _arrange(self) -> None:
        layout = column(self)
        layout.addWidget(self.histogram)
        form = QFormLayout()
        form.addRow("level", self.level)
        form.addRow("width", self.width_box)
        layout.addLayout(form)
        layout.addWidget(self.auto)
        layout.addLayout(row(self.name, self.keep, stretch=0))
        layout.addWidget(self.own, stretch=1)
        layout.addWidget(self.forget)

    def _connect(self) -> None:
        for box in (self.level, self.width_box):
            box.valueChanged.connect(self._typed)
        self.auto.clicked.connect(lambda _=False: self.desk.auto())
        self.keep.clicked.connect(self._keep)
        self.name.returnPressed.connect(self._keep)
        self.forget.clicked.connect(self._forget)
        self.own.itemActivated.connect(lambda item: self.desk.set_window(_name(item)))
        self.room.session.study_changed.connect(self._soon)
        self.desk.windowed.connect(self._soon)
        self.room.viewer.layers.selection.events.active.connect(self._soon)

    def _watch(self, layer: Image | None) -> None:
        """Follow the layer's own contrast limits, whoever changes them."""
        if layer is self._watched:
            return
        if self._watched is not None:
            self._watched.events.contrast_limits.disconnect(self._soon)
        self._watched = layer
        if layer is not None:
            layer.events.contrast_limits.connect(self._soon)

    def _soon(self, _: Any = None) -> None:
        if not self._timer.isActive():
            self._timer.start(SOON_MS)

    def _typed(self, _: float) -> None:
        self.desk.window(limits_of(self.level.value(), self.width_box.value()))

    def _keep(self, checked: bool = False) -> None:
        name = self.name.text().strip()
        if name and self.desk.ct() is not None:
            keep_window(name, limits_of(self.level.value(), self.width_box.value()))
            self.name.clear()
            self._list()

    def _forget(self, checked: bool = False) -> None:
        item = self.own.currentItem()
        if item is not None:
            forget_window(_name(item))
            self._list()

    def _list(self) -> None:
        self.own.clear()
        for name, limits in own_windows().items():
            level, width = level_width(limits)
            self.own.addItem(f"{name}: level {level:.0f}, width {width:.0f}")
            self.own.item(self.own.count() - 1).setData(Qt.ItemDataRole.UserRole, name)


def _name(item: Any) -> str:
    return str(item.data(Qt.ItemDataRole.UserRole))


def _spin(words: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-1e5, 1e5)
    box.setDecimals(0)
    box.setSingleStep(10)
    box.setKeyboardTracking(False)
    box.setToolTip(words)
    return box


def _push(text: str, words: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(words)
    return button
