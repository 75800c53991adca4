"""Findings by anatomy as a heat table: one cell per pair, one fixed scale, reasons in grey."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QBrush, QColor, QLinearGradient, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QTableView,
    QWidget,
)

from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.ui.docks.findings_table import GLYPHS, faded, finding_title, told
from napari_ctvlp.ui.palette import organ_title

#: What the colours can show, and the number at either end of the scale by unit.
QUANTITIES = {
    "margin": ("margin", {"logit": 2.0, "cosine": 0.2}),
    "present": ("similarity to the positive", {"logit": 6.0, "cosine": 1.0}),
    "absent": ("similarity to the negative", {"logit": 6.0, "cosine": 1.0}),
    "percentile": ("percentile", {}),
}
#: Sides of a cell and the widest title beside the rows, in pixels.
CELL, BESIDE = 17, 110
_LOW, _MIDDLE, _HIGH = (33, 102, 172), (247, 247, 247), (230, 97, 1)
#: Blue from here on down is too dark for black letters (on either side of it contrast is 4.5).
_DARK = -0.87
_NOTHING, _BACK = QColor(110, 110, 110), QColor(60, 60, 60)
_ROOT = QModelIndex()


def colour_of(share: float) -> QColor:
    """Return the colour of -1..1: blue below 0, orange above; kept apart by the colour-blind."""
    end = _HIGH if share > 0 else _LOW
    part = min(1.0, abs(share))
    r, g, b = (round(m + (e - m) * part) for m, e in zip(_MIDDLE, end, strict=True))
    return QColor(r, g, b)


def ink_on(share: float) -> QColor:
    """Return the colour of a letter on :func:`colour_of`."""
    return QColor(255, 255, 255) if share < _DARK else QColor(0, 0, 0)


class MatrixModel(QAbstractTableModel):
    """Organs across, findings down; a finding that no organ was taught has no row."""

    def __init__(self) -> None:
        super().__init__()
        self.organs: list[str] = []
        self.findings: list[str] = []
        self.unit, self.quantity = "cosine", "margin"
        self._cells: dict[tuple[str, str], FindingRow] = {}

    def set_table(self, table: FindingsTable | None) -> None:
        """Replace all cells."""
        self.beginResetModel()
        rows = table.rows if table is not None else ()
        self.unit = table.unit if table is not None else "cosine"
        self._cells = {(row.organ, row.finding): row for row in rows}
        judged = [row for row in rows if not row.support]
        self.organs = _listed([row.organ for row in rows], {row.organ for row in judged})
        self.findings = _listed([row.finding for row in rows], {row.finding for row in judged})
        self.endResetModel()

    def show_quantity(self, name: str) -> None:
        """Colour by another number."""
        self.quantity = name
        self.dataChanged.emit(self.index(0, 0), self.index(len(self.findings), len(self.organs)))

    @property
    def ends(self) -> tuple[float, float]:
        """The numbers at both ends of the colours."""
        limit = QUANTITIES[self.quantity][1].get(self.unit)
        return (0.0, 100.0) if limit is None else (-limit, limit)

    def row_at(self, index: Any) -> FindingRow | None:
        """Return the row of the table behind a cell."""
        return self._cells.get((self.organs[index.column()], self.findings[index.row()]))

    def why_not(self, organ: str) -> str:
        """Return why nothing of an organ can be judged, ``""`` where something can."""
        reasons = [row.support for (name, _), row in self._cells.items() if name == organ]
        return reasons[0] if reasons and all(reasons) else ""

    def share(self, row: FindingRow | None) -> float:
        """Return where a cell lies on the scale, -1..1; NaN where it has no number."""
        value = getattr(row, self.quantity) if row is not None and not row.support else math.nan
        low, high = self.ends
        return 2 * (value - low) / (high - low) - 1

    def rowCount(self, parent: Any = _ROOT) -> int:  # noqa: N802 - Qt's name
        """Return the number of findings."""
        return 0 if parent.isValid() else len(self.findings)

    def columnCount(self, parent: Any = _ROOT) -> int:  # noqa: N802 - Qt's name
        """Return the number of organs."""
        return 0 if parent.isValid() else len(self.organs)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        """Return an organ or a finding; to hover, why an organ is grey."""
        if orientation != Qt.Orientation.Horizontal:
            name = finding_title(self.findings[section])
            return name if role in _WORDS else None
        organ = self.organs[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.why_not(organ) or organ_title(organ)
        shown = organ_title(organ) or "whole scan"
        return shown if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: Any, role: int = 0) -> Any:
        """Return a cell's answer in one letter; to hover, everything it says."""
        row = self.row_at(index)
        if row is None:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return told(row)
        return GLYPHS[row.verdict] if role == Qt.ItemDataRole.DisplayRole else None


def _listed(names: list[str], first: set[str]) -> list[str]:
    """Return each name once, those of ``first`` before the others."""
    return sorted(dict.fromkeys(names), key=lambda name: name not in first)


_WORDS = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole)


class _Cell(QStyledItemDelegate):
    """Paints a number as a colour, and grey hatching where there is none."""

    def __init__(self, view: QTableView) -> None:
        super().__init__(view)
        self._view = view

    def paint(self, painter: Any, option: Any, index: Any) -> None:
        """Paint one cell."""
        model = index.model()
        row, inside = model.row_at(index), option.rect.adjusted(0, 0, -1, -1)
        share = model.share(row)
        painter.save()
        if math.isnan(share):
            painter.fillRect(inside, _BACK)
            if row is not None and row.support:
                painter.fillRect(inside, QBrush(_NOTHING, Qt.BrushStyle.BDiagPattern))
        else:
            painter.fillRect(inside, colour_of(share))
        letter = model.data(index, Qt.ItemDataRole.DisplayRole)
        if letter and not math.isnan(share):
            painter.setPen(ink_on(share))
            painter.drawText(inside, int(Qt.AlignmentFlag.AlignCenter), letter)
        if index == self._view.currentIndex():
            painter.setPen(QColor(255, 220, 0))
            painter.drawRect(inside.adjusted(0, 0, -1, -1))
        painter.restore()


class _Upright(QHeaderView):
    """Column titles that read from below to above, so that cells can be small."""

    HEIGHT = 88

    def __init__(self, parent: QWidget) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setSectionsClickable(False)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return room for the longest organ."""
        return QSize(super().sizeHint().width(), self.HEIGHT)

    def paintSection(self, painter: Any, rect: Any, index: int) -> None:  # noqa: N802
        """Paint one title, turned by a quarter."""
        model: Any = self.model()
        text = model.headerData(index, self.orientation(), Qt.ItemDataRole.DisplayRole)
        painter.save()
        ink = self.palette().color(self.foregroundRole())
        painter.setPen(faded(ink) if model.why_not(model.organs[index]) else ink)
        painter.translate(rect.left(), rect.bottom())
        painter.rotate(-90)
        flags = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
        painter.drawText(QRect(4, 0, rect.height() - 6, rect.width()), flags, str(text))
        painter.restore()


class Scale(QWidget):
    """The colours with the numbers at their ends."""

    def __init__(self, model: MatrixModel) -> None:
        super().__init__()
        self._model = model
        self.setFixedHeight(20)
        self.setToolTip(
            "One scale for every scan. + present, \u2212 absent, ? cannot tell. Hatched: not judged"
        )

    def paintEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Paint the strip."""
        painter = QPainter(self)
        low, high = self._model.ends
        words = "%" if self._model.quantity == "percentile" else self._model.unit
        texts = (f"{low:+g} " if low else "0 ", f" {high:+g} {words}")
        left, right = (painter.fontMetrics().horizontalAdvance(text) + 2 for text in texts)
        bar = QRect(left, 3, max(20, self.width() - left - right), self.height() - 6)
        fill = QLinearGradient(bar.left(), 0, bar.right(), 0)
        for place in (0.0, 0.5, 1.0):
            fill.setColorAt(place, colour_of(2 * place - 1))
        painter.fillRect(bar, fill)
        painter.setPen(self.palette().color(self.foregroundRole()))
        middle = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
        painter.drawText(QRect(0, 0, left, self.height()), middle, texts[0])
        painter.drawText(QRect(bar.right(), 0, right, self.height()), middle, texts[1])
        painter.end()


def matrix_view(model: MatrixModel) -> QTableView:
    """Return the heat table's view."""
    view = QTableView()
    view.setModel(model)
    view.setItemDelegate(_Cell(view))
    view.setHorizontalHeader(_Upright(view))
    view.setShowGrid(False)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    for header in (view.horizontalHeader(), view.verticalHeader()):
        header.setMinimumSectionSize(CELL)
        header.setDefaultSectionSize(CELL)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    view.verticalHeader().setMaximumWidth(BESIDE)
    view.verticalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
    view.setToolTip("Click: the organ in outline, the evidence inside it, its highest slice")
    return view
