"""The body of a dock: it scrolls where the window is too small, so that nothing is cut off."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDockWidget,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QScrollArea,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

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


def lay_below(widget: QWidget, height: int = 290) -> None:
    """Move the dock of a wide widget from the side to the bottom of its window.

    Parameters
    ----------
    widget : QWidget
        One that is in no dock, or in one that floats or lies elsewhere already, stays.
    height : int
        Pixels.
    """
    dock: Any = widget
    while dock is not None and not isinstance(dock, QDockWidget):
        dock = dock.parent()
    if not isinstance(dock, QDockWidget) or dock.isFloating():
        return
    main = dock.parent()
    if not isinstance(main, QMainWindow):
        return
    if main.dockWidgetArea(dock) == Qt.DockWidgetArea.RightDockWidgetArea:
        main.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        main.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
        main.resizeDocks([dock], [height], Qt.Orientation.Vertical)


def row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Return a row of widgets; the one at place ``stretch`` takes what is left."""
    line = QHBoxLayout()
    for place, widget in enumerate(widgets):
        line.addWidget(widget, stretch=int(place == stretch))
    return line


def plain_table(*titles: str) -> QTableWidget:
    """Return an empty table that is read, not written, and chosen by rows."""
    table = QTableWidget(0, len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    return table


def wrap(label: QLabel) -> None:
    """Break a label's words over lines, and let no long word hold its dock wide."""
    label.setWordWrap(True)
    label.setMinimumWidth(1)
