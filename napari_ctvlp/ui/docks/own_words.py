"""The editor of the user's own vocabulary: checked before it is used, in use without a restart."""

from __future__ import annotations

from qtpy.QtCore import QUrl, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QDesktopServices, QFontDatabase
from qtpy.QtWidgets import QDialog, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.engine import own_vocabulary
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.panel import row, wrap


class OwnWords(QDialog):
    """Edits the user's TOML file.

    Signals
    -------
    used
        Other findings or words are in use now.
    """

    used = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("My vocabulary")
        self.resize(620, 480)
        self.text, self.words = QPlainTextEdit(), QLabel()
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setToolTip("One table [[finding]] each; nothing is used before it was checked")
        wrap(self.words)
        self.save_button, self.reload_button = QPushButton("Save and use"), QPushButton("Reload")
        self.file_button = QPushButton("Open the file")
        self.save_button.setToolTip("Check what stands here, write it and use it")
        self.reload_button.setToolTip("Use the file as another editor has left it")
        self.file_button.setToolTip("In the editor of your system; choose Reload afterwards")
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addWidget(self.words)
        layout.addLayout(row(self.save_button, self.reload_button, self.file_button))
        self.save_button.clicked.connect(lambda _=False: self.save())
        self.reload_button.clicked.connect(lambda _=False: self.reload())
        self.file_button.clicked.connect(lambda _=False: self._open())
        self._show(own_vocabulary.START)

    def save(self) -> None:
        """Check the text, write it, and use it; a fault is told and changes nothing."""
        try:
            own_vocabulary.save(self.text.toPlainText())
        except CtvlpError as error:
            self.words.setText(f"{error.found} {error.advice}")
            return
        self._tell()

    def reload(self) -> None:
        """Use the file as it is on disk."""
        try:
            own_vocabulary.refresh()
        except CtvlpError as error:
            self._show(self.text.toPlainText())
            self.words.setText(f"{error.found} {error.advice}")
            return
        self._show(own_vocabulary.START)
        self._tell()

    def _show(self, otherwise: str) -> None:
        """Show the file, even one that cannot be used."""
        path = own_vocabulary.vocabulary_file()
        try:
            self.text.setPlainText(own_vocabulary.text_of(path) or otherwise)
            self.words.setText(f"In {path.name} of the settings folder.")
        except CtvlpError as error:
            self.words.setText(f"{error.found} {error.advice}")

    def _tell(self) -> None:
        count = sum(finding.own for finding in findings().values())
        self.words.setText(f"In use: {count} findings of your own or with words of yours.")
        self.used.emit()

    def _open(self) -> None:
        path = own_vocabulary.vocabulary_file()
        if not path.exists():
            self.save()
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
