"""The export dock: masks, tables, picture and session out; a session in again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QPushButton, QWidget

from napari_ctvlp.errors import CtvlpError, InputRefused
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.docks.run import RESEARCH_USE
from napari_ctvlp.ui.files import FileWork, Job
from napari_ctvlp.ui.legend import save_screenshot
from napari_ctvlp.ui.looks import shown_now
from napari_ctvlp.ui.notebook import notebook_of
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.reopen import Reopen
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

#: What can be saved: title, end of the file name, and what the study must have for it.
KINDS = {
    "Organs as NIfTI": ("organs.nii.gz", "anatomy"),
    "Organs as DICOM SEG": ("organs.dcm", "anatomy"),
    "Organ table as CSV": ("organs.csv", "anatomy"),
    "Heatmap as NIfTI": ("heatmap.nii.gz", "heatmap"),
    "Heatmap over the threshold, NIfTI": ("mask.nii.gz", "heatmap"),
    "Heatmap over the threshold, DICOM SEG": ("mask.dcm", "heatmap"),
    "Findings table as CSV": ("findings.csv", "findings"),
    "All numbers as JSON": ("numbers.json", "anatomy"),
    "Picture with legend": ("picture.png", ""),
    "Session": ("session.json", ""),
}


_NARROW = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon


class ExportDock(QWidget):
    """Saves results of the study, and opens a session again.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.work = FileWork()
        self.reopen = Reopen(room)
        self.kind = QComboBox()
        self.kind.addItems(list(KINDS))
        self.kind.setSizeAdjustPolicy(_NARROW)
        self.kind.setMinimumContentsLength(18)
        self.save = QPushButton("&Save as...")
        self.session = QPushButton("&Open session...")
        self.bar = JobBar()
        self.state = QLabel("File names carry the scan's digest, never a patient's name.")
        self._arrange()
        self.save.clicked.connect(lambda _=False: self._choose())
        self.session.clicked.connect(lambda _=False: self._choose_session())
        self.work.finished.connect(lambda name: self._end(f"Saved {name}."))
        self.work.failed.connect(lambda error: self._end(str(error)))
        self.reopen.said.connect(self.state.setText)
        room.session.study_changed.connect(self._study)
        self._study(room.session.study)

    def save_to(self, kind: str, path: Path) -> None:
        """Save one of ``KINDS`` to a path; the outcome is told in ``state``."""
        study = self.room.session.study
        needed = KINDS[kind][1]
        try:
            if study is None or (needed and getattr(study, needed) is None):
                raise _missing(needed or "an open CT")
            if kind == "Picture with legend":
                save_screenshot(path, self.room, RESEARCH_USE)
                self._end(f"Saved {path.name}.")
                return
            self.bar.setVisible(True)
            self.bar.setRange(0, 0)
            self.work.start(self._job(kind, path, study))
        except CtvlpError as error:
            self._end(str(error))

    def _arrange(self) -> None:
        self.kind.setToolTip("What to save (arrows choose)")
        self.save.setToolTip("Choose a folder and save (Alt-S)")
        self.session.setToolTip("Show a saved session again (Alt-O); its scan is found beside it")
        wrap(self.state)
        self.bar.setVisible(False)
        layout = column(self)
        layout.addWidget(self.kind)
        layout.addLayout(row(self.save, self.session))
        layout.addWidget(self.bar)
        layout.addWidget(self.state)
        layout.addStretch(1)

    def _study(self, study: Study | None) -> None:
        self.save.setEnabled(study is not None)

    def _choose(self) -> None:
        study, kind = self.room.session.study, self.kind.currentText()
        if study is None:
            return
        proposed = f"ctvlp-{study.scan.digest[:8]}-{KINDS[kind][0]}"
        files = study.scan.source.files
        folder = files[0].parent if files else Path.home()
        name, _ = QFileDialog.getSaveFileName(self, kind, str(folder / proposed))
        if name:
            self.save_to(kind, Path(name))

    def _choose_session(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a session", "", "Session (*.json)")
        if name:
            self.reopen.start(Path(name))

    def _end(self, words: str) -> None:
        self.bar.setVisible(False)
        self.bar.setRange(0, 100)
        self.state.setText(words)

    def _job(self, kind: str, path: Path, study: Study) -> Job:
        """Gather what is saved now, so that later changes do not mix in."""
        write = self._session(study) if kind == "Session" else _writer(kind, study, self.room)

        def job(progress: object, show: object) -> str:
            write(path)
            return path.name

        return job

    def _session(self, study: Study) -> Callable[[Path], None]:
        book, run = notebook_of(self.room), self.room.session.run
        view = {"shown": asdict(shown_now(self.room)), "images": book.as_values()}
        asked: Sequence[Any] = list(book.asked.values())
        segmenter = study.anatomy.source if study.anatomy is not None else "anatomy"

        def write(path: Path) -> None:
            from napari_ctvlp.engine.sessions import saved_session, write_session

            made = saved_session(
                study.scan, asked, view, model=run.model, device=run.device, segmenter=segmenter
            )
            write_session(path, made)

        return write


def _writer(kind: str, study: Study, room: Room) -> Callable[[Path], None]:
    """Return the function that writes one kind, with the study's nouns of this moment."""
    from napari_ctvlp.engine import saving
    from napari_ctvlp.engine.export import score_rows

    scan, anatomy, heatmap, findings = (
        study.scan, study.anatomy, study.heatmap, study.findings
    )  # fmt: skip
    threshold = room.session.look.threshold
    if anatomy is not None and kind.startswith(("Organ", "All")):
        return {
            "Organs as NIfTI": partial(saving.save_organs_nifti, anatomy=anatomy, scan=scan),
            "Organs as DICOM SEG": partial(saving.save_organs_seg, anatomy=anatomy, scan=scan),
            "Organ table as CSV": partial(saving.save_table, rows=saving.organ_rows(anatomy)),
            "All numbers as JSON": partial(
                saving.save_numbers, scan=scan, anatomy=anatomy, heatmap=heatmap, findings=findings
            ),
        }[kind]
    if heatmap is not None and kind.startswith("Heatmap"):
        given = {"Heatmap over the threshold, NIfTI": saving.save_mask_nifti,
                 "Heatmap over the threshold, DICOM SEG": saving.save_mask_seg}  # fmt: skip
        if kind in given:
            return partial(given[kind], heatmap=heatmap, scan=scan, threshold=threshold)
        return partial(saving.save_heatmap, heatmap=heatmap, scan=scan)
    rows = score_rows(findings) if findings is not None else []
    return partial(saving.save_table, rows=rows)


def _missing(what: str) -> InputRefused:
    return InputRefused("not-there", f"{what}.", "There is none yet.", "Run it first.")
