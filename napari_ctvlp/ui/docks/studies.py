"""The studies dock: what was found, and one click to open it. Names of patients stay here."""

from __future__ import annotations

from functools import partial

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from napari_ctvlp.errors import CtvlpError, JobCancelled
from napari_ctvlp.io.survey import Item, PatientItems, Survey
from napari_ctvlp.ui._compat import drop_target
from napari_ctvlp.ui.choices import keep, kept
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.drop import Drops
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.studies import studies_of

_THUMB = 64
_ITEM = Qt.ItemDataRole.UserRole
_FILTER = "CT (*.nii *.nii.gz *.hdr *.nrrd *.nhdr *.mha *.mhd *.dcm);;All files (*)"
_EMPTY = (
    "Drop a folder or files on the window, or choose them here. Everything in it is listed: "
    "DICOM series, segmentations and contours, NIfTI, NRRD, MetaImage."
)


class StudiesDock(QWidget):
    """Lists patients, studies and series with thumbnails; a click opens one.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.studies = studies_of(room)
        self.folder = QPushButton("&Folder...")
        self.file = QPushButton("F&ile...")
        self.stop = QPushButton("&Cancel")
        self.names = QCheckBox("Hide &names")
        self.compare = QCheckBox("Open &beside")
        self.tree = QTreeWidget()
        self.bar = JobBar()
        self.state = QLabel(_EMPTY)
        self._arrange()
        self._explain()
        self._connect()
        self._idle()
        target = drop_target(room.viewer)
        self.drops = Drops(target, self.studies.look) if target is not None else None

    def _arrange(self) -> None:
        self.tree.setHeaderHidden(True)
        self.tree.setIconSize(QSize(_THUMB, _THUMB))
        self.tree.setWordWrap(True)
        self.tree.setIndentation(10)
        self.tree.setMinimumHeight(160)
        wrap(self.state)
        self.names.setChecked(bool(kept("hide_names", False)))
        layout = column(self)
        layout.addLayout(row(self.folder, self.file, self.stop))
        layout.addLayout(row(self.names, self.compare))
        layout.addWidget(self.bar)
        layout.addWidget(self.state)
        layout.addWidget(self.tree, stretch=1)

    def _explain(self) -> None:
        self.folder.setToolTip("List what a folder holds (Alt-F); a drop on the window does too")
        self.file.setToolTip("Open an image file or a segmentation (Alt-I)")
        self.stop.setToolTip("Stop reading (Alt-C); nothing is changed")
        self.names.setToolTip("Show numbers instead of patients (Alt-N); they stand nowhere else")
        self.compare.setToolTip("The next series opens beside the study, to compare (Alt-B)")
        self.tree.setToolTip("A click or Enter opens a series; arrows move through the list")

    def _connect(self) -> None:
        studies = self.studies
        self.folder.clicked.connect(self._choose_folder)
        self.file.clicked.connect(self._choose_file)
        self.stop.clicked.connect(lambda _=False: studies.cancel())
        self.names.toggled.connect(self._hide)
        self.tree.itemClicked.connect(self._open)
        self.tree.itemActivated.connect(self._open)
        studies.work.progressed.connect(self._progress)
        studies.surveyed.connect(self._fill)
        studies.opened.connect(partial(self._idle, "Opened."))
        studies.beside.connect(partial(self._idle, "Opened beside."))
        studies.failed.connect(self._failed)
        if studies.survey is not None:
            self._fill(studies.survey)

    def _choose_folder(self, checked: bool = False) -> None:
        name = QFileDialog.getExistingDirectory(self, "List a folder")
        if name:
            self.studies.look([name])

    def _choose_file(self, checked: bool = False) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Open files", "", _FILTER)
        if names:
            self.studies.look(names)

    def _progress(self, share: float, stage: str) -> None:
        self.bar.setVisible(True)
        self.stop.setEnabled(True)
        self.bar.show_share(share)
        self.state.setText(f"Reading: {stage} ...")

    def _idle(self, words: str = "", noun: object = None) -> None:
        self.bar.setVisible(False)
        self.stop.setEnabled(False)
        if words:
            self.state.setText(words)

    def _failed(self, error: CtvlpError) -> None:
        cancelled = isinstance(error, JobCancelled)
        self._idle("Cancelled. Nothing was changed." if cancelled else str(error))

    def _fill(self, survey: Survey) -> None:
        """List a survey, what is worth opening first in each study."""
        self.tree.clear()
        for number, patient in enumerate(survey.patients, start=1):
            top = QTreeWidgetItem([_patient(patient, number, hidden=self.names.isChecked())])
            self.tree.addTopLevelItem(top)
            for study in patient.studies:
                words = " ".join(part for part in (_date(study.date), study.description) if part)
                under = QTreeWidgetItem([words or "Study"])
                top.addChild(under)
                for item in sorted(study.items, key=lambda one: not one.suitable):
                    under.addChild(_row(item))
        self.tree.expandAll()
        found = list(survey.items())
        good = sum(item.suitable for item in found)
        said = " ".join(message.message for message in survey.messages[:3])
        if not self.studies.work.busy:
            self._idle()
        self.state.setText(f"{len(found)} found, {good} worth opening. {said}".strip())

    def _hide(self, hidden: bool) -> None:
        keep("hide_names", hidden)
        survey = self.studies.survey
        for number, patient in enumerate(survey.patients if survey else (), start=1):
            top = self.tree.topLevelItem(number - 1)
            if top is not None:
                top.setText(0, _patient(patient, number, hidden=hidden))

    def _open(self, entry: QTreeWidgetItem, column: int = 0) -> None:
        item = entry.data(0, _ITEM)
        if isinstance(item, Item) and not self.studies.work.busy:
            self.studies.open(item, beside=self.compare.isChecked())
            self.compare.setChecked(False)


def _patient(patient: PatientItems, number: int, *, hidden: bool) -> str:
    if not patient.name and not patient.number:
        return "No patient stated"
    return f"Patient {number}" if hidden else f"{patient.name or 'No name'}  ({patient.number})"


def _row(item: Item) -> QTreeWidgetItem:
    entry = QTreeWidgetItem([item_words(item)])
    entry.setData(0, _ITEM, item)
    entry.setToolTip(0, item.reason or "A click opens it")
    if item.thumbnail is not None:
        grey = np.ascontiguousarray(item.thumbnail)
        rows, columns = grey.shape
        picture = QImage(grey.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
        entry.setIcon(0, QIcon(QPixmap.fromImage(picture.copy())))
    return entry


def item_words(item: Item) -> str:
    """Return what the list says of an item, in two to four lines."""
    lines = [" ".join(part for part in (item.label, item.modality) if part)]
    if item.shape:
        lines.append(f"{item.plane}, {item.shape[2]} slices")
        lines.append(" x ".join(f"{step:.2f}" for step in item.spacing_mm) + " mm")
    extra = [item.kernel, f"contrast: {item.contrast}" if item.contrast else ""]
    lines += [", ".join(part for part in extra if part)] if any(extra) else []
    if item.reason:
        lines.append(item.reason if len(item.reason) < 70 else f"{item.reason[:67]}...")
    return "\n".join(lines)


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text
