"""One dock's own jobs on the study: one at a time, and of what waits only the newest wish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_ctvlp.errors import CtvlpError, JobCancelled
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

Wish = tuple[str, Callable[[Any], None], dict[str, Any]]


class Asker(QObject):
    """Runs verbs on the open study and drops answers about another one.

    A job that runs is never cancelled by a newer wish: the first one may be long (a model is
    loaded), and the crosshair must not stop it with every move.

    Parameters
    ----------
    room : Room

    Signals
    -------
    progressed : float, str
        Share and stage; a share above 1 means that nothing runs any more.
    failed : CtvlpError
    """

    progressed = Signal(float, str)
    failed = Signal(object)

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self._number = 0
        self._study: Study | None = None
        self._done: Callable[[Any], None] | None = None
        self._next: Wish | None = None
        room.bridge.progressed.connect(self._progress)
        room.bridge.finished.connect(self._finished)
        room.bridge.failed.connect(self._fail)

    @property
    def busy(self) -> bool:
        """True while a job runs."""
        return self._number != 0

    def ask(self, verb: str, done: Callable[[Any], None], **arguments: Any) -> None:
        """Run a verb on the study as soon as the job before has ended."""
        study = self.room.session.study
        if study is None:
            return
        if self.busy:
            self._next = (verb, done, arguments)
            return
        run = self.room.session.run
        self._study, self._done = study, done
        self._number = self.room.bridge.submit(
            verb, scan=study.scan, anatomy=study.anatomy, model=run.model, device=run.device,
            **arguments,
        )  # fmt: skip
        self.progressed.emit(0.0, "")

    def cancel(self) -> None:
        """Stop the job and forget what waits."""
        number, self._number, self._next = self._number, 0, None
        if number:
            self.room.bridge.cancel(number)
        self.progressed.emit(2.0, "")

    def _progress(self, number: int, share: float, stage: str) -> None:
        if number == self._number:
            self.progressed.emit(share, stage)

    def _finished(self, number: int, result: object) -> None:
        if number == self._number:
            done, wanted = self._done, self._end()
            if wanted and done is not None:
                done(result)
            self._follow()

    def _fail(self, number: int, error: CtvlpError) -> None:
        if number == self._number:
            if self._end() and not isinstance(error, JobCancelled):
                self.failed.emit(error)
            self._follow()

    def _end(self) -> bool:
        """End a job; returns whether its study is still open."""
        self._number = 0
        self.progressed.emit(2.0, "")
        return self._study is self.room.session.study

    def _follow(self) -> None:
        """Run what waits."""
        if not self.busy and self._next is not None:
            (verb, done, arguments), self._next = self._next, None
            self.ask(verb, done, **arguments)
