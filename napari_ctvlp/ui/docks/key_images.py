"""The key images dock: bookmark a view, caption it, go back to it; the finding as text."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QPushButton, QWidget

from napari_ctvlp.ui.notebook import KeyImage, copy_finding, notebook_of
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room

_EMPTY = "No key image yet. 'Bookmark' keeps slice, window, organs and phrase of this moment."


class KeyImagesDock(QWidget):
    """Lists the key images of the study.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.book = notebook_of(room)
        self.mark = QPushButton("&Bookmark")
        self.back = QPushButton("&Go back")
        self.forget = QPushButton("&Remove")
        self.text = QPushButton("Copy &finding as text")
        self.list = QListWidget()
        self.state = QLabel(_EMPTY)
        self._arrange()
        self.mark.clicked.connect(lambda _=False: self.book.mark())
        self.back.clicked.connect(lambda _=False: self._back())
        self.forget.clicked.connect(lambda _=False: self._forget())
        self.text.clicked.connect(lambda _=False: self.copy_finding())
        self.list.itemActivated.connect(lambda _: self._back())
        self.list.itemChanged.connect(self._renamed)
        self.book.changed.connect(self._fill)
        self._fill()

    def copy_finding(self) -> None:
        """Put the answer to the phrase on the clipboard, as text for a report."""
        text = copy_finding(self.room)
        none = "There is no finding yet: look for a phrase first."
        self.state.setText(f"On the clipboard:\n{text}" if text else none)

    def _arrange(self) -> None:
        self.list.setIconSize(QSize(72, 72))
        self.list.setWordWrap(True)
        self.list.setMinimumHeight(120)
        self.list.setToolTip("Enter or a double click goes back; F2 changes the caption")
        self.mark.setToolTip("Keep this view: slice, window, organs, phrase (Alt-B)")
        self.back.setToolTip("Show the selected key image again (Alt-G)")
        self.forget.setToolTip("Remove the selected key image (Alt-R)")
        self.text.setToolTip("Copy what was found, where and how sure, for a report (Alt-F)")
        wrap(self.state)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = column(self)
        layout.addLayout(row(self.mark, self.back, self.forget))
        layout.addWidget(self.list, stretch=1)
        layout.addWidget(self.text)
        layout.addWidget(self.state)

    def _fill(self) -> None:
        self.list.blockSignals(True)
        self.list.clear()
        for image in self.book.images:
            self.list.addItem(_entry(image))
        self.list.blockSignals(False)
        some = bool(self.book.images)
        self.back.setEnabled(some)
        self.forget.setEnabled(some)
        self.mark.setEnabled(self.room.session.study is not None)
        self.state.setText(f"{len(self.book.images)} key images." if some else _EMPTY)
        self.list.setCurrentRow(len(self.book.images) - 1)

    def _back(self) -> None:
        if self.list.currentRow() >= 0:
            self.book.recall(self.list.currentRow())

    def _forget(self) -> None:
        if self.list.currentRow() >= 0:
            self.book.remove(self.list.currentRow())

    def _renamed(self, entry: QListWidgetItem) -> None:
        self.book.name(self.list.row(entry), entry.text())


def _entry(image: KeyImage) -> QListWidgetItem:
    entry = QListWidgetItem(image.caption)
    entry.setFlags(entry.flags() | Qt.ItemFlag.ItemIsEditable)
    if image.picture is not None:
        rows, columns, _ = image.picture.shape
        data = image.picture.tobytes()
        picture = QImage(data, columns, rows, 4 * columns, QImage.Format.Format_RGBA8888)
        entry.setIcon(QIcon(QPixmap.fromImage(picture.copy())))
    return entry
