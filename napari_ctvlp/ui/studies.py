"""Studies of one window: what a folder or a drop holds, and opening one of it."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import CtvlpError, InputRefused
from napari_ctvlp.io.result import Progress
from napari_ctvlp.io.survey import Item, Survey, survey
from napari_ctvlp.ui._compat import Mark
from napari_ctvlp.ui.files import FileWork, Job
from napari_ctvlp.ui.layers import ALONE, ct_arguments
from napari_ctvlp.ui.notebook import notebook_of
from napari_ctvlp.ui.room import Room

_OVERLAY = "ctvlp provisional"
PROVISIONAL = "PROVISIONAL\none slice,\nstill reading"


class Studies(QObject):
    """Surveys paths and opens items of the survey; one thing at a time.

    Parameters
    ----------
    room : Room
        Shows what is opened.

    Attributes
    ----------
    survey : Survey or None
        The last one; the only place where names of patients are held.
    """

    surveyed = Signal(object)
    opened = Signal(object)
    beside = Signal(object)
    failed = Signal(object)

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.survey: Survey | None = None
        self.work = FileWork()
        notebook_of(room)  # remembers what is asked from the first phrase on
        self._then = "surveyed"
        self._preview: Layer | None = None
        self.work.shown.connect(self._show_preview)
        self.work.finished.connect(self._finished)
        self.work.failed.connect(self._failed)
        threading.Thread(target=_ready, daemon=True).start()
        _expect_three_axes(room.viewer)
        room.viewer.layers.events.removed.connect(self._emptied)

    def look(self, paths: Sequence[str | Path]) -> None:
        """List what there is; if just one series is worth opening, open it without asking."""
        targets = [Path(path) for path in paths]
        self._remove_preview()
        self._start("surveyed", _surveying(targets))

    def open(self, item: Item, *, beside: bool = False) -> None:
        """Open an item: a volume as the study (or beside it), a segmentation over the study."""
        if item.kind in ("segmentation", "contours"):
            self.open_anatomy(item.files[0])
        elif item.kind == "volume":
            first = not beside and self._preview is None
            self._start("beside" if beside else "opened", _opening(item, preview=first))
        else:
            self.failed.emit(_unsuitable(item))

    def open_anatomy(self, path: Path) -> None:
        """Lay a segmentation over the open study as its anatomy."""
        study = self.room.session.study
        if study is None:
            self.failed.emit(_no_study())
            return
        scan = study.scan

        def job(progress: Progress, show: object) -> AnatomyMap:
            from napari_ctvlp.engine.labelled import open_anatomy

            return open_anatomy(path, scan, progress=progress)

        self._start("anatomy", job)

    def _emptied(self, event: object) -> None:
        viewer = self._viewer()
        if viewer is not None:
            _expect_three_axes(viewer)

    def _viewer(self) -> ViewerModel | None:
        """The viewer while its window is open: an answer may come after that."""
        with contextlib.suppress(RuntimeError):
            return self.room.viewer
        return None

    def cancel(self) -> None:
        """Stop what is going on; nothing is changed."""
        self.work.cancel()

    def _start(self, then: str, job: Job) -> None:
        self._then = then
        self.work.start(job)

    def _finished(self, noun: object) -> None:
        if self._viewer() is None:
            return
        if isinstance(noun, Survey):
            self.survey = noun
            if noun.only is None:
                self._remove_preview()
            else:
                self.open(noun.only)
            self.surveyed.emit(noun)
            return
        self._remove_preview()
        if isinstance(noun, AnatomyMap):
            study = self.room.session.study
            if study is not None and study.scan.digest == noun.digest:
                self.room.session.cancel()
                study.put("anatomy", noun)
                self.opened.emit(noun)
        elif isinstance(noun, Scan) and self._then == "beside":
            self.beside.emit(noun)
        elif isinstance(noun, Scan):
            self._open(noun)

    def _open(self, scan: Scan) -> None:
        """Show a scan; a label map goes over the study that is open."""
        if scan.meta.unit == "label":
            self.open_anatomy(scan.source.files[0])
            return
        self.room.add_scan(scan)
        self.room.start()
        self.opened.emit(scan)

    def _failed(self, error: CtvlpError) -> None:
        self._remove_preview()
        self.failed.emit(error)

    def _show_preview(self, scan: object) -> None:
        """Show one slice, and say that it is provisional."""
        viewer = self._viewer()
        self._remove_preview()
        if viewer is None or not isinstance(scan, Scan) or len(viewer.layers):
            return
        arguments = {**ct_arguments(scan), "metadata": {ALONE: True}}
        arguments["name"] = f"{scan.meta.series} (provisional)"
        viewer.canvas.overlays[_OVERLAY] = Mark(
            text=PROVISIONAL,
            position="top_left",
            visible=True,
            font_size=11,
            color="#ffd24a",
            box_color=(0.0, 0.0, 0.0, 0.75),
        )
        self._preview = viewer.add_layer(Image(scan.hu, **arguments))

    def _remove_preview(self) -> None:
        layer, self._preview = self._preview, None
        viewer = self._viewer()
        if layer is not None and viewer is not None:
            viewer.canvas.overlays.pop(_OVERLAY, None)
            if layer in viewer.layers:
                viewer.layers.remove(layer)


def _expect_three_axes(viewer: ViewerModel) -> None:
    """Give an empty viewer the sliders of a volume, hidden, so that its first picture does not."""
    if not len(viewer.layers) and viewer.dims.ndim == 2:
        viewer.dims.ndim = 3
        viewer.dims.range = ((0.0, 0.0, 1.0),) * 3


def _ready() -> None:
    """Load the readers before a folder is dropped: that takes longer than its first slice."""
    import pydicom.filereader  # noqa: F401

    import napari_ctvlp.engine.opening  # noqa: F401


def _surveying(targets: Sequence[Path]) -> Job:
    """Return the job that lists paths, and shows a slice when one series is worth opening.

    The slice comes before the survey where the paths look like one series, and is replaced when
    the survey knows better.
    """

    def job(progress: Progress, show: Callable[[object], None]) -> Survey:
        from napari_ctvlp.engine.opening import glance_at, preview_of

        first = glance_at(targets)
        if first is not None:
            show(first)
        found = survey(targets, progress)
        only = found.only
        if only is not None and (first is None or first.source.files[0] not in only.files):
            show(preview_of(only))
        return found

    return job


def _opening(item: Item, *, preview: bool) -> Job:
    """Return the job that reads an item, its middle slice first."""

    def job(progress: Progress, show: Callable[[object], None]) -> Scan:
        from napari_ctvlp.engine.opening import open_item, preview_of

        if preview:
            show(preview_of(item))
        return open_item(item, progress)

    return job


def _unsuitable(item: Item) -> InputRefused:
    return InputRefused(
        "unsuitable", "a series that is a volume.", item.reason, "Choose another series."
    )


def _no_study() -> InputRefused:
    return InputRefused(
        "reference-missing",
        "an open CT to lay the segmentation on.",
        "No CT is open.",
        "Open the CT it was drawn on, then the segmentation.",
    )


_STUDIES: weakref.WeakKeyDictionary[Room, Studies] = weakref.WeakKeyDictionary()


def studies_of(room: Room) -> Studies:
    """Return the studies of a room, made on first use."""
    if room not in _STUDIES:
        _STUDIES[room] = Studies(room)
    return _STUDIES[room]
