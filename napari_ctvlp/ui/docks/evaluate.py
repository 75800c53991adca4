"""The evaluate dock: how well a model does on the user's own folder, and thresholds for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QLabel,
    QPushButton,
    QTableWidgetItem,
    QWidget,
)

from napari_ctvlp.core.absence import Calibration
from napari_ctvlp.engine import evaluating
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.docks.reliability import ReliabilityChart
from napari_ctvlp.ui.panel import column, plain_table, row, wrap
from napari_ctvlp.ui.room import Room

_HINT = (
    "Choose a folder with labels.csv: one CT a row, columns ct, patient and findings (1, 0 or "
    "empty); boxes.csv and masks/ beside it tell where."
)
#: What the columns of the table mean, by their titles.
_MEANINGS = {
    "AUROC [95 %]": "of the support told; the interval is drawn over patients",
    "pointing": "share whose peak lies inside what was drawn",
    "signed CNR": "contrast inside against outside, in standard deviations",
    "mean IoU": "mean over thresholds .1 to .5",
    "Dice": "at the card's threshold",
    "hit rate": "share with a Dice of .1 or more",
    "cannot tell": "how often the model would not answer",
}
#: Highest table, in pixels; longer ones scroll.
_TALL = 300
Report = Mapping[str, Any]


class EvaluateDock(QWidget):
    """Measures the chosen model on a folder as one job of the worker.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.session, self.bridge = room.session, room.bridge
        self.report: Report | None = None
        self._number = 0
        self.choose, self.stop = QPushButton("Measure a &folder..."), QPushButton("Stop")
        self.save = QPushButton("&Save numbers...")
        self.use = QPushButton("&Use these thresholds")
        self.back = QPushButton("&Go back to the shipped ones")
        self.bar, self.chart = JobBar(), ReliabilityChart()
        self.state, self.limits = QLabel(_HINT), QLabel()
        self.table = plain_table()
        self.table.setFixedHeight(60)
        self._arrange()
        self.choose.clicked.connect(self._choose)
        self.stop.clicked.connect(lambda _=False: self.bridge.cancel(self._number))
        self.save.clicked.connect(self._save)
        self.use.clicked.connect(lambda _=False: self.adopt())
        self.back.clicked.connect(lambda _=False: self.go_back())
        self.bridge.progressed.connect(self._progressed)
        self.bridge.finished.connect(self._finished)
        self.bridge.failed.connect(self._failed)
        self._enable()

    @property
    def busy(self) -> bool:
        """True while a folder is being measured."""
        return self._number > 0

    def measure(self, folder: Path) -> None:
        """Start to measure the model of this window on a folder."""
        run = self.session.run
        self._number = self.bridge.submit(
            "evaluate_folder", folder=folder, model=run.model, device=run.device,
            segmenter=run.segmenter,
        )  # fmt: skip
        self.state.setText(f"Measuring {run.model} on {folder.name}; other jobs wait for it.")
        self._enable()

    def adopt(self) -> None:
        """Answer by the thresholds of the folder from now on."""
        if self.report is not None:
            evaluating.use(self.report["calibration"])
            self._changed()

    def go_back(self) -> None:
        """Answer by the shipped thresholds again."""
        evaluating.go_back(self._model)
        self._changed()

    @property
    def _model(self) -> str:
        """The model that was measured, else that of the window."""
        return str(self.report["model"]) if self.report else self.session.run.model

    def _changed(self) -> None:
        """Say which thresholds count now and answer the open phrase by them."""
        self._enable()
        study = self.session.study
        if study is not None and study.heatmap is not None:
            heat = study.heatmap
            self.session.ground(heat.phrase.text, heat.gate.applied)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Tell by which thresholds the model of the window answers: it may be another one now."""
        super().showEvent(event)
        self._enable()

    def _arrange(self) -> None:
        for label in (self.state, self.limits):
            wrap(label)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.choose.setToolTip("Measure this window's model on a folder with labels.csv (Alt-F)")
        self.stop.setToolTip("Stop measuring; nothing is kept of it")
        self.save.setToolTip("Save every answer and number as JSON (Alt-S)")
        self.use.setToolTip("This window and the command line answer by them from now on (Alt-U)")
        self.back.setToolTip("Delete the thresholds of your folder (Alt-G)")
        self.table.setToolTip("One finding a row; hover over a title for what its numbers mean")
        layout = column(self)
        layout.addLayout(row(self.choose, self.stop, stretch=0))
        layout.addWidget(self.bar)
        layout.addWidget(self.state)
        layout.addWidget(self.table)
        layout.addWidget(self.chart)
        layout.addWidget(self.limits)
        layout.addLayout(row(self.use, self.save))
        layout.addWidget(self.back)
        layout.addStretch(1)

    def _enable(self) -> None:
        """Offer what can be done now and tell by which thresholds the model answers."""
        known, own = evaluating.in_use(self._model)
        made = self.report["calibration"] if self.report else None
        self.choose.setEnabled(not self.busy)
        self.stop.setEnabled(self.busy)
        self.bar.setVisible(self.busy)
        self.save.setEnabled(self.report is not None)
        self.use.setEnabled(made is not None and Calibration.of(made) != known)
        self.back.setEnabled(own)
        why = f" None for this folder: {self.report['why']}" if self.report and not made else ""
        self.limits.setText(_limits(self._model, known) + why)

    def _choose(self, checked: bool = False) -> None:
        name = QFileDialog.getExistingDirectory(self, "A folder with labels.csv")
        if name:
            self.measure(Path(name))

    def _save(self, checked: bool = False) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save numbers", "evaluation.json", "*.json")
        if name:
            text = json.dumps(self.report, indent=1)
            try:
                Path(name).write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                self.state.setText(f"Not saved: {error.strerror}. Choose another place.")
            else:
                self.state.setText(f"Saved in {Path(name).name}.")

    def _progressed(self, number: int, share: float, stage: str) -> None:
        if number == self._number:
            self.bar.show_share(share)
            self.state.setText(stage)

    def _finished(self, number: int, found: Report) -> None:
        if number != self._number:
            return
        self._number, self.report = 0, found["report"]
        first = found["tables"][0]
        self._fill(first["head"], first["rows"])
        self.state.setText(" ".join(first["notes"]))
        self.chart.show_bins(found["report"]["reliability"])
        self._enable()

    def _failed(self, number: int, error: CtvlpError) -> None:
        if number == self._number:
            self._number = 0
            self.state.setText(str(error))
            self._enable()

    def _fill(self, head: list[str], rows: list[list[str]]) -> None:
        self.table.setColumnCount(len(head))
        self.table.setHorizontalHeaderLabels(list(head))
        self.table.setRowCount(len(rows))
        for place, title in enumerate(head):
            item = self.table.horizontalHeaderItem(place)
            if item is not None:
                item.setToolTip(_MEANINGS.get(title, title))
        for number, cells in enumerate(rows):
            for place, words in enumerate(cells):
                self.table.setItem(number, place, QTableWidgetItem(words))
        self.table.resizeColumnsToContents()
        self.table.setFixedHeight(min(_TALL, 46 + sum(map(self.table.rowHeight, range(len(rows))))))


def _limits(model: str, known: Calibration | None) -> str:
    """Return in words by which thresholds a model answers."""
    if known is None:
        return f"{model} answers by its card's thresholds: no calibration of its weights is there."
    return (
        f"{model} answers “present” from a support of {known.present:.0%}, “absent” under "
        f"{known.absent:.0%} (false alarms {known.false_alarm:.0%}). Fitted {known.made} on "
        f"{known.source}; {known.positives} findings there, {known.negatives} not."
    )
