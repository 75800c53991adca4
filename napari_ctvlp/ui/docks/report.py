"""The report dock: a pasted report beside the model's answers, and a draft to edit."""

from __future__ import annotations

import math
from pathlib import Path

from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.checking import ReportRow, ReportTable
from napari_ctvlp.core.drafting import Draft, draft_text
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.panel import column, plain_table, row, wrap
from napari_ctvlp.ui.session import Session, Study

COLUMNS = ("", "sentence, report, model")
#: How the first column marks a row, beside bold type for a disagreement.
MARKS = {"agree": "=", "disagree": "\u2260", "cannot tell": "?", "not asked": ""}


class ReportDock(QWidget):
    """Checks a report against the study, and drafts one.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.rows: tuple[ReportRow, ...] = ()
        self.text, self.draft = QPlainTextEdit(), QPlainTextEdit()
        self.check_button, self.write_button = QPushButton("Check"), QPushButton("Write a draft")
        self.copy_button, self.save_button = QPushButton("Copy"), QPushButton("Save ...")
        self.table, self.words = _table(), QLabel()
        wrap(self.words)
        self.tabs = QTabWidget()
        self.tabs.setUsesScrollButtons(False)
        self.tabs.addTab(self._checking(), "Check a report")
        self.tabs.addTab(self._drafting(), "Draft")
        layout = column(self)
        layout.addWidget(self.tabs)
        layout.addWidget(self.words)
        self._explain()
        self.check_button.clicked.connect(self._check)
        self.write_button.clicked.connect(self._write)
        self.copy_button.clicked.connect(self._copy)
        self.save_button.clicked.connect(self._ask_where)
        self.table.cellClicked.connect(self._go)
        self.table.cellActivated.connect(self._go)
        session.failed.connect(self._failed)
        session.study_changed.connect(self._study)

    def _checking(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        self.text.setPlaceholderText("Paste a report: findings, impression")
        self.text.setMaximumHeight(80)
        layout.addWidget(self.text)
        layout.addWidget(self.check_button)
        layout.addWidget(self.table)
        return page

    def _drafting(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.addWidget(self.write_button)
        self.draft.setPlaceholderText("Sentences by organ, each with its number; edit them here")
        layout.addWidget(self.draft)
        layout.addLayout(row(self.copy_button, self.save_button))
        return page

    def _explain(self) -> None:
        self.text.setToolTip("The text of a report; it stays on this computer")
        self.check_button.setToolTip("Ask the model for every statement of the report")
        self.table.setToolTip("Click a row, or Enter: show its heatmap and go to its peak")
        self.write_button.setToolTip("Ask the model for every finding and put it into sentences")
        self.draft.setToolTip("Plain text; change it as you like")
        self.copy_button.setToolTip("Put the draft on the clipboard")
        self.save_button.setToolTip("Write the draft into a text file")

    def _check(self, checked: bool = False) -> None:
        if self._ready():
            self.words.setText("The report is being checked ...")
            self.session.compute("report", self._checked, text=self.text.toPlainText())

    def _write(self, checked: bool = False) -> None:
        if self._ready():
            self.words.setText("The draft is being written ...")
            self.session.compute("draft", self._drafted)

    def _ready(self) -> bool:
        if self.session.study is None:
            self.words.setText("Open a CT first.")
        return self.session.study is not None

    def _checked(self, table: ReportTable) -> None:
        self.rows = table.rows
        self.table.setRowCount(len(table.rows))
        for number, one in enumerate(table.rows):
            for place, words in enumerate(_cells(one)):
                self.table.setItem(number, place, _item(words, one))
        split = sum(one.agreement == "disagree" for one in table.rows)
        asked = sum(bool(one.phrase) for one in table.rows)
        self.words.setText(
            f"{asked} statements asked, {split} disagree. The model errs too: look at each."
        )

    def _drafted(self, draft: Draft) -> None:
        self.draft.setPlainText(draft_text(draft))
        self.words.setText("A draft by a model, for research; check every sentence.")

    def _go(self, number: int, place: int = 0) -> None:
        """Show the heatmap of a row and go to its peak."""
        one = self.rows[number]
        self.words.setText(one.reason)
        if one.phrase:
            self.session.ground(one.phrase)
        if one.peak_ras is not None:
            self.session.look_at(one.peak_ras)

    def _copy(self, checked: bool = False) -> None:
        QApplication.clipboard().setText(self.draft.toPlainText())
        self.words.setText("The draft is on the clipboard.")

    def _ask_where(self, checked: bool = False) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the draft", "draft.txt", "Text (*.txt)")
        if name:
            self.save(Path(name))

    def save(self, path: Path) -> None:
        """Write the draft as it stands in the window into a file."""
        try:
            path.write_text(self.draft.toPlainText(), encoding="utf-8")
        except OSError as error:
            self.words.setText(f"The draft was not saved: {error.strerror}. Choose another place.")
        else:
            self.words.setText(f"Saved as {path.name}.")

    def _failed(self, error: CtvlpError) -> None:
        self.words.setText(f"{error.found} {error.advice}")

    def _study(self, study: Study | None) -> None:
        """Answers about another scan are taken away."""
        self.rows = ()
        self.table.setRowCount(0)
        self.draft.clear()
        self.words.setText("")


def _cells(one: ReportRow) -> tuple[str, ...]:
    value = "" if math.isnan(one.score) else f" {one.score:.2f}"
    both = f"report: {one.polarity}, model: {one.verdict}{value}" if one.phrase else "not asked"
    return MARKS[one.agreement], f"{one.text}\n{both}"


def _item(words: str, one: ReportRow) -> QTableWidgetItem:
    item = QTableWidgetItem(words)
    item.setToolTip(f"{one.phrase}\n{one.reason}".strip())
    if one.agreement == "disagree":
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    return item


def _table() -> QTableWidget:
    table = plain_table(*COLUMNS)
    table.horizontalHeader().setStretchLastSection(True)
    table.horizontalHeader().setMinimumSectionSize(20)
    table.setColumnWidth(0, 22)
    table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.setMinimumHeight(180)
    table.setWordWrap(True)
    return table
