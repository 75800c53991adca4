"""The body of a dock: it scrolls where the window is too small, so that nothing is cut off."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

#: No dock asks for more width than this, in pixels.
NARROW = 290


class _Column(QScrollArea):
    """Asks for what its content would like, and is content with less."""

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size its content asks for."""
        inner = self.widget()
        return inner.sizeHint() if inner is not None else super().sizeHint()


def column(dock: QWidget) -> QVBoxLayout:
    """Give a dock one scrolling column and return the column's layout."""
    around = QVBoxLayout(dock)
    around.setContentsMargins(0, 0, 0, 0)
    area, body = _Column(), QWidget()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(body)
    around.addWidget(area)
    dock.setMinimumWidth(NARROW)
    inside = QVBoxLayout(body)
    inside.setContentsMargins(6, 6, 6, 6)
    return inside


def row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Return a row of widgets; the one at place ``stretch`` takes what is left."""
    line = QHBoxLayout()
    for place, widget in enumerate(widgets):
        line.addWidget(widget, stretch=int(place == stretch))
    return line
