"""Work on files in a thread of its own: progress, cancel, and late answers dropped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal  # type: ignore[attr-defined]

from napari_ctvlp.engine.jobs import CancelToken, RequestNumbers, cancellable
from napari_ctvlp.errors import CtvlpError, InputRefused, JobCancelled, OutOfResources, WorkerFailed
from napari_ctvlp.io.result import Progress

#: Progress reaches the window at most this often, s: each time it is painted whole, and that
#: takes from the reading.
TOLD_S = 0.5
#: What was shown is painted within this time of the event loop, ms; and a job waits for it no
#: longer than so many s.
_PAINTED_MS, _PATIENCE_S = 20, 1.0
#: A job is given a progress callback and a way to show something before it ends.
Job = Callable[[Progress, Callable[[object], None]], Any]


class FileWork(QObject):
    """Runs one job at a time on files; a newer one replaces it.

    Reading holds Python's lock for moments only, so that a thread does for it; what computes
    for seconds belongs to the compute process (``ui/jobs.py``).

    Attributes
    ----------
    busy : bool
    """

    progressed = Signal(float, str)
    shown = Signal(object)
    finished = Signal(object)
    failed = Signal(object)
    _late = Signal(int, str, object)

    def __init__(self) -> None:
        super().__init__()
        self._late.connect(self._take, Qt.ConnectionType.QueuedConnection)
        self._numbers = RequestNumbers()
        self._number = 0
        self._token = CancelToken()
        self.busy = False

    def start(self, job: Job) -> None:
        """Start a job; the one before is cancelled and never heard of again."""
        self._token.cancel()
        self._number, self._token, self.busy = self._numbers.next(), CancelToken(), True
        self.progressed.emit(0.0, "starting")
        arguments = (job, self._number, self._token)
        threading.Thread(target=self._run, args=arguments, daemon=True).start()

    def cancel(self) -> None:
        """Stop the job; it ends as failed with ``JobCancelled``."""
        if self.busy:
            self._token.cancel()
            self._number, self.busy = 0, False
            self.failed.emit(JobCancelled())

    def _run(self, job: Job, number: int, token: CancelToken) -> None:
        def say(kind: str, what: object) -> None:
            with contextlib.suppress(RuntimeError):  # the window is closed
                self._late.emit(number, kind, what)

        last = 0.0

        def told(share: float, stage: str) -> None:
            nonlocal last
            if time.monotonic() - last >= TOLD_S:
                last = time.monotonic()
                say("progress", (share, stage))

        def show(noun: object) -> None:
            # Painting and reading both want Python: what is to be seen first goes first.
            painted = threading.Event()
            say("shown", (noun, painted))
            painted.wait(_PATIENCE_S)

        progress = cancellable(told, token)
        try:
            say("finished", job(progress, show))
        except BaseException as error:
            say("failed", _in_words(error))

    def _take(self, number: int, kind: str, what: Any) -> None:
        if number != self._number:
            return
        if kind == "progress":
            self.progressed.emit(*what)
            return
        if kind == "shown":
            noun, painted = what
            self.shown.emit(noun)
            QTimer.singleShot(_PAINTED_MS, painted.set)
            return
        self.busy = False
        getattr(self, kind).emit(what)


def _in_words(error: BaseException) -> CtvlpError:
    """Return an error of the family."""
    if isinstance(error, CtvlpError):
        return error
    if isinstance(error, MemoryError):
        return OutOfResources(
            "memory", "enough memory.", "The memory ran out.", "Close other programs."
        )
    if isinstance(error, OSError):
        return InputRefused(
            "no-such-file",
            "files and folders that can be read and written.",
            f"The disk answered: {error.strerror or 'no'}.",
            "Choose another folder, or see to your rights and the space that is left.",
        )
    return WorkerFailed(
        "unexpected",
        "the files to be read to their end.",
        f"{type(error).__name__} came instead.",
        "Report this with the name of the error; nothing was changed.",
    )
