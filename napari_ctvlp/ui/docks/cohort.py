"""The cohort dock: the scans of a store to search, rank, plot, open and mark."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QBoxLayout,
    QComboBox,
    QFileDialog,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.cohort import Cohort, CohortModel
from napari_ctvlp.ui.docks.plots import ColumnPlot
from napari_ctvlp.ui.panel import column, lay_below, row, wrap
from napari_ctvlp.ui.room import Room

if TYPE_CHECKING:
    from napari_ctvlp.cohort.find import Ranking
    from napari_ctvlp.cohort.reading import Reading

_EMPTY = "Open a store that ctvlp batch has written: each scan is a row."
_NONE = "histogram"
#: Widest column of the table at first, pixels.
_WIDE = 130
#: For reading through a list, wherever the focus is: previous, next, accept (yes), reject (no).
_KEYS = ("Alt+Up", "Alt+Down", "Alt+Y", "Alt+N")
#: From this width on the plot stands beside the table, pixels.
_SIDE_BY_SIDE = 640


class CohortDock(QWidget):
    """Table, ranking and plots of a store.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._placed = False
        self.cohort = Cohort(room)
        self.model = CohortModel()
        self.choose = QPushButton("Open store...")
        self.phrase, self.filter, self.where = QLineEdit(), QLineEdit(), QLineEdit()
        self.view = _view(self.model)
        self.across, self.up, self.plot = QComboBox(), QComboBox(), ColumnPlot()
        names = ("Previous", "Next", "Accept", "Reject", "Unmark")
        self.previous, self.next, self.accept, self.reject, self.unmark = map(QPushButton, names)
        self.state = QLabel(_EMPTY)
        wrap(self.state)
        self._arrange()
        self._explain()
        self._connect()
        self._enable(reading=None)

    def _arrange(self) -> None:
        table, plot = QVBoxLayout(), QVBoxLayout()
        table.addLayout(row(self.choose, self.phrase, stretch=1))
        table.addLayout(row(self.filter, self.where, stretch=1))
        table.addWidget(self.state)
        table.addWidget(self.view, stretch=1)
        table.addLayout(row(self.previous, self.next, self.accept, self.reject, self.unmark))
        plot.addLayout(row(self.across, self.up))
        plot.addWidget(self.plot, stretch=1)
        for box in (self.across, self.up):
            box.setMinimumContentsLength(8)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self._halves = QBoxLayout(QBoxLayout.Direction.TopToBottom)
        self._halves.addLayout(table, stretch=3)
        self._halves.addLayout(plot, stretch=2)
        column(self).addLayout(self._halves)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Put the plot beside the table where there is room, else under it."""
        beside, under = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
        self._halves.setDirection(beside if self.width() >= _SIDE_BY_SIDE else under)
        super().resizeEvent(event)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Lie under the views when first shown: a table of scans is wide."""
        super().showEvent(event)
        if not self._placed:
            self._placed = True
            QTimer.singleShot(0, self, partial(lay_below, self))

    def _explain(self) -> None:
        self.phrase.setPlaceholderText("rank by a phrase ...")
        self.phrase.setToolTip("Enter ranks the scans; side and negation are understood")
        self.filter.setPlaceholderText("search ...")
        self.filter.setToolTip("Show only scans whose row holds these letters")
        self.where.setPlaceholderText("SQL: liver_ml > 2000")
        self.where.setToolTip("Enter shows only scans that meet the condition")
        self.choose.setToolTip("Open a store that ctvlp batch has written")
        self.view.setToolTip("Enter or double click opens a scan at its peak")
        self.previous.setToolTip("Open the scan above (Alt-Up)")
        self.next.setToolTip("Open the scan below (Alt-Down)")
        self.accept.setToolTip("Accept the selected scan (Alt-Y); kept in the store with its date")
        self.reject.setToolTip("Reject the selected scan (Alt-N)")
        self.unmark.setToolTip("Take the mark of the selected scan away")
        self.across.setToolTip("Column that is plotted")
        self.up.setToolTip("Against which column")

    def _connect(self) -> None:
        cohort = self.cohort
        self.choose.clicked.connect(self._choose)
        self.phrase.returnPressed.connect(lambda: cohort.ask(self.phrase.text()))
        self.filter.textChanged.connect(self._narrow)
        self.where.returnPressed.connect(self._narrow)
        self.view.activated.connect(lambda index: cohort.open(self.model.scan_at(index.row())))
        self.previous.clicked.connect(lambda _=False: self.step(-1))
        self.next.clicked.connect(lambda _=False: self.step(1))
        self.accept.clicked.connect(lambda _=False: self.mark("accept"))
        self.reject.clicked.connect(lambda _=False: self.mark("reject"))
        self.unmark.clicked.connect(lambda _=False: self.mark(""))
        for keys, button in zip(
            _KEYS, (self.previous, self.next, self.accept, self.reject), strict=True
        ):
            QShortcut(QKeySequence(keys), self).activated.connect(button.click)
        self.across.activated.connect(self._plot)
        self.up.activated.connect(self._plot)
        self.plot.picked.connect(self._pick)
        cohort.read.connect(self._fill)
        cohort.ranked.connect(self._ranked)
        cohort.opened.connect(self._opened)
        cohort.said.connect(self.state.setText)

    def _enable(self, reading: Reading | None) -> None:
        there = reading is not None
        for widget in (self.phrase, self.filter, self.where, self.across, self.up, self.previous,
                       self.next, self.accept, self.reject, self.unmark):  # fmt: skip
            widget.setEnabled(there)

    def _choose(self, checked: bool = False) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a store")
        if name:
            self.cohort.look(name)

    def _fill(self, reading: Reading) -> None:
        self.model.set_reading(reading)
        self._enable(reading)
        self.phrase.clear()
        self.filter.clear()
        self.where.clear()
        self._offer(reading)
        self.across.setCurrentText(reading.most_various())
        self.up.setCurrentText(_NONE)
        self._width()
        self.state.setText(reading.words)
        self._plot()

    def _offer(self, reading: Reading) -> None:
        """Offer the columns that hold numbers; what was chosen stays."""
        columns = reading.numeric()
        for box, names in ((self.across, columns), (self.up, [_NONE, *columns])):
            chosen = box.currentText()
            box.clear()
            box.addItems(names)
            box.setCurrentText(chosen)

    def _width(self) -> None:
        """Make columns as wide as they need, within reason; empty ones of a ranking go."""
        reading, asked = self.model.reading, bool(self.cohort.phrase)
        columns = reading.columns if reading is not None else []
        for number, name in enumerate(columns):
            empty = name in ("rank", "score", "answer", "percentile") and not asked
            self.view.setColumnHidden(number, empty)
        self.view.resizeColumnsToContents()
        for number in range(len(columns)):
            if not self.view.isColumnHidden(number):
                self.view.setColumnWidth(number, min(_WIDE, self.view.columnWidth(number)))

    def _narrow(self) -> None:
        """Show the rows that the search and the condition leave."""
        reading = self.model.reading
        if reading is None:
            return
        try:
            places = reading.chosen(self.filter.text(), self.where.text())
        except CtvlpError as error:
            self.state.setText(str(error))
            return
        self.model.set_places(places)
        self.state.setText(f"{len(places)} of {len(reading.rows)} scans are shown.")
        self._plot()

    def _ranked(self, ranking: Ranking) -> None:
        self._width()
        reading = self.model.reading
        if reading is not None:
            self._offer(reading)
            self.view.sortByColumn(reading.columns.index("rank"), Qt.SortOrder.AscendingOrder)
        self.view.scrollToTop()
        least = "least" if ranking.phrase.negated else "most"
        looked = ", ".join(ranking.organs).replace("_", " ")
        self.state.setText(
            f"{ranking.judged} scans, those {least} like “{ranking.phrase.query}” in {looked} "
            f"first. {ranking.limits.words}"
        )

    def step(self, by: int) -> None:
        """Open the scan above (-1) or below (1) the one that is selected."""
        following = self.view.currentIndex().row() + by
        scan = self.model.scan_at(following)
        if scan:
            self.view.selectRow(following)
            self.cohort.open(scan)
        else:
            self.state.setText("This is the end of the list.")

    def mark(self, mark: str) -> None:
        """Accept or reject the selected scan, or take its mark away."""
        scan = self.model.scan_at(self.view.currentIndex().row())
        if not scan or self.model.reading is None:
            self.state.setText("Select a scan first.")
            return
        try:
            self.model.reading.mark(scan, mark)
        except (CtvlpError, OSError) as error:
            self.state.setText(f"The mark could not be saved: {error}")
            return
        self.model.changed()
        self.state.setText(f"Scan {scan}: {mark or 'no mark'}, saved in the store.")

    def _opened(self, scan: str) -> None:
        place = self.model.row_of(scan)
        if place >= 0:
            self.view.selectRow(place)
        self.state.setText(f"Scan {scan} is open.")
        self._plot()

    def _plot(self, place: int = 0) -> None:
        reading, across = self.model.reading, self.across.currentText()
        if reading is None or not across:
            self.plot.clear()
            return
        places, up = self.model.places, self.up.currentText()
        against = None if up == _NONE else (up, reading.numbers(up, places))
        marked = self.model.row_of(self.cohort.scan)
        self.plot.show_columns(
            (across, reading.numbers(across, places)), against, marked if marked >= 0 else None
        )

    def _pick(self, place: int) -> None:
        self.view.selectRow(place)
        self.view.scrollTo(self.model.index(place, 0))


def _view(model: Any) -> QTableView:
    view = QTableView()
    view.setModel(model)
    view.setSortingEnabled(True)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.verticalHeader().setVisible(False)
    view.verticalHeader().setDefaultSectionSize(22)
    view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
    view.setMinimumHeight(90)
    view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
    return view
