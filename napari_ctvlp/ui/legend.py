"""A screenshot with its legend: phrase, colour bar, organs, window, and what it must not be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from napari.utils.colormaps import Colormap
from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QFont, QImage, QPainter

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.ui.drawn import heat_state
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.palette import organ_colour, organ_title
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Look

_LINE, _WIDE, _BAR = 20, 330, 14
#: Organs named at most; the rest is counted.
_MOST_ORGANS = 24


def save_screenshot(path: Path, room: Room, note: str) -> None:
    """Write the main view with a legend beside it, and a note under it, as PNG.

    Raises
    ------
    InputRefused
        ``not-written`` when the file cannot be written.
    """
    view = np.ascontiguousarray(room.viewer.screenshot(canvas_only=True, flash=False))
    rows, columns, _ = view.shape
    height = max(rows, _LINE * (8 + min(_MOST_ORGANS, len(room.session.shown_organs))))
    image = QImage(columns + _WIDE, height, QImage.Format.Format_RGB32)
    image.fill(QColor("black"))
    picture = QImage(view.tobytes(), columns, rows, 4 * columns, QImage.Format.Format_RGBA8888)
    painter = QPainter(image)
    painter.drawImage(0, 0, picture)
    painter.setFont(QFont("sans-serif", 9))
    legend = _Legend(painter, columns + 12)
    legend.draw(room)
    legend.text(note)
    painter.end()
    if not image.save(str(path)):
        raise InputRefused(
            "not-written", "a file that can be written.", "It was not.", "Choose another folder."
        )


class _Legend:
    """Writes line under line."""

    def __init__(self, painter: QPainter, left: int) -> None:
        self.painter, self.left, self.top = painter, left, 12

    def draw(self, room: Room) -> None:
        """Write everything a reader of the picture must know."""
        study = room.session.study
        layer = room.desk.ct()
        if layer is not None:
            low, high = layer.contrast_limits
            self.text(f"Window {low:.0f} to {high:.0f} HU")
        if study is not None and study.heatmap is not None:
            heatmap = study.heatmap
            self.text(f'Looked for "{heatmap.phrase.text}"')
            self.text(f"{heatmap.verdict}, peak {heatmap.peak:.2f}, model {heatmap.model}")
            shown = next((one for one in room.viewer.layers if noun_of(one) is heatmap), None)
            if shown is not None and shown.visible:
                self.bar(shown.colormap, room.session.look, heatmap)
        names = sorted(room.session.shown_organs)
        for name in names[:_MOST_ORGANS]:
            self.organ(name)
        if len(names) > _MOST_ORGANS:
            self.text(f"and {len(names) - _MOST_ORGANS} more organs")

    def text(self, words: str) -> None:
        """Write words, as many lines as they need."""
        self.painter.setPen(QColor("white"))
        flags = Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWordWrap
        room = QRect(self.left, self.top, _WIDE - 20, 200)
        used = self.painter.boundingRect(room, int(flags), words)
        self.painter.drawText(room, int(flags), words)
        self.top += max(_LINE, used.height() + 4)

    def bar(self, colours: Colormap, look: Look, heatmap: Heatmap) -> None:
        """Draw the colour bar of the heatmap from its threshold on; outlines have none."""
        state, full = heat_state(heatmap), heatmap.full_scale
        if state != "asserted":
            filled = "filled faintly" if look.pale else "not filled"
            self.text(f"{state}: outlined at 0.25, 0.50 and 0.75, {filled}")
            return
        width = _WIDE - 80
        for x in range(width):
            r, g, b, _ = colours.map(np.array([x / width]))[0]
            self.painter.fillRect(self.left + x, self.top, 1, _BAR, QColor.fromRgbF(r, g, b))
        self.top += _BAR + 4
        self.text(f"{look.threshold * full:.2f} (hidden below) to {full:.2f}, {state}")

    def organ(self, name: str) -> None:
        """Write an organ with its colour."""
        r, g, b = organ_colour(name)
        self.painter.fillRect(self.left, self.top + 3, _BAR, _BAR, QColor.fromRgbF(r, g, b))
        self.painter.setPen(QColor("white"))
        self.painter.drawText(self.left + _BAR + 8, self.top + _BAR, organ_title(name))
        self.top += _LINE
