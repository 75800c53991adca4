"""The findings dock: zero-shot scores by anatomy, sortable and filterable."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableView,
    QWidget,
)

from napari_ctvlp.core.encoding import EncodingSummary
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.ui.palette import organ_title
from napari_ctvlp.ui.panel import column
from napari_ctvlp.ui.session import Session, Study
from napari_ctvlp.ui.words import finding_phrase

COLUMNS = (
    "organ", "finding", "margin", "probability", "percentile", "present", "absent", "support",
)  # fmt: skip
#: Columns that are shown only for a model that has such numbers: their title, what they mean.
SOMETIMES = {
    "probability": (
        "probability\n(pair, uncalibrated)",
        "The model's own probability of the positive against the negative prompt. Not calibrated "
        "and not comparable between findings: 0.5 is no cut.",
    ),
    "percentile": (
        "percentile\n(about)",
        "About how many of 100 published scans scored lower, from five published numbers only. "
        "It says nothing of other hospitals.",
    ),
}
_NUMBERS = ("present", "absent", "margin", *SOMETIMES)
_FORMS = {"probability": "{:.3f}", "percentile": "{:.0f}"}
_ROOT = QModelIndex()


class FindingsModel(QAbstractTableModel):
    """Rows of a findings table for Qt's views."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[FindingRow, ...] = ()
        self.reference = ""

    def set_table(self, table: FindingsTable | None) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.rows = table.rows if table is not None else ()
        self.reference = table.reference if table is not None else ""
        self.endResetModel()

    def rowCount(self, parent: Any = _ROOT) -> int:  # noqa: N802 - Qt's name
        """Return the number of findings."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Any = _ROOT) -> int:  # noqa: N802 - Qt's name
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        """Return a column's title, and what it means to hover."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, meaning = SOMETIMES.get(COLUMNS[section], (COLUMNS[section], None))
        if COLUMNS[section] == "percentile" and self.reference:
            title, meaning = "percentile\n(store)", f"Per cent of {self.reference} that are lower."
        if role == Qt.ItemDataRole.ToolTipRole:
            return meaning
        return title if role == Qt.ItemDataRole.DisplayRole else None

    def known(self, column: str) -> bool:
        """Return whether any row has a number in a column."""
        return any(not math.isnan(getattr(row, column)) for row in self.rows)

    def data(self, index: Any, role: int = 0) -> Any:
        """Return a cell: words to show, a number to sort by, a reason to hover."""
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        value = getattr(row, column)
        if role == Qt.ItemDataRole.DisplayRole:
            return _shown(column, value)
        if role == Qt.ItemDataRole.UserRole:
            return -math.inf if column in _NUMBERS and math.isnan(value) else value
        if role == Qt.ItemDataRole.TextAlignmentRole and column in _NUMBERS:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.support or "Double-click: look for this finding and go there"
        return None


def _shown(column: str, value: Any) -> str:
    if column in _NUMBERS:
        return "" if math.isnan(value) else _FORMS.get(column, "{:+.2f}").format(value)
    return organ_title(value) if column == "organ" else str(value).replace("_", " ")


class FindingsDock(QWidget):
    """Table of the findings of the study.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.model = FindingsModel()
        self.proxy = QSortFilterProxyModel()
        self.proxy.setSourceModel(self.model)
        self.proxy.setSortRole(Qt.ItemDataRole.UserRole)
        self.proxy.setFilterKeyColumn(-1)
        self.proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.view = _view(self.proxy)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("filter: nodule, left lung ...")
        self.filter.setToolTip("Show only rows that hold these letters")
        self.view.setToolTip("Enter or double click: look for this finding and go there")
        self.attention = QComboBox()
        self.attention.setToolTip("Where the organ's query looked in the scan")
        self.note = QLabel()
        self.note.setWordWrap(True)
        self._arrange()
        self.filter.textChanged.connect(self.proxy.setFilterFixedString)
        self.view.activated.connect(self._ground)
        self.attention.activated.connect(self._attend)
        session.study_changed.connect(self._study)
        self._study(session.study)

    def _arrange(self) -> None:
        bottom = QHBoxLayout()
        bottom.addWidget(QLabel("Show attention of"))
        bottom.addWidget(self.attention, stretch=1)
        layout = column(self)
        layout.addWidget(self.filter)
        layout.addWidget(self.view, stretch=1)
        self.view.setMinimumHeight(110)
        layout.addLayout(bottom)
        layout.addWidget(self.note)

    def _study(self, study: Study | None) -> None:
        if study is not None:
            study.findings_changed.connect(self._fill)
            study.encoding_changed.connect(self._encoded)
        self._fill(study.findings if study is not None else None)
        self._encoded(study.encoding if study is not None else None)

    def _fill(self, table: FindingsTable | None) -> None:
        self.model.set_table(table)
        for name in SOMETIMES:
            self.view.setColumnHidden(COLUMNS.index(name), not self.model.known(name))
        if table is None:
            self.note.setText("No findings yet: press Run in the reading room.")
        else:
            self.note.setText(f"{self._meaning()} Double-click a row to see where.")

    def _meaning(self) -> str:
        """Return what the numbers are."""
        if self.model.reference:
            among = f"Percentile: among {self.model.reference}."
            return f"Similarities, not probabilities. {among}"
        if not self.model.known("probability"):
            return "Similarities, not probabilities."
        told = ["Probability of the prompt pair: uncalibrated, 0.5 is no cut."]
        if self.model.known("percentile"):
            told.append("Percentile: approximate, among published scans.")
        return " ".join(told)

    def _encoded(self, encoding: EncodingSummary | None) -> None:
        self.attention.clear()
        self.attention.addItem("nothing", "")
        for organ in encoding.attention if encoding is not None else ():
            self.attention.addItem(organ_title(organ), organ)

    def _ground(self, index: Any) -> None:
        row = self.model.rows[self.proxy.mapToSource(index).row()]
        self.session.ground(finding_phrase(row))

    def _attend(self, index: int) -> None:
        self.session.attend(str(self.attention.itemData(index)))


def _view(proxy: QSortFilterProxyModel) -> QTableView:
    view = QTableView()
    view.setModel(proxy)
    view.setSortingEnabled(True)
    view.sortByColumn(COLUMNS.index("margin"), Qt.SortOrder.DescendingOrder)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.verticalHeader().setVisible(False)
    view.verticalHeader().setDefaultSectionSize(22)
    view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    view.horizontalHeader().setStretchLastSection(True)
    return view
