"""The attention dock: why here, why these words; maps of it on the CT, arrays with their affine."""

from __future__ import annotations

import html
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.encoding import AttentionMaps, EncodingSummary
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.looking import Attention, PlaceWords, Relevance
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.asking import Asker
from napari_ctvlp.ui.docks.attention_parts import Shown, lay, weighed_words
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.docks.canvas import Canvas
from napari_ctvlp.ui.docks.drawings import draw_heads, head_at
from napari_ctvlp.ui.palette import organ_title
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Point, Study

#: Cells of mini's tower on which Grad-CAM can be read.
LEVELS = ("8mm", "4mm", "16mm")
#: An answer that takes no longer shows no progress, ms.
PATIENCE_MS = 300
_NOTE = "Every head's map will be shown here, layers down and heads across."
_QUERY = "Organ query: "
_FIRST, _WAIT = "Open a CT first.", "Waits for the scan to be encoded."
_UNITS = {"logit": "logits", "cosine": "cosines", "split": "parts of the score"}


class AttentionDock(QWidget):
    """Asks an encoder where a place, an organ or a phrase looks.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.found: Attention | None = None
        self.shown: Shown | None = None
        self._deaf = ""
        self.listing, self.looking, self.asking = Asker(room), Asker(room), Asker(room)
        self._askers = (self.listing, self.looking, self.asking)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(lambda: self._show_bar(True))
        self.follow = QCheckBox("&Follow the crosshair")
        self.here = QPushButton("Ask &here")
        self.words, self.state = _words(), _words()
        self.direction, self.within = QComboBox(), QComboBox()
        self.layer, self.head = QComboBox(), QComboBox()
        self.heads = Canvas(_NOTE, 150)
        self.phrase, self.level = QLineEdit(), QComboBox()
        self.weigh, self.relevance = QPushButton("&Weigh its words"), QPushButton("&Grad-CAM")
        self.weights, self.organ = _words(), QComboBox()
        self.save, self.cancel = QPushButton("&Save the map..."), QPushButton("Cancel")
        self.bar, self.tabs = JobBar(), QTabWidget()
        self._arrange()
        self._explain()
        self._connect()
        self._study(room.session.study)

    def _arrange(self) -> None:
        for text, value in (("looks at", "from"), ("is looked at from", "to")):
            self.direction.addItem(f"This place {text}", value)
        self.level.addItems([f"{level} cells" for level in LEVELS])
        self.phrase.setPlaceholderText("the last phrase that was asked")
        self.between = _page(self.direction, self.within, row(self.layer, self.head))
        words = _page(QLabel("Words this place resembles most"), self.words)
        place = _page(self.between, self.heads)
        phrase = _page(self.phrase, self.weigh, self.weights, row(self.relevance, self.level))
        organ = _page(QLabel("Where an organ's query looked"), self.organ)
        pages = {"Words": words, "Places": place, "Phrase": phrase, "Organ": organ}
        for title, page in pages.items():
            self.tabs.addTab(page, title)
        layout = column(self)
        layout.addLayout(row(self.follow, self.here, stretch=0))
        layout.addWidget(self.state)
        layout.addLayout(row(self.bar, self.cancel, stretch=0))
        layout.addWidget(self.tabs, stretch=1)
        layout.addWidget(self.save)
        self._show_bar(False)
        self._offer_heads()

    def _explain(self) -> None:
        self.follow.setToolTip("Ask again whenever the crosshair moves")
        self.here.setToolTip("Ask about the place under the crosshair")
        self.direction.setToolTip("Weights of attention from this place, or to it")
        self.within.setToolTip("The model's organ whose window is looked at")
        self.layer.setToolTip("One layer, their mean, or rollout through all of them")
        self.head.setToolTip("One head or their mean")
        self.phrase.setToolTip("The phrase that is looked into; Enter weighs its words")
        self.weigh.setToolTip("Leave out each word: how much does the similarity fall")
        self.relevance.setToolTip("Relevance by gradients, of convolutional models; no attention")
        self.level.setToolTip("Which cells of the network")
        self.organ.setToolTip("Models that pool organs by a query, such as fVLM and mini")
        self.save.setToolTip("NIfTI with its affine; all heads are its fourth axis")
        self.cancel.setToolTip("Stop what is being computed; nothing changes")

    def _connect(self) -> None:
        session = self.room.session
        session.study_changed.connect(self._study)
        # before the views move: the answer is there by the time that they are painted
        session.point_changed.connect(self._moved, priority=1)
        self.here.clicked.connect(lambda _=False: self.ask_here())
        for box in (self.direction, self.within):
            box.activated.connect(lambda _=0: self.look())
        for box in (self.layer, self.head):
            box.activated.connect(lambda _=0: self._show_attention())
        self.heads.clicked.connect(self._pick)
        self.phrase.returnPressed.connect(self.weigh_words)
        self.weigh.clicked.connect(lambda _=False: self.weigh_words())
        self.relevance.clicked.connect(lambda _=False: self.ask_relevance())
        self.organ.activated.connect(lambda _=0: self._attend())
        self.save.clicked.connect(lambda _=False: self._ask_where())
        self.cancel.clicked.connect(lambda _=False: self._cancel())
        for asker in self._askers:
            asker.progressed.connect(self._tell)
            asker.failed.connect(self._failed)

    def ask_here(self) -> None:
        """Ask for the words of the place under the crosshair, and where it looks."""
        point = self._ready_at()
        if point is not None:
            self.listing.ask("place_words", self._listed, point=point)
            self.look()

    def look(self) -> None:
        """Ask where the place under the crosshair looks, unless the model cannot say."""
        point = self._ready_at()
        if point is None or self._deaf == self.room.session.run.model:
            return
        self.looking.ask(
            "place_attention", self._looked, point=point, direction=self.direction.currentData(),
            organ=self.within.currentData() or "",
        )  # fmt: skip

    def weigh_words(self) -> None:
        """Ask which words of the phrase drive its similarity."""
        phrase = self._ready_phrase()
        if phrase:
            self.asking.ask("phrase_words", self._weighed, phrase=phrase)

    def ask_relevance(self) -> None:
        """Ask for Grad-CAM of the phrase."""
        phrase = self._ready_phrase()
        if phrase:
            level = LEVELS[self.level.currentIndex()]
            done = partial(self._relevant, phrase)
            self.asking.ask("phrase_relevance", done, phrase=phrase, level=level)

    def save_map(self, path: Path) -> None:
        """Write the map on the CT, or all heads behind it, with its affine."""
        from napari_ctvlp.io.nifti import save_ipl

        if self.shown is None:
            self.state.setText("There is no map to save yet.")
            return
        values = self.shown.values
        if self.found is not None and self.shown.name.startswith("Attention"):
            values = np.moveaxis(self.found.heads.reshape(-1, *values.shape), 0, -1)
        try:
            save_ipl(path, values, self.shown.affine)
        except OSError as error:
            self.state.setText(f"Not saved: {error.strerror}. Choose another place.")
        else:
            self.state.setText(f"Saved as {path.name}.")

    def _ready(self) -> Study | None:
        """Return the study once it is encoded; else say what is missing."""
        study = self.room.session.study
        if study is None or study.encoding is None:
            self.state.setText(_FIRST if study is None else _WAIT)
            return None
        return study

    def _ready_at(self) -> Point | None:
        return self.room.session.point if self._ready() is not None else None

    def _ready_phrase(self) -> str:
        study = self._ready()
        if study is None:
            return ""
        last = study.heatmap.phrase.text if study.heatmap is not None else ""
        text = self.phrase.text().strip() or last
        self.phrase.setText(text)
        if not text:
            self.state.setText("Type a phrase first.")
        return text

    def _moved(self, point: Point) -> None:
        study = self.room.session.study
        encoded = study is not None and study.encoding is not None
        if self.follow.isChecked() and self.isVisible() and encoded:
            self.ask_here()

    def _listed(self, found: PlaceWords) -> None:
        if not found.words:
            self.words.setText("The model did not look at this place.")
            return
        digits = 2 if found.kind == "logit" else 3
        rows = "".join(
            f"<tr><td align=right>{score:+.{digits}f}&nbsp;</td><td>{html.escape(word)}</td></tr>"
            for word, score in found.words
        )
        where = f" in the window of the {organ_title(found.organ)}" if found.organ else ""
        self.words.setText(f"<table>{rows}</table><i>{_UNITS.get(found.kind, '')}{where}</i>")

    def _looked(self, found: Attention) -> None:
        changed = self.found is None or self.found.heads.shape[:2] != found.heads.shape[:2]
        self.found = found
        if changed:
            self._offer_heads()
        self._show_attention()

    def _offer_heads(self) -> None:
        """List layers and heads of the attention there is."""
        layers, heads = self.found.heads.shape[:2] if self.found is not None else (0, 0)
        for box, count, name in ((self.layer, layers, "layer"), (self.head, heads, "head")):
            box.clear()
            box.addItem(f"All {name}s", None)
            for number in range(count):
                box.addItem(f"{name.title()} {number}", number)
            box.setEnabled(count > 0)
        self.layer.insertItem(1, "Rollout", "rollout")

    def _show_attention(self) -> None:
        found = self.found
        if found is None:
            return
        layer, head = self.layer.currentData(), self.head.currentData()
        rolled = layer == "rollout"
        self.head.setEnabled(not rolled)
        values = found.map(None if rolled else layer, None if rolled else head, rolled)
        chosen = (layer, head) if isinstance(layer, int) and isinstance(head, int) else None
        self.heads.show_drawing(lambda figure, ink: draw_heads(figure, ink, found, chosen))
        words = self.direction.itemText(0 if found.direction == "from" else 1).lower()
        name = f"Attention: what {words}"
        window = f" in the window of the {organ_title(found.organ)}" if found.organ else ""
        self._show(Shown(values, found.affine, name), "viridis")
        self.state.setText(
            f"{found.model}{window}: highest weight {values.max():.3g}, "
            f"{1 / values.size:.2g} if all were alike. Cells as they are."
        )

    def _pick(self, event: Any) -> None:
        """Choose the head that was clicked."""
        if self.found is not None:
            layer, head = head_at(self.found, event.xdata, event.ydata)
            self.layer.setCurrentIndex(self.layer.findData(layer))
            self.head.setCurrentIndex(self.head.findData(head))
            self._show_attention()

    def _weighed(self, found: tuple[tuple[str, float], ...]) -> None:
        self.weights.setText(weighed_words(found) if found else "Nothing can be searched for it.")
        self.state.setText(
            "Orange: without the word the similarity falls. Blue: it rises. Stronger is more."
        )

    def _relevant(self, phrase: str, found: Relevance) -> None:
        name = f"Relevance (Grad-CAM, {found.level}): {phrase}"
        self._show(Shown(found.values, found.affine, name), "plasma")
        self.state.setText(found.words)

    def _attend(self) -> None:
        session, organ = self.room.session, str(self.organ.currentData() or "")
        if self.shown is not None and self.shown.name.startswith(_QUERY):
            self.shown = None
            self.state.setText("")
        session.attend(organ)
        self._attended(session.study.attention if session.study is not None else None)

    def _attended(self, maps: AttentionMaps | None) -> None:
        """Take an organ's attention, which the room draws, as the map to save."""
        organ = self.organ.currentData()
        if maps is not None and organ in maps.maps:
            name = f"{_QUERY}{organ_title(organ)}"
            self.shown = Shown(maps.maps[organ], maps.affines[organ], name)
            peak = np.unravel_index(np.nanargmax(self.shown.values), self.shown.values.shape)
            r, a, s = transform(self.shown.affine, peak).tolist()
            self.room.session.look_at((r, a, s))
            self.state.setText(
                f"{maps.model}: the query of the {organ_title(organ)}. The crosshair is at its "
                f"highest weight, {np.nanmax(self.shown.values):.3g}."
            )

    def _encoded(self, encoding: EncodingSummary | None) -> None:
        """Offer the organs of another model, and ask it anew."""
        self.found, self._deaf = None, ""
        self._offer_heads()
        self.between.show()
        self.heads.show_drawing(None)
        self.heads.note.setText(_NOTE)
        for box, first in ((self.organ, "nothing"), (self.within, "Window that holds it")):
            box.clear()
            box.addItem(first, "")
            for organ in encoding.attention if encoding is not None else ():
                box.addItem(organ_title(organ), organ)

    def _study(self, study: Study | None) -> None:
        for asker in self._askers:
            asker.cancel()
        self.shown = None
        self.words.setText("")
        self.weights.setText("")
        self._encoded(study.encoding if study is not None else None)
        self.state.setText("" if study is not None else _FIRST)
        if study is not None:
            study.encoding_changed.connect(self._encoded)
            study.attention_changed.connect(self._attended)
            study.heatmap_changed.connect(self._answered)

    def _answered(self, heat: Heatmap | None) -> None:
        if heat is not None:
            self.phrase.setText(heat.phrase.text)

    def _failed(self, error: CtvlpError) -> None:
        if error.code == "no-attention":
            self._deaf = self.room.session.run.model
            self.between.hide()
            self.heads.show_drawing(None)
            self.heads.note.setText(f"{self._deaf} has no attention between places. {error.advice}")
            return
        self.state.setText(f"{error.found} {error.advice}")

    def _tell(self, share: float, stage: str) -> None:
        """Show progress of what takes its time; a quick answer moves nothing about."""
        if not any(asker.busy for asker in self._askers):
            self._patience.stop()
            self._show_bar(False)
            return
        self.bar.show_share(min(share, 1.0), stage)
        if self.bar.isHidden() and not self._patience.isActive():
            self._patience.start()

    def _show_bar(self, shown: bool) -> None:
        self.bar.setVisible(shown)
        self.cancel.setVisible(shown)

    def _cancel(self) -> None:
        for asker in self._askers:
            asker.cancel()
        self.state.setText("Cancelled.")

    def _show(self, shown: Shown, colours: str) -> None:
        """Lay a map on the CT; it is the one that is saved."""
        self.shown = shown
        lay(self.room.viewer, shown, colours)

    def _ask_where(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the map", "attention.nii.gz", "NIfTI (*.nii.gz *.nii)"
        )
        if name:
            self.save_map(Path(name))


def _words() -> QLabel:
    label = QLabel()
    wrap(label)
    return label


def _page(*parts: Any) -> QWidget:
    """Return a tab's page of widgets and rows, one under the other."""
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(4, 6, 4, 4)
    for part in parts:
        if isinstance(part, QWidget):
            layout.addWidget(part)
        else:
            layout.addLayout(part)
    layout.addStretch()
    return page
