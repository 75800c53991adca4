"""The scale of the map in front: the same for every phrase, or how it is drawn instead."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QWidget

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.ui.drawn import GREY, PALE, heat_state
from napari_ctvlp.ui.palette import heat_colormap
from napari_ctvlp.ui.session import Look

_BAR, _SPREAD, _HEIGHT = 14, 5, 40
#: The spread over wordings is drawn so where the answer hangs on the wording.
_FLIPS = (1.0, 0.55, 0.1)
_STEPS = 128


class ScaleBar(QWidget):
    """A colour bar from 0 to full scale; dashed and empty for a map without support.

    Under it lies a second bar: how far the wordings of the phrase lie apart at the peak.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(_HEIGHT)
        self.heat: Heatmap | None = None
        self.look = Look()

    def show_heat(self, heat: Heatmap | None, look: Look) -> None:
        """Show the scale that a map is drawn with; none without a map."""
        self.heat, self.look = heat, look
        self.setVisible(heat is not None)
        below = "Below: each wording of the phrase at the peak, and how far they lie apart."
        self.setToolTip(f"{scale_words(heat, look)}\n{below}" if heat is not None else "")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw bar, levels and numbers."""
        if self.heat is None:
            return
        painter = QPainter(self)
        state, width = heat_state(self.heat), self.width() - 2.0
        if state == "asserted":
            colours = heat_colormap(self.look.colormap).map(np.linspace(0, 1, _STEPS))
            for place in range(round(self.look.threshold * _STEPS), _STEPS):
                colour = QColor.fromRgbF(*colours[place, :3].tolist())
                left = 1 + place * width / _STEPS
                painter.fillRect(QRectF(left, 0, width / _STEPS + 1, _BAR), colour)
        ink = self.palette().color(self.foregroundRole())
        pen = QPen(ink if state == "asserted" else QColor.fromRgbF(*_ink(state)))
        pen.setStyle(Qt.PenStyle.SolidLine if state == "asserted" else Qt.PenStyle.DashLine)
        painter.setPen(pen)
        painter.drawRect(QRectF(1, 0, width - 1, _BAR))
        self._spread(painter, width, ink)
        painter.setPen(ink)
        font = painter.font()
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            self._number(painter, share, width)
        painter.end()

    def _spread(self, painter: QPainter, width: float, ink: QColor) -> None:
        """Draw from the lowest wording to the highest, with a notch for each."""
        assert self.heat is not None  # noqa: S101 - paintEvent has checked it
        places = [1 + width * w.value / self.heat.full_scale for w in self.heat.wordings]
        if len(places) < 2:
            return
        colour = QColor.fromRgbF(*_FLIPS) if self.heat.flips else ink
        low, high = min(places), max(places)
        painter.fillRect(QRectF(low, _BAR + 2, max(2.0, high - low), _SPREAD - 3), colour)
        for place in places:
            painter.fillRect(QRectF(place - 0.5, _BAR + 1, 1, _SPREAD), colour)

    def _number(self, painter: QPainter, share: float, width: float) -> None:
        assert self.heat is not None  # noqa: S101 - paintEvent has checked it
        words = f"{share * self.heat.full_scale:.2f}"
        room = painter.fontMetrics().horizontalAdvance(words)
        left = min(max(0.0, 1 + share * width - room / 2), width - room)
        painter.drawText(QRectF(left, _BAR + _SPREAD, room + 2, _HEIGHT - _BAR), 0, words)
        if 0 < share < 1:
            painter.drawLine(int(1 + share * width), _BAR - 4, int(1 + share * width), _BAR)


def scale_words(heat: Heatmap, look: Look) -> str:
    """Return how a map is drawn, in words."""
    if heat_state(heat) != "asserted":
        filled = "Filled faintly as you chose, it is no finding" if look.pale else "Not filled"
        return f"{filled}: dashed lines at 0.25, 0.50 and 0.75 of the scale."
    colours = f"Colours from {look.threshold * heat.full_scale:.2f} to {heat.full_scale:.2f}"
    if heat.kind == "probability":
        return f"{colours}, for every phrase."
    return f"{colours}, this map's own peak: it holds no probabilities."


def _ink(state: str) -> tuple[float, float, float]:
    return PALE if state == "unsupported" else GREY
