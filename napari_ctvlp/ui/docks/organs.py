"""The organs dock: what was segmented, how much of it, and a check box for each."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.anatomy import AnatomyMap, Organ
from napari_ctvlp.ui.palette import organ_colour, organ_title
from napari_ctvlp.ui.session import Session, Study

_COLUMNS = ("Organ", "ml", "mean HU", "extent")


class OrgansDock(QWidget):
    """Table of the organs of the study.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._filling = False
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setDefaultSectionSize(24)
        self.table.setWordWrap(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self._arrange()
        self.table.itemChanged.connect(self._checked)
        self.table.itemDoubleClicked.connect(self._go)
        session.study_changed.connect(self._study)
        session.shown_organs_changed.connect(self._shown)
        self._study(session.study)

    def _arrange(self) -> None:
        show, hide, go = QPushButton("Show all"), QPushButton("Hide all"), QPushButton("Go to")
        show.clicked.connect(lambda _=False: self._show_all(True))
        hide.clicked.connect(lambda _=False: self._show_all(False))
        go.clicked.connect(lambda _=False: self._go())
        buttons = QHBoxLayout()
        for button in (show, hide, go):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table, stretch=1)
        layout.addLayout(buttons)
        layout.addWidget(self.note)

    def _study(self, study: Study | None) -> None:
        if study is not None:
            study.anatomy_changed.connect(self._fill)
        self._fill(study.anatomy if study is not None else None)

    def _fill(self, anatomy: AnatomyMap | None) -> None:
        organs = anatomy.organs if anatomy is not None else ()
        self._filling = True
        self.table.setRowCount(len(organs))
        for row, organ in enumerate(organs):
            for column, item in enumerate(_items(organ, organ.name in self.session.shown_organs)):
                self.table.setItem(row, column, item)
        self._filling = False
        if anatomy is None:
            self.note.setText("No anatomy yet: press Run in the reading room.")
        else:
            self.note.setText(anatomy.reliability)

    def _organs(self) -> tuple[Organ, ...]:
        study = self.session.study
        return study.anatomy.organs if study is not None and study.anatomy is not None else ()

    def _boxes(self) -> list[QTableWidgetItem]:
        items = (self.table.item(row, 0) for row in range(self.table.rowCount()))
        return [item for item in items if item is not None]

    def _checked(self, item: QTableWidgetItem) -> None:
        if self._filling or item.column() != 0:
            return
        pairs = zip(self._organs(), self._boxes(), strict=True)
        checked = Qt.CheckState.Checked
        self.session.show_organs(
            frozenset(o.name for o, box in pairs if box.checkState() == checked)
        )

    def _shown(self, names: frozenset[str]) -> None:
        self._filling = True
        for organ, box in zip(self._organs(), self._boxes(), strict=False):
            box.setCheckState(_state(organ.name in names))
        self._filling = False

    def _show_all(self, shown: bool) -> None:
        names = (organ.name for organ in self._organs())
        self.session.show_organs(frozenset(names) if shown else frozenset())

    def _go(self, item: QTableWidgetItem | None = None) -> None:
        study, row = self.session.study, self.table.currentRow()
        if study is None or study.anatomy is None or row < 0:
            return
        point = study.anatomy.point_inside(self._organs()[row].name)
        if point is not None:
            self.session.look_at(point)


def _state(shown: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked


def _items(organ: Organ, shown: bool) -> list[QTableWidgetItem]:
    """Build the cells of one organ."""
    name = QTableWidgetItem(organ_title(organ.name))
    name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
    name.setCheckState(_state(shown))
    swatch = QPixmap(14, 14)
    swatch.fill(QColor.fromRgbF(*organ_colour(organ.name)))
    name.setIcon(swatch)
    cells = [
        name,
        QTableWidgetItem(f"{organ.ml:,.0f}"),
        QTableWidgetItem("" if organ.ml == 0 else f"{organ.mean_hu:.0f}"),
        QTableWidgetItem("not seen" if organ.ml == 0 else "complete" if organ.complete else "cut"),
    ]
    for cell in cells[1:3]:
        cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return cells
