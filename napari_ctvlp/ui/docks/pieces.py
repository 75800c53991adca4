"""The pieces dock: a map cut at a level into a mask, told apart, measured, edited, saved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidgetItem,
    QWidget,
)

from napari_ctvlp.core.components import Component, Cut
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.files import FileWork
from napari_ctvlp.ui.layers import OVER, placement
from napari_ctvlp.ui.panel import column, plain_table, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

COLUMNS = ("", "ml", "mm", "peak", "HU")
_NARROW = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
_HINT = (
    "Ask for a phrase, then cut its map: each phrase has a mask of its own, and they may overlap."
)


@dataclass
class Mask:
    """A cut map, its layer and its pieces as they were last measured."""

    heat: Heatmap
    layer: Labels
    cut: Cut


class PiecesDock(QWidget):
    """Cuts the map in front, lists the pieces, and saves what was made of them.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.session = room, room.session
        self.masks: dict[str, Mask] = {}
        self.work = FileWork()
        self.level, self.least = _number(0.5, 0.05, 0.95, 0.05), _number(0.1, 0.0, 100.0, 0.1)
        self.cut_button = QPushButton("&Cut the phrase in front")
        self.which = QComboBox()
        self.table = plain_table(*COLUMNS)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(120)
        self.again, self.save = QPushButton("&Measure again"), QPushButton("&Save ...")
        self.state = QLabel(_HINT)
        self._arrange()
        self.cut_button.clicked.connect(lambda _=False: self.cut())
        self.again.clicked.connect(lambda _=False: self.measure())
        self.save.clicked.connect(lambda _=False: self._ask_where())
        self.which.currentTextChanged.connect(lambda _: self._fill())
        self.table.cellClicked.connect(self._go)
        self.table.cellActivated.connect(self._go)
        self.work.finished.connect(self._saved)
        self.work.failed.connect(self._failed)
        self.session.failed.connect(self._failed)
        self.session.study_changed.connect(self._study)
        self._fill()

    def cut(self) -> None:
        """Cut the map of the phrase in front at the level."""
        study = self.session.study
        heat = study.heatmap if study is not None else None
        if heat is None:
            self.state.setText("Ask for a phrase first.")
            return
        self._ask(heat, None)

    def measure(self) -> None:
        """Tell the pieces of the chosen mask apart and measure them, as they are now painted."""
        mask = self.masks.get(self.which.currentText())
        if mask is not None:
            self._ask(mask.heat, np.asarray(mask.layer.data, np.uint16))

    def save_to(self, path: Path) -> None:
        """Write the chosen mask as it is now painted, on the scan's stored grid."""
        mask, study = self.masks.get(self.which.currentText()), self.session.study
        if mask is None or study is None:
            self.state.setText("There is no mask yet.")
            return
        labels, scan = np.array(mask.layer.data, np.uint16), study.scan

        def job(progress: object, show: object) -> str:
            from napari_ctvlp.engine.evidence.places import save_pieces

            save_pieces(path, labels, scan)
            return path.name

        self.work.start(job)

    def _ask(self, heat: Heatmap, labels: np.ndarray | None) -> None:
        self.state.setText("Measuring ...")
        self.session.compute(
            "cut", partial(self._cut, heat), heatmap=heat, labels=labels,
            level=self.level.value() * heat.full_scale, least_ml=self.least.value(),
        )  # fmt: skip

    def _cut(self, heat: Heatmap, cut: Cut) -> None:
        name, study = heat.phrase.text, self.session.study
        known = self.masks.get(name)
        if known is not None and known.heat.model != heat.model:
            name = f"{name} ({heat.model})"
            known = self.masks.get(name)
        layers = self.room.viewer.layers
        if known is not None and known.layer in layers:
            known.layer.data = np.array(cut.labels)
            known.heat, known.cut = heat, cut
        elif study is not None:
            layer = Labels(
                np.array(cut.labels), name=f"Mask: {name}", opacity=0.5, metadata={OVER: True},
                **placement(study.scan.affine),
            )  # fmt: skip
            selected = set(layers.selection)
            layers.append(layer)
            layers.selection = selected
            self.masks[name] = Mask(heat, layer, cut)
        if self.which.findText(name) < 0:
            self.which.addItem(name)
        self.which.setCurrentText(name)
        self._fill()

    def _fill(self) -> None:
        mask = self.masks.get(self.which.currentText())
        pieces = mask.cut.pieces if mask is not None else ()
        for button in (self.again, self.save):
            button.setEnabled(mask is not None)
        self.table.setRowCount(len(pieces))
        for number, piece in enumerate(pieces):
            for place, words in enumerate(_cells(piece)):
                self.table.setItem(number, place, QTableWidgetItem(words))
        if mask is not None:
            total = sum(piece.ml for piece in pieces)
            found = f"{len(pieces)} pieces, {total:.1f} ml" if pieces else "Nothing reaches it"
            self.state.setText(f"{found} (level {mask.cut.level:.2f}). Paint with napari's tools.")

    def _go(self, number: int, place: int = 0) -> None:
        """Go to the peak of a piece, and take up its label."""
        mask = self.masks[self.which.currentText()]
        piece = mask.cut.pieces[number]
        mask.layer.selected_label = piece.id
        self.session.look_at(piece.peak_ras)

    def _ask_where(self) -> None:
        proposed = "-".join(self.which.currentText().split())[:40]
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the mask", f"{proposed}.nii.gz", "NIfTI (*.nii.gz *.nii)"
        )
        if name:
            self.save_to(Path(name))

    def _saved(self, name: str) -> None:
        self.state.setText(f"Saved {name}.")

    def _failed(self, error: CtvlpError) -> None:
        self.state.setText(f"{error.found} {error.advice}")

    def _study(self, study: Study | None) -> None:
        """Masks of another scan are taken away; their layers go with it."""
        self.masks.clear()
        self.which.clear()
        self._fill()
        self.state.setText(_HINT)

    def _arrange(self) -> None:
        self.level.setToolTip("Share of the scale from 0 to 1 above which a place belongs to it")
        self.least.setToolTip("Smaller pieces are dropped, ml")
        self.cut_button.setToolTip("Make a mask of the phrase in front (Alt-C)")
        self.which.setToolTip("Which phrase's mask is listed, measured and saved")
        self.table.setToolTip("Volume, length, peak, mean HU; a click or Enter goes to the peak")
        self.again.setToolTip("After painting: tell the pieces apart and measure them anew (Alt-M)")
        self.save.setToolTip("Write the mask as painted, with the scan's affine (Alt-S)")
        wrap(self.state)
        self.which.setSizeAdjustPolicy(_NARROW)  # a long phrase must not widen the dock
        self.which.setMinimumContentsLength(8)
        layout = column(self)
        layout.addLayout(row(QLabel("Cut at"), self.level))
        layout.addLayout(row(QLabel("Drop pieces under, ml"), self.least))
        layout.addWidget(self.cut_button)
        layout.addWidget(self.which)
        layout.addWidget(self.table, stretch=1)
        layout.addLayout(row(self.again, self.save))
        layout.addWidget(self.state)


def _number(value: float, low: float, high: float, step: float) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setValue(value)
    box.setMaximumWidth(90)
    return box


def _cells(piece: Component) -> tuple[str, ...]:
    hu = "" if math.isnan(piece.mean_hu) else f"{piece.mean_hu:.0f}"
    return str(piece.id), f"{piece.ml:.2f}", f"{piece.mm:.0f}", f"{piece.peak:.2f}", hu
