"""The answers dock: every phrase asked of this scan, each in its own colour, drawn together."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QKeySequence, QShortcut  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidgetItem,
    QWidget,
)

from napari_ctvlp.core.composite import volume_ml
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.models import store
from napari_ctvlp.ui.docks.run import encoder_ids
from napari_ctvlp.ui.gallery import Answer, gallery_of, named
from napari_ctvlp.ui.palette import organ_title
from napari_ctvlp.ui.panel import column, plain_table, row, wrap
from napari_ctvlp.ui.room import Room

COLUMNS = ("answer and phrase", "peak", "ml", "own")
_PHRASE, _OWN = 0, 3
_WIDTHS = (0, 40, 40, 30)
_ROW = 54  # pixels: three lines
_HINT = "Phrases that were asked are listed here; tick those that are drawn together."
_TWO = "Select two rows first (Ctrl and click)."
#: Organs named with their share of a map.
_MOST = 4


class AnswersDock(QWidget):
    """Lists every answer of the study, draws the ticked ones and compares two.

    Parameters
    ----------
    room : Room
    open_dock : callable, optional
        Opens the dock of a title.
    """

    def __init__(self, room: Room, open_dock: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self.room, self.gallery, self.open_dock = room, gallery_of(room), open_dock
        self.table = plain_table(*COLUMNS)
        self.together = QCheckBox("&Draw the ticked phrases together")
        self.level = QDoubleSpinBox()
        self.beside = QPushButton("&Side by side")
        self.compare = QPushButton("&Difference")
        self.models, self.ask = QComboBox(), QPushButton("&Ask it too")
        self.forget = QPushButton("Remo&ve")
        self.state, self.told = QLabel(_HINT), QLabel()
        self._arrange()
        self._explain()
        self.table.itemChanged.connect(self._ticked)
        self.table.itemDoubleClicked.connect(self._chosen)
        entered = QShortcut(QKeySequence("Return"), self.table)
        entered.setContext(Qt.ShortcutContext.WidgetShortcut)
        entered.activated.connect(lambda: self._chosen(self.table.currentItem()))
        self.table.itemSelectionChanged.connect(self._tell)
        self.together.toggled.connect(self.gallery.draw_together)
        self.level.valueChanged.connect(lambda _: self._fill())
        self.beside.clicked.connect(lambda _=False: self.show_beside())
        self.compare.clicked.connect(lambda _=False: self.subtract())
        self.ask.clicked.connect(lambda _=False: self.ask_too())
        self.forget.clicked.connect(lambda _=False: self.gallery.remove(self._chosen_ones()))
        self.gallery.added.connect(self._added)
        self.gallery.changed.connect(self._fill)
        self.room.session.failed.connect(self._failed)
        self.room.session.models_changed.connect(self._offer)
        self._fill()

    def subtract(self) -> None:
        """Show the first selected map minus the second: green where the first is stronger."""
        if len(chosen := self._chosen_ones()) != 2:
            self.state.setText(_TWO)
            return
        name = self.gallery.subtract(*chosen)
        self.state.setText(
            f"{name}: from -1 to 1, green where the first is stronger, purple where the second is."
            if name else "No place was searched for both of them."
        )  # fmt: skip

    def show_beside(self) -> None:
        """Show the first selected map in the main view and the second in the Compare dock."""
        study = self.room.session.study
        if len(chosen := self._chosen_ones()) != 2 or study is None:
            self.state.setText(_TWO)
            return
        first, second = chosen
        self.together.setChecked(False)
        study.put("heatmap", first.heat)
        if self.open_dock is not None and not len(self.room.session.beside_wanted):
            self.open_dock("Compare")
        self.room.session.beside_wanted.emit(second.heat)
        alike = all(one.heat.kind == "probability" for one in chosen)
        scale = "One scale for both." if alike else "Each on a scale of its own."
        self.state.setText(f"{named(first, second)}; in 'Compare': {named(second, first)}. {scale}")

    def ask_too(self) -> None:
        """Ask another encoder for the selected phrases."""
        model, chosen = self.models.currentText(), self._chosen_ones()
        if not chosen:
            self.state.setText("Select the phrases to ask first.")
            return
        self.state.setText(f"Asking {model} ...")
        for answer in chosen[:1]:
            self.room.session.compute(
                "ground", partial(self._answered, chosen[1:]), phrase=answer.heat.phrase.text,
                gate=answer.heat.gate.applied, model=model,
            )  # fmt: skip

    def _answered(self, rest: list[Answer], heat: Heatmap) -> None:
        self.gallery.add(heat)
        self.state.setText(f"{heat.model}: {heat.verdict}.")
        if rest:
            self.room.session.compute(
                "ground", partial(self._answered, rest[1:]), phrase=rest[0].heat.phrase.text,
                gate=rest[0].heat.gate.applied, model=heat.model,
            )  # fmt: skip

    def _arrange(self) -> None:
        head = self.table.horizontalHeader()
        head.setMinimumSectionSize(24)
        head.setSectionResizeMode(_PHRASE, QHeaderView.ResizeMode.Stretch)
        for place, width in enumerate(_WIDTHS):
            if width:
                self.table.setColumnWidth(place, width)
        self.table.verticalHeader().setDefaultSectionSize(_ROW)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setMinimumHeight(130)
        self.level.setRange(0.05, 0.95)
        self.level.setSingleStep(0.05)
        self.level.setValue(0.5)
        self._offer()
        for words in (self.state, self.told):
            wrap(words)
        layout = column(self)
        layout.addWidget(self.together)
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.told)
        layout.addLayout(row(QLabel("ml above"), self.level, self.forget, stretch=0))
        layout.addLayout(row(self.beside, self.compare))
        layout.addLayout(row(self.models, self.ask, stretch=0))
        layout.addWidget(self.state)

    def _explain(self) -> None:
        self.table.setToolTip("Tick what is drawn; a double click or Enter shows one alone")
        self.together.setToolTip(
            "One layer: at each place the strongest phrase, coloured; without support in outline"
        )
        self.level.setToolTip("The volume is measured where the map is above this share of 1")
        self.beside.setToolTip("The first selected phrase here, the second in 'Compare'")
        self.compare.setToolTip("Subtract the second selected phrase from the first")
        self.models.setToolTip("Another model that can run here")
        self.ask.setToolTip("Ask the model on the left for the selected phrases, on this scan")
        self.forget.setToolTip("Remove the selected phrases from the list")

    def _fill(self) -> None:
        self.table.setRowCount(0)
        for answer in self.gallery.answers.values():
            self._append(answer)
        self.state.setText(f"{len(self.gallery.answers)} phrases." if self._all() else _HINT)
        self._tell()

    def _added(self, answer: Answer) -> None:
        """List one more; a second model changes how all of them are called."""
        if len({one.heat.model for one in self._all()}) > 1:
            self._fill()
        else:
            self._append(answer)

    def _append(self, answer: Answer) -> None:
        number, heat = self.table.rowCount(), answer.heat
        self.table.blockSignals(True)
        self.table.insertRow(number)
        for place, text in enumerate(_cells(answer, self._all(), self.level.value())):
            item = QTableWidgetItem(text)
            item.setToolTip(f"{heat.phrase.text} ({heat.model})\n{heat.reason}")
            if place == _PHRASE:
                item.setCheckState(_check(answer.shown))
                item.setData(Qt.ItemDataRole.DecorationRole, QColor.fromRgbF(*answer.colour))
            elif place == _OWN:
                item.setCheckState(_check(answer.own))
                item.setToolTip("A layer of its own, instead of one with the others")
            self.table.setItem(number, place, item)
        self.table.blockSignals(False)
        self.state.setText(f"{number + 1} phrases.")

    def _ticked(self, item: QTableWidgetItem) -> None:
        ticks = (self.table.item(item.row(), place) for place in (_PHRASE, _OWN))
        shown, own = (t is not None and t.checkState() == Qt.CheckState.Checked for t in ticks)
        self.gallery.tick(self._all()[item.row()], shown, own)

    def _chosen(self, item: QTableWidgetItem | None) -> None:
        """Show one phrase alone."""
        study = self.room.session.study
        if study is not None and item is not None:
            self.together.setChecked(False)
            study.put("heatmap", self._all()[item.row()].heat)

    def _offer(self) -> None:
        """List the models that can run here; the chosen one stays."""
        chosen = self.models.currentText()
        self.models.clear()
        self.models.addItems(
            [name for name in encoder_ids() if store.state_of(store.card(name)).usable]
        )
        self.models.setCurrentText(chosen)

    def _failed(self, error: CtvlpError) -> None:
        self.state.setText(f"{error.found} {error.advice}")

    def _all(self) -> list[Answer]:
        return list(self.gallery.answers.values())

    def _chosen_ones(self) -> list[Answer]:
        places = dict.fromkeys(item.row() for item in self.table.selectedItems())
        return [self._all()[place] for place in places]

    def _tell(self) -> None:
        """Say of the selected answer why, and where its map lies."""
        chosen = self._chosen_ones()
        self.told.setVisible(len(chosen) == 1)
        if len(chosen) == 1:
            heat = chosen[0].heat
            self.told.setText(f"{heat.reason} {shares_words(heat)}".strip())


def shares_words(heat: Heatmap) -> str:
    """Return how a map spreads over the anatomy, in words."""
    parts = [f"{organ_title(name)} {share:.0%}" for name, share in heat.shares.items()]
    return f"Map in: {', '.join(parts[:_MOST])}." if parts else ""


def _check(on: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if on else Qt.CheckState.Unchecked


def _cells(answer: Answer, others: list[Answer], level: float) -> tuple[str, ...]:
    heat = answer.heat
    several = len({other.heat.model for other in others}) > 1
    text = f"{heat.phrase.text} ({heat.model})" if several else heat.phrase.text
    support = "" if math.isnan(heat.support) else f" {heat.support:.0%}"
    unsure = " (wording!)" if heat.flips else ""
    told = f"{heat.verdict}{support}{unsure}\n{text}"
    return told, f"{heat.peak:.2f}", f"{volume_ml(heat, level):.1f}", ""
