"""The checks dock: does an answer move with what should not matter, does its map mean anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtWidgets import (
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.checks import Curves, Erasure, Reading, WeightCheck
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.asking import Asker
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.docks.canvas import Canvas
from napari_ctvlp.ui.docks.drawings import (
    draw_curves,
    draw_erasure,
    draw_readings,
    draw_weights,
    reading_at,
)
from napari_ctvlp.ui.palette import organ_title
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

#: Rank correlation with a map of shuffled weights below which the weights decide the map.
LOW = 0.3
#: Title, what it asks, and what it costs.
TABS = {
    "sensitivity": ("Moves", "How the answer moves with wording, small shifts and HU; "
                             "15 encodings."),
    "check_weights": ("Weights", "The map of shuffled weights beside the real one; 3 encodings."),
    "check_voxels": ("Voxels", "Deletes and inserts what the map marks, beside random blobs; "
                               "about 20 encodings."),
    "check_organs": ("Organs", "Erases the organ that is asked about, and another one; "
                               "2 encodings."),
}  # fmt: skip


class ChecksDock(QWidget):
    """Runs the checks of a phrase's map as jobs and draws what they find.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.asker = room, Asker(room)
        self.readings: tuple[Reading, ...] = ()
        self._asked: dict[str, str] = {}
        self.phrase, self.state = QLineEdit(), QLabel()
        self.named, self.other = QComboBox(), QComboBox()
        self.tabs, self.bar, self.cancel = QTabWidget(), JobBar(), QPushButton("Cancel")
        self.buttons: dict[str, QPushButton] = {}
        self.canvases: dict[str, Canvas] = {}
        self.answers: dict[str, QLabel] = {}
        self._arrange()
        self._connect()
        self._study(room.session.study)

    def _arrange(self) -> None:
        self.phrase.setPlaceholderText("the last phrase that was asked")
        self.phrase.setToolTip("The phrase whose map is checked")
        self.named.setToolTip("The organ that the phrase is about")
        self.other.setToolTip("An organ that should not matter")
        self.cancel.setToolTip("Stop the check; nothing changes")
        wrap(self.state)
        layout = column(self)
        layout.addWidget(self.phrase)
        layout.addWidget(self.state)
        layout.addLayout(row(self.bar, self.cancel, stretch=0))
        for verb, (title, words) in TABS.items():
            self.tabs.addTab(self._page(verb, words), title)
        layout.addWidget(self.tabs, stretch=1)
        self._tell(2.0, "")

    def _page(self, verb: str, words: str) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(4, 6, 4, 4)
        button, answer = QPushButton("Check"), QLabel()
        button.setToolTip(words)
        wrap(answer)
        self.buttons[verb], self.answers[verb] = button, answer
        self.canvases[verb] = Canvas(words, 200)
        if verb == "check_organs":
            layout.addLayout(row(self.named, self.other))
        for widget in (button, answer, self.canvases[verb]):
            layout.addWidget(widget)
        layout.addStretch()
        return page

    def _connect(self) -> None:
        session = self.room.session
        session.study_changed.connect(self._study)
        self.asker.progressed.connect(self._tell)
        self.asker.failed.connect(self._failed)
        self.cancel.clicked.connect(lambda _=False: self._cancel())
        for verb, button in self.buttons.items():
            button.clicked.connect(lambda _=False, verb=verb: self.check(verb))
        self.canvases["sensitivity"].clicked.connect(self._read)

    def check(self, verb: str) -> None:
        """Start one of the checks of :data:`TABS`; one that runs goes on to its end."""
        study, phrase = self.room.session.study, self.phrase.text().strip()
        if study is None or study.encoding is None:
            self.state.setText("Open a CT and let it be encoded first.")
        elif self.asker.busy:
            self.state.setText("A check is running; cancel it first.")
        elif not phrase:
            self.state.setText("Type a phrase first.")
        else:
            organs = {"named": self.named.currentData(), "other": self.other.currentData()}
            shows: dict[str, Callable[[Any], None]] = {
                "sensitivity": self._moved, "check_weights": self._weights,
                "check_voxels": self._voxels, "check_organs": self._organs,
            }  # fmt: skip
            self.state.setText(f"Checking: {phrase}")
            self._asked[verb] = f"\u201c{phrase}\u201d, {self.room.session.run.model}: "
            given = organs if verb == "check_organs" else {}
            self.asker.ask(verb, shows[verb], phrase=phrase, **given)

    def _moved(self, readings: tuple[Reading, ...]) -> None:
        self.readings = readings
        self.canvases["sensitivity"].show_drawing(
            lambda figure, ink: draw_readings(figure, ink, readings)
        )
        self._say("sensitivity", moved_words(readings))

    def _read(self, event: Any) -> None:
        """Tell of the dot that was clicked."""
        one = reading_at(self.readings, event.xdata, event.ydata)
        if one is not None:
            moved = "no peak" if np.isnan(one.moved_mm) else f"moved {one.moved_mm:.0f} mm"
            self._say(
                "sensitivity", f"{one.group}: {one.label}. Peak {one.peak:.3f}, {moved}, "
                f"{one.verdict}.",
            )  # fmt: skip

    def _weights(self, found: WeightCheck) -> None:
        study = self.room.session.study
        assert study is not None  # noqa: S101 - the asker has dropped answers about others
        scan = study.scan
        self.canvases["check_weights"].show_drawing(
            lambda figure, ink: draw_weights(figure, ink, found, scan)
        )
        ranks = ", ".join(f"{rank:+.2f}" for rank in found.correlations)
        low = max(found.correlations) < LOW
        verdict = "It depends on the weights." if low else "NOT below it: the map may mean little."
        self._say(
            "check_weights", f"Rank correlation with shuffled weights: {ranks} (below {LOW} "
            f"wanted). {verdict} Each picture has its own scale, from its median.",
        )  # fmt: skip

    def _voxels(self, found: Curves) -> None:
        self.canvases["check_voxels"].show_drawing(
            lambda figure, ink: draw_curves(figure, ink, found)
        )
        both = (("Insertion", found.insertion_gain), ("deletion", found.deletion_gain))
        told = ", ".join(
            f"{name} {'beats' if gain > 0 else 'does NOT beat'} blobs ({gain:+.3f})"
            for name, gain in both
        )
        self._say("check_voxels", f"{told}: area between the lines.")

    def _organs(self, found: Erasure) -> None:
        self.canvases["check_organs"].show_drawing(
            lambda figure, ink: draw_erasure(figure, ink, found)
        )
        named, other = organ_title(found.named), organ_title(found.other)
        word = "Passed" if found.passed else "FAILED"
        self._say(
            "check_organs", f"{word}: the score should drop without the {named} and stay without "
            f"the {other}.",
        )  # fmt: skip

    def _say(self, verb: str, words: str) -> None:
        """Say what came out, and of which phrase and model: others may be asked since."""
        self.answers[verb].setText(self._asked.get(verb, "") + words)
        self.state.setText("")

    def _study(self, study: Study | None) -> None:
        self.asker.cancel()
        self.readings = ()
        for verb in TABS:
            self.canvases[verb].show_drawing(None)
            self.answers[verb].setText("")
        self.state.setText("" if study is not None else "Open a CT first.")
        self._offer(study.anatomy if study is not None else None)
        if study is not None:
            study.anatomy_changed.connect(self._offer)
            study.heatmap_changed.connect(self._answered)
            self._answered(study.heatmap)

    def _offer(self, anatomy: AnatomyMap | None) -> None:
        for box in (self.named, self.other):
            box.clear()
            for organ in anatomy.organs if anatomy is not None else ():
                if organ.ml > 0:
                    box.addItem(organ_title(organ.name), organ.name)

    def _answered(self, heat: Heatmap | None) -> None:
        """Take over the phrase, the organ that holds most of its map, and one without any."""
        if heat is None:
            return
        self.phrase.setText(heat.phrase.text)
        most = self.named.findData(next(iter(heat.shares), ""))
        self.named.setCurrentIndex(max(most, 0))
        for place in ("liver", "heart"):
            index = self.other.findData(place)
            if index >= 0 and index != self.named.currentIndex():
                self.other.setCurrentIndex(index)
                break

    def _failed(self, error: CtvlpError) -> None:
        self.state.setText(f"{error.found} {error.advice}")

    def _tell(self, share: float, stage: str) -> None:
        running = share <= 1
        self.bar.setVisible(running)
        self.cancel.setVisible(running)
        for button in self.buttons.values():
            button.setEnabled(not running)
        if running:
            self.bar.show_share(share, stage)

    def _cancel(self) -> None:
        self.asker.cancel()
        self.state.setText("Cancelled; nothing has changed.")


def moved_words(readings: tuple[Reading, ...]) -> str:
    """Return how far an answer moved, group by group, and whether it changed."""
    first, rest = readings[0], readings[1:]
    parts = []
    for group in dict.fromkeys(one.group for one in rest):
        peaks = [one.peak for one in rest if one.group == group]
        parts.append(f"{group} {min(peaks):.2f} to {max(peaks):.2f}")
    other = sum(one.verdict != first.verdict for one in rest)
    return (
        f"Peak {first.peak:.2f} ({first.verdict}); {', '.join(parts)}. Another answer in {other} "
        f"of {len(rest)}. Click a dot to read it."
    )
