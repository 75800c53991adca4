"""The findings dock: scores by anatomy as a table and as a matrix, and the evidence of each."""

from __future__ import annotations

import math
from functools import partial
from html import escape
from typing import Any

from qtpy.QtCore import QItemSelectionModel, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.encoding import EncodingSummary
from napari_ctvlp.core.findings import (
    FindingRow,
    FindingsTable,
    answered,
    merged,
    organs_of,
    row_phrase,
)
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.docks.findings_table import (
    COLUMNS,
    SOMETIMES,
    FindingsModel,
    Shown,
    table_view,
    told,
)
from napari_ctvlp.ui.docks.matrix import QUANTITIES, MatrixModel, Scale, matrix_view
from napari_ctvlp.ui.docks.own_words import OwnWords
from napari_ctvlp.ui.outline import Outline
from napari_ctvlp.ui.palette import organ_title
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

#: Rows that are answered by one job, so that a phrase never waits long.
AT_ONCE = 4
NOTHING = "No findings yet: press Run in the reading room."
CLICK = "Click: the organ, the evidence in it, its top slice."


class FindingsDock(QWidget):
    """Findings of the study by anatomy.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.session = room, room.session
        self.outline = Outline(room)
        self.model, self.matrix = FindingsModel(), MatrixModel()
        self.proxy = Shown(self.model)
        self.view, self.cells = table_view(self.proxy), matrix_view(self.matrix)
        self.scale = Scale(self.matrix)
        self.filter, self.everything = QLineEdit(), QCheckBox("all")
        self.quantity, self.attention = QComboBox(), QComboBox()
        self.own_button = QPushButton("My vocabulary ...")
        self.filled = QPushButton("Fill organs")
        self.detail, self.note = QLabel(), QLabel()
        self.tabs = QTabWidget()
        self.tabs.setUsesScrollButtons(False)
        self._asked: FindingRow | None = None
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._reveal)
        self._arrange()
        self._explain()
        self._connect()
        self._study(self.session.study)

    def explain(self, one: FindingRow) -> None:
        """Show where a row comes from: its organ, the evidence inside it, the highest slice."""
        self._asked = one
        if one.support:
            self._unjudged(one)
            return
        text = row_phrase(one)
        self._tell(f"Looking for {text} ...")
        self.session.grounding.emit(text, True)
        self.session.compute(
            "finding", partial(self._explained, one), row=one, maps=self.session.run.maps
        )

    def _unjudged(self, one: FindingRow) -> None:
        """Say why there is nothing to show; what was shown of another row goes away."""
        study = self.session.study
        if study is not None and study.anatomy is not None:
            self.outline.draw(organs_of(one, None, study.anatomy.by_name))
            study.put("heatmap", None)
        self._tell(told(one))

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Begin to answer the rows once somebody looks."""
        super().showEvent(event)
        self._answer_more()

    def _arrange(self) -> None:
        table, heat = _page(self.tabs, "Table"), _page(self.tabs, "Matrix")
        table.addLayout(row(self.filter, self.everything, stretch=0))
        table.addWidget(self.view, stretch=1)
        heat.addWidget(self.quantity)
        heat.addWidget(self.cells, stretch=1)
        heat.addWidget(self.scale)
        layout = column(self)
        layout.addWidget(self.tabs, stretch=1)
        layout.addWidget(self.detail)
        layout.addLayout(row(QLabel("Attention of"), self.attention, stretch=1))
        layout.addLayout(row(self.filled, self.own_button))
        layout.addWidget(self.note)
        self.tabs.setMinimumHeight(230)
        for label in (self.detail, self.note):
            wrap(label)
        self.detail.setTextFormat(Qt.TextFormat.RichText)

    def _explain(self) -> None:
        self.filter.setPlaceholderText("filter: nodule, left lung ...")
        self.filter.setToolTip("Show only rows that hold these letters")
        self.everything.setToolTip("Also what the model cannot judge, in grey with the reason")
        self.view.setToolTip(CLICK)
        self.attention.setToolTip("Where the organ's query looked in the scan")
        self.quantity.setToolTip("What the colours of the matrix show")
        self.filled.setToolTip("Take the outline away and show the organs as before")
        self.own_button.setToolTip("Findings and synonyms of your own; used without a restart")
        for name, (title, _) in QUANTITIES.items():
            self.quantity.addItem(title, name)

    def _connect(self) -> None:
        self.filter.textChanged.connect(self.proxy.keep)
        self.everything.toggled.connect(self.proxy.show_all)
        self.view.clicked.connect(self._ground)
        self.view.activated.connect(self._ground)
        self.cells.clicked.connect(self._cell)
        self.cells.activated.connect(self._cell)
        self.quantity.activated.connect(self._recolour)
        self.attention.activated.connect(self._attend)
        self.filled.clicked.connect(lambda _=False: self.outline.undo())
        self.own_button.clicked.connect(lambda _=False: self._own_words())
        self.session.study_changed.connect(self._study)
        self.session.failed.connect(self._failed)

    def _study(self, study: Study | None) -> None:
        self._asked = None
        self.detail.setText("")
        self.detail.setVisible(False)
        if study is not None:
            study.findings_changed.connect(self._fill)
            study.encoding_changed.connect(self._encoded)
        self._fill(study.findings if study is not None else None)
        self._encoded(study.encoding if study is not None else None)

    def _fill(self, table: FindingsTable | None) -> None:
        self.model.set_table(table)
        self.matrix.set_table(table)
        for name in SOMETIMES:
            self.view.setColumnHidden(COLUMNS.index(name), not self.model.known(name))
        self.scale.update()
        self._mark()
        self.note.setText(NOTHING if table is None else f"{self._meaning()} {CLICK}")
        self._answer_more()
        judged = [one for one in self.model.rows if not one.support]
        told = sum(bool(one.verdict) for one in judged)
        if "verdicts" in self.session.jobs:
            self.note.setText(f"Answering: {told} of {len(judged)} rows. {self.note.text()}")

    def _meaning(self) -> str:
        """Return what the numbers are."""
        if self.model.reference:
            among = f"Percentile: among {self.model.reference}."
            return f"Similarities, not probabilities. {among}"
        if not self.model.known("probability"):
            none = (
                "" if self.model.known("percentile") else " No percentiles: open a cohort's store."
            )
            return f"Similarities, not probabilities.{none}"
        told = ["Probability of the prompt pair: uncalibrated, 0.5 is no cut."]
        if self.model.known("percentile"):
            told.append("Percentile: approximate, among published scans.")
        return " ".join(told)

    def _answer_more(self) -> None:
        """Answer the next rows, those with the highest margin first; nothing while not shown."""
        study, model = self.session.study, self.session.run.model
        table = study.findings if study is not None else None
        if (
            study is None
            or table is None
            or not self.isVisible()
            or "verdicts" in self.session.jobs
        ):
            return
        current = study.encoded_with is study.anatomy
        if not current or (table.model, table.scan) != (model, study.scan.digest):
            return
        open_ones = [one for one in table.rows if not one.support and not one.verdict]
        chosen = sorted(open_ones, key=lambda one: -one.margin)[:AT_ONCE]
        if chosen:
            done = partial(self._answered, study.encoding)
            self.session.compute("verdicts", done, rows=tuple(chosen))

    def _answered(self, asked_of: EncodingSummary | None, answers: FindingsTable) -> None:
        """Take answers in, unless the organs or tokens they are about were replaced meanwhile."""
        study = self.session.study
        if study is not None and study.findings is not None and study.encoding is asked_of:
            study.put("findings", merged(study.findings, answers.rows))
        else:
            self._answer_more()

    def _explained(self, one: FindingRow, heat: Heatmap) -> None:
        """Show the evidence of a row, whatever was asked before it."""
        study = self.session.study
        if study is None or study.anatomy is None:
            return
        self.outline.draw(organs_of(one, heat, study.anatomy.by_name))
        study.put("heatmap", heat)
        if heat.peak_ras is not None:
            self.session.look_at(heat.peak_ras)
        self._asked = answered(one, heat)
        self._tell(_evidence(self._asked, heat))
        if study.findings is not None and study.findings.model == heat.model:
            study.put("findings", merged(study.findings, [self._asked]))

    def _tell(self, text: str) -> None:
        """Show lines, the first as a heading, where they can be read."""
        head, *lines = (escape(line) for line in text.split("\n"))
        self.detail.setText("<br>".join([f"<b>{head}</b>", *lines]))
        self.detail.setVisible(True)
        self._later.start()

    def _reveal(self) -> None:
        area = self.findChild(QScrollArea)
        if isinstance(area, QScrollArea) and self.isVisible():
            area.ensureWidgetVisible(self.detail)

    def _mark(self) -> None:
        """Keep the row that was asked for selected while tables come and go."""
        one = self._asked
        if one is None:
            return
        for number, other in enumerate(self.model.rows):
            if (other.organ, other.finding) == (one.organ, one.finding):
                place = self.proxy.mapFromSource(self.model.index(number, 0))
                chosen = QItemSelectionModel.SelectionFlag.ClearAndSelect
                rows = QItemSelectionModel.SelectionFlag.Rows
                self.view.selectionModel().setCurrentIndex(place, chosen | rows)
        if one.organ in self.matrix.organs and one.finding in self.matrix.findings:
            across = self.matrix.organs.index(one.organ)
            down = self.matrix.findings.index(one.finding)
            self.cells.setCurrentIndex(self.matrix.index(down, across))

    def _encoded(self, encoding: EncodingSummary | None) -> None:
        self.attention.clear()
        self.attention.addItem("nothing", "")
        for organ in encoding.attention if encoding is not None else ():
            self.attention.addItem(organ_title(organ), organ)

    def _ground(self, index: Any) -> None:
        self.explain(self.proxy.row(index))

    def _cell(self, index: Any) -> None:
        one = self.matrix.row_at(index)
        if one is not None:
            self.explain(one)

    def _recolour(self, index: int) -> None:
        self.matrix.show_quantity(str(self.quantity.itemData(index)))
        self.scale.update()

    def _attend(self, index: int) -> None:
        self.session.attend(str(self.attention.itemData(index)))

    def _own_words(self) -> OwnWords:
        dialog = OwnWords(self)
        dialog.used.connect(self.session.score)
        dialog.open()
        return dialog

    def _failed(self, error: CtvlpError) -> None:
        self._tell(f"{error.found}\n{error.advice}")


def _page(tabs: QTabWidget, title: str) -> QVBoxLayout:
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, 4, 0, 0)
    tabs.addTab(page, title)
    return layout


def _evidence(one: FindingRow, heat: Heatmap) -> str:
    """Return the sentence behind a score as lines: the answer, the numbers, the prompts."""
    said = [told(one)]
    if len(heat.wordings) > 1:
        values = [wording.value for wording in heat.wordings]
        texts = ", ".join(f"\u201c{wording.text}\u201d" for wording in heat.wordings[:3])
        depends = "; the answer depends on the wording" if heat.flips else ""
        said.append(
            f"Map of {texts} and others: peak {min(values):.2f} to {max(values):.2f}{depends}."
        )
    elif not math.isnan(heat.peak):
        said.append(f"Map of \u201c{heat.phrase.query}\u201d: peak {heat.peak:.2f}.")
    return "\n".join(said)
