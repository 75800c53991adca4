"""The rows of a findings table for Qt: what a cell says, sorts by, and tells to hover."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QStyledItemDelegate, QTableView

from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.ui.palette import organ_title

COLUMNS = (
    "verdict", "organ", "finding", "margin", "probability", "percentile", "present", "absent",
    "support",
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
_TITLES = {
    "verdict": ("", "+ present, \u2212 absent, ? cannot tell: of the evidence inside the organ"),
    "support": ("why not judged", None),
    "margin": ("margin", "Present minus absent."),
}
_NUMBERS = ("present", "absent", "margin", *SOMETIMES)
_FORMS = {"probability": "{:.3f}", "percentile": "{:.0f}"}
#: The three answers in one letter, and none yet.
GLYPHS = {"present": "+", "absent": "\u2212", "cannot tell": "?", "": ""}
#: How strongly the ink of what was not judged is laid on: 4.5 to 1 in both themes.
_FAINT = 0.75
_RIGHT = Qt.AlignmentFlag.AlignRight
_ROOT = QModelIndex()


def finding_title(name: str) -> str:
    """Return a finding in plain English."""
    known = findings().get(name)
    return known.title if known is not None else name.replace("_", " ")


def faded(ink: QColor) -> QColor:
    """Return the ink of what was not judged, in any theme."""
    faint = QColor(ink)
    faint.setAlphaF(_FAINT)
    return faint


def told(row: FindingRow) -> str:
    """Return everything a row says, as lines."""
    head = f"{finding_title(row.finding)}, {organ_title(row.organ) or 'whole scan'}"
    if row.support:
        return f"{head}\nNot judged. {row.support}"
    lines = [head]
    if row.verdict:
        lines.append(f"{row.verdict.capitalize()}. {row.reason}")
    poles = zip(("present", "absent"), (row.present, row.absent), strict=True)
    prompts = (*row.prompts, "", "")
    for (name, value), prompt in zip(poles, prompts[:2], strict=True):
        lines.append(f"{name} {value:+.2f}" + (f": {prompt}" if prompt else ""))
    lines.append(f"margin {row.margin:+.2f}")
    if not math.isnan(row.probability):
        lines.append(f"probability of the pair {row.probability:.3f} (uncalibrated)")
    if not math.isnan(row.percentile):
        lines.append(f"percentile {row.percentile:.0f}")
    return "\n".join(lines)


class FindingsModel(QAbstractTableModel):
    """Rows of a findings table for Qt's views."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[FindingRow, ...] = ()
        self.reference = ""
        self.poles = ""

    def set_table(self, table: FindingsTable | None) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.rows = table.rows if table is not None else ()
        self.reference = table.reference if table is not None else ""
        self.poles = table.poles if table is not None else ""
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
        name = COLUMNS[section]
        title, meaning = (SOMETIMES | _TITLES).get(name, (name, None))
        if name == "percentile" and self.reference:
            title, meaning = "percentile\n(store)", f"Per cent of {self.reference} that are lower."
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.poles if name in ("present", "absent") else meaning
        return title if role == Qt.ItemDataRole.DisplayRole else None

    def known(self, column: str) -> bool:
        """Return whether any row has a number in a column."""
        return any(not math.isnan(getattr(row, column)) for row in self.rows)

    def data(self, index: Any, role: int = 0) -> Any:
        """Return a cell: words to show, a number to sort by, everything it says to hover."""
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        value = getattr(row, column)
        if role == Qt.ItemDataRole.DisplayRole:
            return _shown(column, value)
        if role == Qt.ItemDataRole.UserRole:
            return -math.inf if column in _NUMBERS and math.isnan(value) else value
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (*_NUMBERS, "verdict"):
            side = Qt.AlignmentFlag.AlignHCenter if column == "verdict" else _RIGHT
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return told(row) if role == Qt.ItemDataRole.ToolTipRole else None


class _Row(QStyledItemDelegate):
    """Writes what was not judged in fainter ink."""

    def initStyleOption(self, option: Any, index: Any) -> None:  # noqa: N802 - Qt's name
        """Choose the ink of a cell."""
        super().initStyleOption(option, index)
        proxy = index.model()
        if proxy.row(index).support:
            text = option.palette.ColorRole.Text
            option.palette.setColor(text, faded(option.palette.color(text)))


class Shown(QSortFilterProxyModel):
    """Sorts rows, keeps those that hold some letters, and leaves out what cannot be judged."""

    def __init__(self, model: FindingsModel) -> None:
        super().__init__()
        self._rows, self._letters, self._all = model, "", False
        self.setSourceModel(model)
        self.setSortRole(Qt.ItemDataRole.UserRole)

    def row(self, index: Any) -> FindingRow:
        """Return the row of the table behind a cell."""
        return self._rows.rows[self.mapToSource(index).row()]

    def keep(self, letters: str) -> None:
        """Show only rows that hold these letters."""
        self._letters = letters.lower()
        self.invalidate()

    def show_all(self, shown: bool) -> None:
        """Show also what cannot be judged."""
        self._all = shown
        self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: Any) -> bool:  # noqa: N802
        """Return whether a row is shown."""
        row = self._rows.rows[source_row]
        words = f"{organ_title(row.organ)} {finding_title(row.finding)} {row.verdict} {row.support}"
        return (self._all or not row.support) and self._letters in words.lower()


def table_view(proxy: Shown) -> QTableView:
    """Return the table's view, sorted by margin."""
    view = QTableView()
    view.setModel(proxy)
    view.setItemDelegate(_Row(view))
    view.setSortingEnabled(True)
    view.sortByColumn(COLUMNS.index("margin"), Qt.SortOrder.DescendingOrder)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.verticalHeader().setVisible(False)
    view.verticalHeader().setDefaultSectionSize(22)
    view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    view.horizontalHeader().setMinimumSectionSize(20)
    view.horizontalHeader().setStretchLastSection(True)
    return view


def _shown(column: str, value: Any) -> str:
    if column in _NUMBERS:
        return "" if math.isnan(value) else _FORMS.get(column, "{:+.2f}").format(value)
    if column == "verdict":
        return GLYPHS[value]
    if column == "organ":
        return organ_title(value)
    return finding_title(value) if column == "finding" else str(value)
