"""The run dock: what is open, which model computes where, progress, cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui import magicgui
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QWidget,
)

from napari_ctvlp.engine.fallback import estimate
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.io.survey import Survey
from napari_ctvlp.models import store
from napari_ctvlp.ui.docks.bar import JobBar, job_words
from napari_ctvlp.ui.panel import column, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Run, Study
from napari_ctvlp.ui.studies import studies_of

#: Reports of progress within this time are shown together, ms.
SOON_MS = 100
RESEARCH_USE = "For research only: not a medical device, not for diagnosis."
#: What a phrase's map may be, and its kind; a model that lacks it says so.
MAPS = {"as its card says": "", "parts of the score": "split", "each cell by itself": "cosine"}


def encoder_ids() -> list[str]:
    """Return the card ids of the encoders of CTs, the embedded one first."""
    return _ids("encoder", "mini")


def segmenter_ids() -> list[str]:
    """Return the card ids of the segmenters, the embedded one first."""
    return _ids("segmenter", "anatomy")


def _ids(kind: str, first: str) -> list[str]:
    return sorted((card.id for card in store.cards(kind)), key=lambda name: (name != first, name))


class RunDock(QWidget):
    """Opens a CT and runs the jobs on it.

    Parameters
    ----------
    room : Room
    lay_out : callable
        Opens every other dock.
    """

    def __init__(self, room: Room, lay_out: Callable[[], object]) -> None:
        super().__init__()
        self.room = room
        self.session = room.session
        self.scan_label = QLabel()
        wrap(self.scan_label)
        self.form = _run_form(self.session.run)
        self.form.changed.connect(self._form_changed)
        self.cost = QLabel()
        wrap(self.cost)
        self.bar = JobBar()
        self.state, self._told = QLabel("Ready."), ""
        wrap(self.state)
        self.run_button = QPushButton("Run")
        self.cancel_button = QPushButton("Cancel")
        self.open_button = QPushButton("Open CT...")
        self.folder_button = QPushButton("Open DICOM folder...")
        self.layout_button = QPushButton("Show all docks")
        self.run_button.clicked.connect(self._run)
        self.cancel_button.clicked.connect(self._cancel)
        self.open_button.clicked.connect(self._open_file)
        self.folder_button.clicked.connect(self._open_folder)
        self.layout_button.clicked.connect(lambda _=False: lay_out())
        self._arrange()
        self._models()  # after the form has its place: that fills its lists anew
        self._explain()
        self.session.study_changed.connect(self._study)
        self.session.models_changed.connect(self._models)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(self._jobs)
        self.session.jobs_changed.connect(self._jobs_soon)
        self.session.failed.connect(self._failed)
        studies = studies_of(self.room)
        studies.failed.connect(self._failed)
        studies.surveyed.connect(self._listed)
        self._study(self.session.study)
        self._jobs()

    def _arrange(self) -> None:
        layout = column(self)
        layout.addWidget(self.scan_label)
        layout.addLayout(_row(self.open_button, self.folder_button))
        layout.addLayout(_row(self.run_button, self.cancel_button, self.layout_button))
        layout.addWidget(self.bar)
        layout.addWidget(self.state)
        layout.addWidget(self.form.native)
        layout.addWidget(self.cost)
        layout.addStretch(1)
        note = QLabel(RESEARCH_USE)
        wrap(note)
        layout.addWidget(note)

    def _explain(self) -> None:
        self.run_button.setToolTip("Compute what is missing: organs, encoding, findings")
        self.cancel_button.setToolTip("Stop what is being computed; nothing changes")
        self.open_button.setToolTip("Open a CT from one file: NIfTI, NRRD, MetaImage or DICOM")
        self.folder_button.setToolTip("List what a folder holds; a single series opens at once")
        self.layout_button.setToolTip("Open every dock and put all of them in their places")

    def _models(self) -> None:
        """Offer the models that can run; the others are grey and say why."""
        boxes: Any = self.form.model.native, self.form.organs.native
        narrow = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        for box, names in zip(boxes, (encoder_ids(), segmenter_ids()), strict=True):
            box.setSizeAdjustPolicy(narrow)  # the longest name must not widen the dock
            box.setMinimumContentsLength(8)
            for place, name in enumerate(names):
                state = store.state_of(store.card(name))
                box.model().item(place).setEnabled(state.usable)
                box.setItemText(place, name if state.usable else f"{name} ({state.word})")
                box.setItemData(place, state.reason, Qt.ItemDataRole.ToolTipRole)

    def _form_changed(self) -> None:
        form = self.form
        self.session.run = Run(
            form.model.value, form.device.value, form.organs.value, MAPS[form.maps.value]
        )
        self._estimate()

    def _estimate(self) -> None:
        """Say what encoding the open scan will cost."""
        study, run = self.session.study, self.session.run
        if study is not None:
            needed = estimate(study.scan, store.card(run.model), run.device)
            self.cost.setText(f"{run.model} will need {needed}.")

    def _run(self, checked: bool = False) -> None:
        """Compute what is missing; a layer of another reader that is selected is checked first."""
        try:
            if self.session.study is None:
                active = self.room.viewer.layers.selection.active
                if active is None:
                    self.state.setText("Open a CT first: File > Open, or the buttons above.")
                    return
                self.room.use(active)
            self.session.prepare()
        except CtvlpError as error:
            self._failed(error)

    def _cancel(self, checked: bool = False) -> None:
        if self.session.jobs:
            self.session.cancel()
            self.state.setText("Cancelled. Nothing was changed.")

    def _open_file(self, checked: bool = False) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self,
            "Open a CT",
            "",
            "CT (*.nii *.nii.gz *.hdr *.nrrd *.nhdr *.mha *.mhd *.dcm);;All (*)",
        )
        if name:
            self._look(name)

    def _open_folder(self, checked: bool = False) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a DICOM folder")
        if name:
            self._look(name)

    def _look(self, name: str) -> None:
        """Take a file or folder as a drop is taken: what it holds is listed in 'Studies'."""
        self.state.setText("Reading ...")
        studies_of(self.room).look([name])

    def _listed(self, survey: Survey) -> None:
        """Say where to choose, when there is more or less than one series to open."""
        if survey.only is None:
            self.state.setText("Choose a series in 'Studies'.")

    def _study(self, study: Study | None) -> None:
        if study is None:
            self.scan_label.setText("No CT is open.")
            return
        scan = study.scan
        size = " x ".join(str(n) for n in scan.shape[::-1])
        step = " x ".join(f"{mm:.2f}" for mm in scan.spacing[::-1])
        lines = [f"<b>{scan.meta.series or 'CT'}</b>", f"{size} voxels of {step} mm"]
        lines += [message.message for message in (*scan.meta.warnings, *scan.meta.notices)]
        self.scan_label.setText("<br>".join(lines))
        self._estimate()
        self.state.setText("Ready.")

    def _jobs_soon(self) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _jobs(self) -> None:
        jobs = list(self.session.jobs.values())
        self.cancel_button.setEnabled(bool(jobs))
        if not jobs:
            self.bar.show_share(0.0)
            if self.state.text() == self._told:
                self.state.setText("Ready.")
            return
        job = jobs[-1]
        self.bar.show_share(job.share)
        self._told = f"{job_words(job.kind)}: {job.stage}"
        self.state.setText(self._told)

    def _failed(self, error: CtvlpError) -> None:
        self.state.setText(f"{error.found} Expected: {error.expected} {error.advice}")


def _run_form(run: Run) -> Any:
    """Build the form of models, kind of map and device."""

    @magicgui(
        auto_call=False,
        call_button=False,
        model={"choices": encoder_ids(), "label": "Model", "tooltip": "What reads CT and phrase"},
        organs={
            "choices": segmenter_ids(),
            "label": "Organs by",
            "tooltip": "What finds the organs; Run finds them anew when it was changed",
        },
        maps={
            "choices": list(MAPS),
            "label": "Map",
            "tooltip": "What a cell of the heatmap holds, for published models that have both",
        },
        device={
            "choices": ["auto", "cpu", "cuda", "mps"],
            "label": "Device",
            "tooltip": "Where it is computed",
        },
    )
    def form(
        model: str = run.model,
        organs: str = run.segmenter,
        maps: str = next(iter(MAPS)),
        device: str = run.device,
    ) -> None:
        """Run."""

    return form


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
