"""The passport dock: where the scan lies, what was corrected, whether its sides hold."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication, QLabel, QPushButton, QWidget

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.passport import Passport, passport
from napari_ctvlp.core.sides import SideCheck, check_sides
from napari_ctvlp.ui.files import FileWork
from napari_ctvlp.ui.panel import column, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

_WAITING = "Left and right are checked against the body once the organs are known."


class PassportDock(QWidget):
    """Shows the geometry passport of the study.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.session = room.session
        self.passport: Passport | None = None
        self.check: SideCheck | None = None
        self.work = FileWork()
        self.text = QLabel()
        wrap(self.text)
        self.copy = QPushButton("&Copy as text")
        self.copy.setToolTip("Put the passport on the clipboard (Alt-C)")
        self.copy.clicked.connect(self._copy)
        layout = column(self)
        layout.addWidget(self.text)
        layout.addWidget(self.copy)
        layout.addStretch(1)
        self.work.finished.connect(self._checked)
        self.work.failed.connect(lambda error: self._show(str(error)))
        self.session.study_changed.connect(self._study)
        self._study(self.session.study)

    def _study(self, study: Study | None) -> None:
        self.check, self.passport = None, None
        self.copy.setEnabled(study is not None)
        if study is None:
            self.text.setText("No CT is open.")
            return
        study.anatomy_changed.connect(self._anatomy)
        self._show()
        if study.anatomy is not None:
            self._anatomy(study.anatomy)

    def _anatomy(self, anatomy: AnatomyMap) -> None:
        study = self.session.study
        if study is not None and anatomy.labels.shape == study.scan.shape:
            scan = study.scan
            self.work.start(lambda progress, show: check_sides(scan, anatomy))

    def _checked(self, check: object) -> None:
        if isinstance(check, SideCheck):
            self.check = check
            self._show()

    def _show(self, problem: str = "") -> None:
        study = self.session.study
        if study is None:
            return
        self.passport = passport(study.scan, self.check)
        mark = "&#9888; Left and right: objection" if self.passport.objection else "Left and right"
        corrected = "<br>".join(self.passport.corrected) or "Nothing."
        rows = [
            (mark, problem or self.passport.sides or _WAITING),
            ("Corrected or assumed", corrected),
            *self.passport.rows,
        ]
        parts = [f"<b>{title}</b><br>{words}" for title, words in rows]
        self.text.setText("<p>".join(parts))

    def _copy(self, checked: bool = False) -> None:
        if self.passport is not None:
            rows = [f"{title}: {words}" for title, words in self.passport.rows]
            rows += [*self.passport.corrected, self.passport.sides]
            QApplication.clipboard().setText("\n".join(row for row in rows if row))
