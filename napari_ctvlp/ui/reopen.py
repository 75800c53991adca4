"""A saved session shown again: its scan, its phrases, its looks; the numbers held against it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.result import Progress
from napari_ctvlp.ui.files import FileWork
from napari_ctvlp.ui.looks import show_again, shown_from
from napari_ctvlp.ui.notebook import notebook_of
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Look, Run, Study

if TYPE_CHECKING:
    from napari_ctvlp.engine.sessions import SavedSession


class Reopen(QObject):
    """Opens a session's scan in a thread, then asks its phrases one after the other.

    Parameters
    ----------
    room : Room
    """

    said = Signal(str)
    done = Signal(bool)

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.work = FileWork()
        self._saved: SavedSession | None = None
        self._left: list[dict[str, Any]] = []
        self._same = True
        self.work.finished.connect(self._opened)
        self.work.failed.connect(lambda error: self.said.emit(str(error)))
        self.work.progressed.connect(lambda share, stage: self.said.emit(f"Session: {stage} ..."))

    def start(self, path: Path, where: Path | None = None) -> None:
        """Open the session in ``path``; its scan lies in ``where``, else beside it."""

        def job(progress: Progress, show: object) -> tuple[SavedSession, Scan]:
            from napari_ctvlp.engine.sessions import find_scan, read_session

            saved = read_session(path)
            _check_view(saved.view)
            return saved, find_scan(saved, where or path.parent, progress)

        self.work.start(job)

    def _opened(self, found: Any) -> None:
        self._saved, scan = found
        saved = found[0]
        self._left = [dict(phrase) for phrase in saved.phrases]
        self._same = True
        session = self.room.session
        session.run = Run(saved.model["id"], saved.compute["device"], saved.segmenter["id"])
        self.room.add_scan(scan)
        study = session.study
        if study is not None:
            notebook_of(self.room)
            study.heatmap_changed.connect(self._answered)
            study.encoding_changed.connect(self._encoded)
        self.room.start()
        self.said.emit("Session: the scan is open; its organs are being found ...")

    def _encoded(self, encoding: object) -> None:
        self._next()

    def _next(self) -> None:
        if self._left:
            self.room.session.ground(self._left[0]["text"], self._left[0]["gate"])
        else:
            self._finish(self.room.session.study)

    def _answered(self, heatmap: Heatmap | None) -> None:
        """Hold an answer against the session's, then ask the next phrase."""
        if heatmap is None or not self._left or heatmap.phrase.text != self._left[0]["text"]:
            return
        from napari_ctvlp.engine.sessions import result_of

        saved = self._saved
        if saved is None:
            return
        known = saved.results[len(saved.phrases) - len(self._left)]
        self._same = self._same and result_of(heatmap) == dict(known)
        self._left.pop(0)
        self._next()

    def _finish(self, study: Study | None) -> None:
        saved, self._saved = self._saved, None
        if saved is None or study is None:
            return
        notebook_of(self.room).take_values(list(saved.view.get("images", ())))
        if "shown" in saved.view:
            show_again(self.room, shown_from(saved.view["shown"]))
        words = "the same numbers" if self._same else "OTHER numbers than when it was saved"
        self.said.emit(f"Session: shown again, with {words}.")
        self.done.emit(self._same)


def _check_view(view: Mapping[str, Any]) -> None:
    """Refuse a session whose looks cannot be shown, before anything is opened."""
    try:
        images = list(view.get("images", ()))
        shown = [view["shown"]] if "shown" in view else []
        for values in (*shown, *(image["shown"] for image in images)):
            Look(**shown_from(values).look)
        if not all({"caption", "phrase"} <= set(image) for image in images):
            raise ValueError("a key image without a caption")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputRefused(
            "bad-session",
            "looks and key images as the window saves them.",
            f"The session file holds others ({type(error).__name__}).",
            "Save the session again.",
        ) from None
