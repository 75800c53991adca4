"""The answers dock: every phrase asked of this scan, each in its own colour, drawn together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_ctvlp.core.composite import Composite, composite, difference, volume_ml
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.ui.layers import OVER, heat_state, placement
from napari_ctvlp.ui.palette import Colour, organ_title
from napari_ctvlp.ui.panel import column, row
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

COLUMNS = ("phrase", "answer", "support", "peak", "mostly in", "ml")
#: Apart for the colour-blind (Okabe and Ito 2008, without black), then lighter once more.
COLOURS: tuple[Colour, ...] = (
    (0.90, 0.62, 0.00), (0.34, 0.71, 0.91), (0.00, 0.62, 0.45), (0.94, 0.89, 0.26),
    (0.00, 0.45, 0.70), (0.84, 0.37, 0.00), (0.80, 0.47, 0.65),
)  # fmt: skip
_TOGETHER, _DIFFERENCE = "All phrases", "Difference: "
_HINT = "Phrases that were asked are listed here; tick those that are drawn together."


@dataclass
class Answer:
    """A phrase with its map, its colour, and whether it is drawn."""

    heat: Heatmap
    colour: Colour
    shown: bool = True


class AnswersDock(QWidget):
    """Lists every answer of the study and draws the ticked ones as one layer.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.answers: dict[str, Answer] = {}
        self._picture: Composite | None = None
        self.table = QTableWidget(0, len(COLUMNS))
        self.together = QCheckBox("&Draw the ticked phrases together")
        self.compare = QPushButton("&Difference of two")
        self.forget = QPushButton("Remo&ve")
        self.state = QLabel(_HINT)
        self._arrange()
        self.table.itemChanged.connect(self._ticked)
        self.table.itemDoubleClicked.connect(self._chosen)
        self.together.toggled.connect(lambda _=False: self._draw())
        self.compare.clicked.connect(lambda _=False: self.subtract())
        self.forget.clicked.connect(lambda _=False: self._forget())
        room.session.study_changed.connect(self._study)
        self._study(room.session.study)

    def add(self, heat: Heatmap) -> None:
        """Take an answer into the list; one to the same phrase replaces it."""
        known = self.answers.get(heat.phrase.text)
        if known is not None and known.heat is heat:
            return
        place = len(self.answers)
        colour = known.colour if known else COLOURS[place % len(COLOURS)]
        self.answers[heat.phrase.text] = Answer(heat, colour, known.shown if known else True)
        if known is None:
            self._append(self.answers[heat.phrase.text])
            self._draw(heat if self._fits(heat) else None)
        else:
            self._fill()
            self._draw()

    def subtract(self) -> None:
        """Show the first selected phrase minus the second: warm where the first is stronger."""
        chosen = [list(self.answers.values())[n].heat for n in self._rows()]
        try:
            first, second = chosen
            values = np.nan_to_num(difference(first, second))
        except ValueError:
            self.state.setText("Select two phrases that one model answered.")
            return
        name = f"{_DIFFERENCE}{first.phrase.text} minus {second.phrase.text}"
        self._replace(_DIFFERENCE, Image(
            values, name=name, colormap="PiYG", contrast_limits=(-1.0, 1.0), opacity=0.55,
            blending="translucent", **placement(first.affine),
        ))  # fmt: skip
        self.state.setText(f"{name}: from -1 to 1, green where the first is stronger.")

    def _arrange(self) -> None:
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setMinimumHeight(140)
        self.table.setToolTip("Tick what is drawn; a double click shows one phrase alone")
        self.together.setToolTip(
            "One layer: at each place the strongest supported phrase, coloured"
        )
        self.compare.setToolTip("Subtract the second selected phrase from the first")
        self.forget.setToolTip("Remove the selected phrases from the list")
        self.state.setWordWrap(True)
        layout = column(self)
        layout.addWidget(self.together)
        layout.addWidget(self.table, stretch=1)
        layout.addLayout(row(self.compare, self.forget))
        layout.addWidget(self.state)

    def _study(self, study: Study | None) -> None:
        """Begin anew with every scan."""
        self.answers.clear()
        self._fill()
        self._draw()
        if study is not None:
            study.heatmap_changed.connect(self._answered)

    def _answered(self, heat: Heatmap | None) -> None:
        if heat is not None:
            self.add(heat)

    def _fill(self) -> None:
        self.table.setRowCount(0)
        for answer in self.answers.values():
            self._append(answer)

    def _append(self, answer: Answer) -> None:
        number = self.table.rowCount()
        self.table.blockSignals(True)
        self.table.insertRow(number)
        for place, text in enumerate(_cells(answer.heat)):
            item = QTableWidgetItem(text)
            if place == 0:
                item.setCheckState(
                    Qt.CheckState.Checked if answer.shown else Qt.CheckState.Unchecked
                )
                item.setData(Qt.ItemDataRole.DecorationRole, QColor.fromRgbF(*answer.colour))
                item.setToolTip(answer.heat.reason)
            self.table.setItem(number, place, item)
        self.table.blockSignals(False)
        self.state.setText(f"{len(self.answers)} phrases." if self.answers else _HINT)

    def _ticked(self, item: QTableWidgetItem) -> None:
        answer = list(self.answers.values())[item.row()]
        shown = item.checkState() == Qt.CheckState.Checked
        if item.column() == 0 and answer.shown != shown:
            answer.shown = shown
            self._draw()

    def _chosen(self, item: QTableWidgetItem) -> None:
        study = self.room.session.study
        if study is not None:
            study.put("heatmap", list(self.answers.values())[item.row()].heat)

    def _rows(self) -> list[int]:
        return list(dict.fromkeys(item.row() for item in self.table.selectedItems()))

    def _forget(self) -> None:
        names = list(self.answers)
        for number in self._rows():
            del self.answers[names[number]]
        self._fill()
        self._draw()

    def _fits(self, heat: Heatmap) -> bool:
        """Say whether a heatmap may be drawn onto the picture there is."""
        known = self._picture
        return known is not None and known.winner.shape == heat.values.shape

    def _draw(self, new: Heatmap | None = None) -> None:
        """Draw the ticked phrases of one grid together, or only add the newest."""
        if not self.together.isChecked():
            self._picture = None
            self._replace(_TOGETHER, None)
            return
        if new is not None and self._picture is not None:
            if heat_state(new) == "asserted":
                self._picture.add(new, self.answers[new.phrase.text].colour)
        else:
            self._picture = _picture([a for a in self.answers.values() if a.shown])
        self._show(self._picture)

    def _show(self, picture: Composite | None) -> None:
        layer = self._layer(_TOGETHER)
        if picture is None:
            self._replace(_TOGETHER, None)
        elif isinstance(layer, Image) and layer.data.shape[:3] == picture.winner.shape:
            layer.data = picture.rgba
        else:
            self._replace(_TOGETHER, Image(
                picture.rgba, rgb=True, name=_TOGETHER, opacity=0.6, blending="translucent",
                **placement(picture.affine),
            ))  # fmt: skip

    def _layer(self, begins: str) -> Layer | None:
        layers = self.room.viewer.layers
        return next((one for one in layers if one.name.startswith(begins)), None)

    def _replace(self, begins: str, layer: Image | None) -> None:
        """Take the layer of a name away and show another one in its place."""
        known = self._layer(begins)
        if known is not None:
            self.room.viewer.layers.remove(known)
        if layer is not None:
            layer.metadata[OVER] = True
            selected = set(self.room.viewer.layers.selection)
            self.room.viewer.layers.append(layer)
            self.room.viewer.layers.selection = selected


def _picture(answers: list[Answer]) -> Composite | None:
    """Draw answers of the first one's grid; unsupported and denied ones are left out."""
    told = [a for a in answers if heat_state(a.heat) == "asserted"]
    same = [a for a in told if a.heat.values.shape == told[0].heat.values.shape]
    return composite([a.heat for a in same], [a.colour for a in same]) if same else None


def _cells(heat: Heatmap) -> tuple[str, ...]:
    where = next(iter(heat.shares), "")
    share = f"{organ_title(where)} {heat.shares[where]:.0%}" if where else ""
    support = "" if math.isnan(heat.support) else f"{heat.support:.0%}"
    unsure = " (wording!)" if heat.flips else ""
    return (
        heat.phrase.text, heat.verdict + unsure, support, f"{heat.peak:.2f}", share,
        f"{volume_ml(heat):.1f}",
    )  # fmt: skip
