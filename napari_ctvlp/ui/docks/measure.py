"""The measure dock: draw distances and regions, and read their figures."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_ctvlp.ui.measures import Measured
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room

_COLUMNS = ("what", "mm or HU", "sd", "min", "max", "cm²")
_DRAW = {
    "line": ("Distance", "Drag from one point to the other (Alt-D)"),
    "ellipse": ("Ellipse", "Drag an ellipse on a slice (Alt-R)"),
    "rectangle": ("Rectangle", "Drag a rectangle on a slice"),
    "polygon": ("Polygon", "Click the corners, Enter or a double click ends it"),
}


class MeasureDock(QWidget):
    """Table of what was drawn.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.measures = room, room.measures
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().setVisible(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.table.setToolTip("Double click or Enter: go there")
        self.table.itemActivated.connect(lambda _: self._go())
        self.note = QLabel("Draw on the main view; the figures follow when a shape is moved.")
        wrap(self.note)
        layout = column(self)
        draw = [self._drawer(kind, *words) for kind, words in _DRAW.items()]
        layout.addLayout(row(*draw[:2]))
        layout.addLayout(row(*draw[2:]))
        layout.addWidget(self.table, stretch=1)
        remove = _push("Delete", "Delete the selected shape")
        remove.clicked.connect(lambda _=False: self.measures.remove(self.table.currentRow()))
        copy = _push("Copy", "Copy the table as text")
        copy.clicked.connect(lambda _=False: self._copy())
        layout.addLayout(row(remove, copy))
        layout.addWidget(self.note)
        self.measures.changed.connect(self._fill)
        self._fill(self.measures.rows)

    def text(self) -> str:
        """Return the table as lines of text."""
        return "\n".join(f"{measured.kind}: {measured.words}" for measured in self.measures.rows)

    def _drawer(self, kind: str, text: str, words: str) -> QPushButton:
        button = _push(text, words)
        button.clicked.connect(lambda _=False: self.measures.draw(kind))
        return button

    def _fill(self, rows: tuple[Measured, ...]) -> None:
        self.table.setRowCount(len(rows))
        for place, measured in enumerate(rows):
            for number, words in enumerate(_cells(measured)):
                item = QTableWidgetItem(words)
                if number:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(place, number, item)

    def _go(self) -> None:
        place = self.table.currentRow()
        if 0 <= place < len(self.measures.rows):
            self.room.session.look_at(self.measures.rows[place].place)

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.text())


def _cells(measured: Measured) -> list[str]:
    region = measured.region
    if measured.mm is not None:
        return [measured.kind, f"{measured.mm:.1f}", "", "", "", ""]
    if region is None:
        return [measured.kind, measured.words, "", "", "", ""]
    figures = (region.mean, region.sd, region.low, region.high)
    shown = [f"{figure:.0f}" if region.voxels else "" for figure in figures]
    return [measured.kind, *shown, f"{region.area_mm2 / 100:.2f}"]


def _push(text: str, words: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(words)
    return button
