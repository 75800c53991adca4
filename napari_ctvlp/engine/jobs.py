"""Progress, cancellation and request numbers of long work; knows nothing of Qt."""

from __future__ import annotations

import itertools
import threading
import time

from napari_ctvlp.errors import JobCancelled
from napari_ctvlp.models.protocol import Progress

#: Progress is passed on at most this often, in seconds.
PROGRESS_INTERVAL_S = 0.05


class CancelToken:
    """A stop that any thread may set and that running work looks at."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """True after :meth:`cancel`."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise :class:`~napari_ctvlp.errors.JobCancelled` after :meth:`cancel`."""
        if self.cancelled:
            raise JobCancelled


class RequestNumbers:
    """Numbers that grow by one, so that a late answer is known by its number."""

    def __init__(self) -> None:
        self._counter = itertools.count(1)
        self._lock = threading.Lock()

    def next(self) -> int:
        """Return a number that was never returned before."""
        with self._lock:
            return next(self._counter)


def cancellable(progress: Progress, token: CancelToken) -> Progress:
    """Return a progress callback that looks at ``token`` each time and reports now and then.

    Parameters
    ----------
    progress : callable
        Receives the share done (0..1) and the stage, at most once per
        ``PROGRESS_INTERVAL_S`` unless the stage changes.
    token : CancelToken
        When it is set, the next call raises ``JobCancelled``.
    """
    last_time, last_stage = 0.0, ""

    def report(share: float, stage: str) -> None:
        nonlocal last_time, last_stage
        token.check()
        now = time.monotonic()
        if stage != last_stage or now - last_time >= PROGRESS_INTERVAL_S:
            last_time, last_stage = now, stage
            progress(share, stage)

    return report


def part(progress: Progress, start: float, end: float) -> Progress:
    """Return a progress callback for one step of a job: its 0..1 becomes ``start..end``."""

    def report(share: float, stage: str) -> None:
        progress(start + (end - start) * share, stage)

    return report
