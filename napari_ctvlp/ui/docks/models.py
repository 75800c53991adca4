"""The models dock: which models there are, their licences, and their files."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QHeaderView,
    QLabel,
    QMessageBox,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import ModelCard
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room

_COLUMNS = ("Model", "Kind", "State", "MB")
_WORDS = {
    "ready": "ready",
    "missing": "files missing",
    "licence": "accept licence",
    "package": "package missing",
}


class ModelsDock(QWidget):
    """Lists every model and does what the weights manager can.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.bridge, self.session = room.bridge, room.session
        self.cards: tuple[ModelCard, ...] = store.cards()
        self._number = 0
        self.table = _table()
        self.details = QLabel()
        wrap(self.details)
        self.details.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.table.setToolTip("Every model that is known here; choose one to see and fetch it")
        self.offline = QCheckBox("Never use the network")
        self.offline.setToolTip("Nothing is fetched, whatever is clicked")
        self.offline.setChecked(store.offline())
        self.bar, self.state = JobBar(), QLabel()
        wrap(self.state)
        self.buttons = {name: QPushButton(name) for name in _ACTIONS}
        for name, button in self.buttons.items():
            button.setToolTip(_ACTIONS[name])
            button.clicked.connect(lambda _=False, name=name: self._act(name))
        self._arrange()
        self.table.itemSelectionChanged.connect(self._show)
        self.offline.toggled.connect(self._switch)
        self.bridge.progressed.connect(self._progressed)
        self.bridge.finished.connect(self._finished)
        self.bridge.failed.connect(self._failed)
        self._fill()
        self.table.selectRow(0)

    @property
    def card(self) -> ModelCard:
        """The card of the selected row."""
        return self.cards[max(0, self.table.currentRow())]

    def _arrange(self) -> None:
        layout, buttons = column(self), list(self.buttons.values())
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.details)
        layout.addLayout(row(*buttons[:3]))
        layout.addLayout(row(*buttons[3:]))
        layout.addWidget(self.offline)
        layout.addWidget(self.bar)
        layout.addWidget(self.state)

    def _fill(self) -> None:
        self.table.setRowCount(len(self.cards))
        for number, card in enumerate(self.cards):
            state = store.state_of(card)
            cells = (card.title, card.kind, _WORDS[state.word], f"{state.size_mb:.0f}")
            for place, words in enumerate(cells):
                self.table.setItem(number, place, QTableWidgetItem(words))
        self._show()

    def _show(self) -> None:
        """Tell of the selected model and offer what can be done with it now."""
        card, hosted = self.card, store.bundle(self.card)
        state, busy = store.state_of(card), self._number > 0
        self.details.setText(_details(card))
        known = hosted is not None
        for name, button in self.buttons.items():
            wanted = {
                "Get": known and state.word == "missing" and not store.offline(),
                "Accept licence": known and not store.accepted(card),
                "Verify": state.usable,
                "Delete": known and state.size_mb > 0,
            }
            button.setEnabled(wanted.get(name, known) and not busy)

    def _act(self, name: str) -> None:
        """Do what a button says with the selected model."""
        card = self.card
        try:
            if name == "Accept licence" and self._agreed(card):
                store.accept(card)
            elif name == "Delete":
                self.state.setText(f"{store.delete(card):.0f} MB were freed.")
            elif name in ("Get", "Verify"):
                self._start({"Get": "fetch_model", "Verify": "verify_model"}[name])
            elif name.startswith("Import") and (path := self._chosen(name)):
                self._start("import_model", path=Path(path))
        except CtvlpError as error:
            self._tell(error)
        self._fill()
        self.session.models_changed.emit()

    def _agreed(self, card: ModelCard) -> bool:
        text = f"{card.title}\n\n{card.licence}\n\nDo you accept this licence?"
        return QMessageBox.question(self, "Licence", text) == QMessageBox.StandardButton.Yes

    def _chosen(self, name: str) -> str:
        if name == "Import folder":
            return QFileDialog.getExistingDirectory(self, "A folder that holds the model's files")
        return QFileDialog.getOpenFileName(self, "One of the model's files")[0]

    def _start(self, verb: str, **arguments: Any) -> None:
        self._number = self.bridge.submit(verb, model=self.card.id, **arguments)
        self.state.setText("Working ...")

    def _switch(self, on: bool) -> None:
        store.set_offline(on)
        self._show()

    def _progressed(self, number: int, share: float, stage: str) -> None:
        if number == self._number:
            self.bar.show_share(share)
            self.state.setText(stage)

    def _finished(self, number: int, result: object) -> None:
        if number == self._number:
            self._end(str(result))

    def _failed(self, number: int, error: CtvlpError) -> None:
        if number == self._number:
            self._end("")
            self._tell(error)

    def _end(self, words: str) -> None:
        self._number = 0
        self.bar.show_share(0.0)
        self.state.setText(words)
        self._fill()
        self.session.models_changed.emit()

    def _tell(self, error: CtvlpError) -> None:
        self.state.setText(f"{error.found} Expected: {error.expected} {error.advice}")


#: Buttons and what they do.
_ACTIONS = {
    "Get": "Fetch the missing files at the pinned revision; what has come is kept",
    "Import file": "Copy a file that you already have into the model's folder",
    "Import folder": "Copy a folder of the model's files, from another computer perhaps",
    "Accept licence": "Read the licence and accept it, once",
    "Verify": "Hash the files again and compare their tensors with what is needed",
    "Delete": "Delete the model's files from this computer",
}


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_COLUMNS))
    table.setHorizontalHeaderLabels(_COLUMNS)
    table.verticalHeader().setVisible(False)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.setMinimumHeight(180)
    return table


def _details(card: ModelCard) -> str:
    """Return what a card says, as lines of rich text."""
    hosted, state = store.bundle(card), store.state_of(card)
    rows = [("Licence", card.licence), ("For", hosted.population if hosted else "")]
    if hosted:
        size = f"{hosted.size_mb:.0f} MB" if hosted.size_mb else "not known"
        rows += [("Size", size), ("From", hosted.where), ("Folder", str(state.folder))]
    rows += [("State", state.reason)]
    lines = [f"<b>{name}</b> {html.escape(words)}" for name, words in rows if words]
    return "<br>".join([html.escape(card.summary), *lines])
