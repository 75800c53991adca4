"""The phrases dock: type, see where, whether, and how sure."""

from __future__ import annotations

from functools import partial
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, FloatSpinBox
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QWidget,
)

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.docks.bar import JobBar, job_words
from napari_ctvlp.ui.docks.chart import ShareChart
from napari_ctvlp.ui.docks.chips import Chips
from napari_ctvlp.ui.docks.scale import ScaleBar
from napari_ctvlp.ui.docks.suggest import (
    Suggestions,
    Vocabulary,
    asked_before,
    favourites,
    remember,
    star,
)
from napari_ctvlp.ui.palette import HEAT_MAPS
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.session import Look, Session, Study
from napari_ctvlp.ui.words import peak_words, verdict_words

#: A job that is over before this shows no progress bar, ms.
PATIENCE_MS = 300
#: What can be drawn or left out, by its name in :class:`Look`: its words, what it means.
_TICKS = {
    "jump": ("move to the peak of a new answer", "Whether a new answer moves the crosshair"),
    "lines": ("lines at 0.25, 0.50, 0.75",
              "A map without support has them always, dashed and without colours"),
    "hatch": ("hatch what was not searched",
              "Where the model did not look, or the phrase says not to"),
    "cells": ("the model's own grid",
              "Borders of the cells that were computed; the picture runs between them"),
    "pale": ("fill maps without support faintly", "The raw map beside its lines; it is no finding"),
}  # fmt: skip
#: Phrases listed under "Asked".
_LISTED = 15


class PhrasesDock(QWidget):
    """Asks for a phrase and shows the answer.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.edit = QLineEdit()
        self.edit.setPlaceholderText("spiculated nodule in the left lower lobe")
        self.gate = QCheckBox("Search only where the phrase says")
        self.gate.setChecked(True)
        self.cancel_button = QPushButton("Cancel")
        self.bar = JobBar()
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self.chips, self.gate_words = Chips(), _words()
        self.star = QCheckBox("Favourite")
        self.before = QPushButton("Asked")
        self.before.setMenu(QMenu(self.before))
        self.browse = QPushButton("Vocabulary ...")
        self.suggestions = Suggestions(self.edit)
        self.verdict, self.peak = _words(), _words()
        self.jump = QPushButton("Jump")
        self.look = _look_form(session.look)
        self.scale = ScaleBar()
        self.chart = ShareChart()
        self._arrange()
        self._explain()
        self.edit.returnPressed.connect(self._ask)
        self.edit.textEdited.connect(self._parse)
        self.star.clicked.connect(self._starred)
        self.browse.clicked.connect(self._browse)
        self.before.menu().aboutToShow.connect(self._list_before)
        self.chips.changed.connect(self._rechipped)
        self.gate.toggled.connect(self._regate)
        self._patience.timeout.connect(self._impatient)
        self.cancel_button.clicked.connect(self._cancel)
        self.jump.clicked.connect(self._jump)
        self.look.changed.connect(self._looked)
        session.study_changed.connect(self._study)
        session.jobs_changed.connect(self._jobs)
        session.grounding.connect(self._asked)
        session.failed.connect(self._failed)
        self._study(session.study)
        self._jobs()

    def _arrange(self) -> None:
        layout = column(self)
        layout.addWidget(self.edit)
        layout.addLayout(row(self.star, self.before, self.browse, stretch=0))
        layout.addWidget(self.chips)
        layout.addWidget(self.gate)
        layout.addWidget(self.scale)
        layout.addWidget(self.gate_words)
        layout.addLayout(_row(self.bar, self.cancel_button))
        layout.addWidget(self.verdict)
        layout.addLayout(_row(self.peak, self.jump))
        self.look.native.layout().setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.look.native)
        layout.addWidget(self.chart, stretch=1)

    def _explain(self) -> None:
        self.edit.setToolTip("What to look for; Enter asks")
        self.gate.setToolTip("Search only the side and the organ that the phrase names")
        self.cancel_button.setToolTip("Stop what is being computed; nothing changes")
        self.star.setToolTip("Keep this phrase among those that are suggested first")
        self.before.setToolTip("Favourites, and what was asked last")
        self.browse.setToolTip("Every finding by organ, with its synonyms")
        self.jump.setToolTip("Move the crosshair to the peak")

    def _ask(self) -> None:
        if self.session.study is None:
            self.verdict.setText("Open a CT first.")
            return
        self._parse(self.edit.text())
        if self.edit.text().strip():
            remember(self.edit.text().strip())
            self.suggestions.refresh()
        self.session.ground(self.edit.text(), self.gate.isChecked())

    def _rechipped(self, text: str) -> None:
        """Ask again as a chip was changed."""
        self.edit.setText(text)
        self._ask()

    def _list_before(self) -> None:
        """List favourites with a star, then what was asked last."""
        menu, starred = self.before.menu(), favourites()
        menu.clear()
        for text in dict.fromkeys([*starred, *asked_before()[:_LISTED]]):
            head = "\u2605 " if text in starred else ""
            menu.addAction(head + text, partial(self._rechipped, text))
        if menu.isEmpty():
            menu.addAction("Nothing was asked yet").setEnabled(False)

    def _starred(self, starred: bool) -> None:
        if self.edit.text().strip():
            star(self.edit.text().strip(), starred)
            self.suggestions.refresh()

    def _browse(self, checked: bool = False) -> None:
        dialog = Vocabulary(self)
        dialog.chosen.connect(self._rechipped)
        dialog.open()

    def _asked(self, text: str, gate: bool) -> None:
        """Show the phrase that is being looked for, whoever asked for it."""
        self._put(text)
        study = self.session.study
        if study is not None and study.encoding is None:
            self._wait("Waits for the scan to be encoded ...")

    def _put(self, text: str) -> None:
        """Have a phrase stand in the field as if it had been typed and asked."""
        self.edit.setModified(False)
        if self.edit.text() != text:
            self.edit.setText(text)
            self._parse(text)

    def _wait(self, words: str) -> None:
        """Take the last answer away while a new one is worked on."""
        self.verdict.setText(words)
        self.peak.setText("")
        self.jump.setEnabled(False)

    def _parse(self, text: str) -> None:
        from napari_ctvlp.core.parser import parse

        self.chips.show_phrase(parse(text) if text.strip() else None)
        self.star.setChecked(text.strip() in favourites())

    def _regate(self, applied: bool) -> None:
        study = self.session.study
        if study is not None and study.heatmap is not None:
            self.session.ground(study.heatmap.phrase.text, applied)

    def _cancel(self, checked: bool = False) -> None:
        self.session.cancel()
        self.verdict.setText("Cancelled.")

    def _jump(self, checked: bool = False) -> None:
        study = self.session.study
        if study is not None and study.heatmap is not None and study.heatmap.peak_ras is not None:
            self.session.look_at(study.heatmap.peak_ras)

    def _looked(self) -> None:
        form = self.look
        self.session.set_look(Look(
            form.opacity.value, form.threshold.value, form.colours.value, form.jump.value,
            form.lines.value, form.hatch.value, form.cells.value, form.pale.value,
        ))  # fmt: skip
        self._rescale()

    def _rescale(self) -> None:
        study = self.session.study
        self.scale.show_heat(study.heatmap if study is not None else None, self.session.look)

    def _study(self, study: Study | None) -> None:
        if study is not None:
            study.heatmap_changed.connect(self._show)
        self._show(study.heatmap if study is not None else None)

    def _show(self, heatmap: Heatmap | None) -> None:
        if heatmap is not None and not self.edit.isModified():
            self._put(heatmap.phrase.text)
        self.jump.setEnabled(heatmap is not None and heatmap.peak_ras is not None)
        self.gate_words.setText(heatmap.gate.words if heatmap is not None else "")
        self.verdict.setText(verdict_words(heatmap) if heatmap is not None else "")
        self.peak.setText(peak_words(heatmap) if heatmap is not None else "")
        self._rescale()
        self.chart.show_shares(dict(heatmap.shares) if heatmap is not None else {})

    def _jobs(self) -> None:
        jobs = list(self.session.jobs.values())
        if not jobs:
            self._patience.stop()
            self._show_bar(False)
            return
        self.bar.show_share(jobs[-1].share, job_words(jobs[-1].kind))
        if self.bar.isHidden() and not self._patience.isActive():
            self._patience.start()

    def _impatient(self) -> None:
        """Say that the answer takes its time."""
        self._show_bar(True)
        if "ground" in self.session.jobs:
            self._wait("Looking ...")

    def _show_bar(self, shown: bool) -> None:
        self.bar.setVisible(shown)
        self.cancel_button.setVisible(shown)

    def _failed(self, error: CtvlpError) -> None:
        self.verdict.setText(f"{error.found} {error.advice}")


def _look_form(look: Look) -> Any:
    """Build the form of how the heatmap is drawn."""
    # fmt: off
    return Container(
        widgets=[
            FloatSpinBox(
                name="opacity", value=look.opacity, min=0, max=1, step=0.05,
                tooltip="How much of the CT the heatmap covers",
            ),
            FloatSpinBox(
                name="threshold", value=look.threshold, min=0, max=0.95, step=0.05,
                tooltip="Scores under this are not drawn",
            ),
            ComboBox(
                name="colours", value=look.colormap, choices=HEAT_MAPS,
                tooltip="Colour map of findings that are present",
            ),
            *(
                CheckBox(name=name, value=getattr(look, name), text=text, tooltip=tip)
                for name, (text, tip) in _TICKS.items()
            ),
        ]
    )


def _words() -> QLabel:
    label = QLabel()
    wrap(label)
    return label


def _row(first: QWidget, second: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(first, stretch=1)
    row.addWidget(second)
    return row
