"""The bridge from the compute process to Qt: answers arrive as queued signals."""

from __future__ import annotations

import atexit
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]

from napari_ctvlp.engine.client import WorkerClient
from napari_ctvlp.errors import CtvlpError


class Bridge(QObject):
    """Owns the one compute process of this window and brings its answers to the GUI thread.

    Signals carry the request number first; whoever asked compares it with the number that
    it was given and drops the rest.
    """

    progressed = Signal(int, float, str)
    finished = Signal(int, object)
    failed = Signal(int, object)
    _late_progress = Signal(int, float, str)
    _late_done = Signal(int, object)
    _late_failed = Signal(int, object)

    def __init__(self) -> None:
        super().__init__()
        queued = Qt.ConnectionType.QueuedConnection
        self._late_progress.connect(self.progressed, queued)
        self._late_done.connect(self.finished, queued)
        self._late_failed.connect(self.failed, queued)
        self._client: WorkerClient | None = None

    @property
    def client(self) -> WorkerClient:
        """The client, started on first use."""
        if self._client is None:
            self._client = WorkerClient(
                on_progress=self._emit_progress,
                on_done=self._emit_done,
                on_failed=self._emit_failed,
            )
            atexit.register(self.close)
        return self._client

    def warm_up(self) -> None:
        """Start the process and its imports, so that the first job does not wait for them."""
        self.client.warm_up()

    def submit(self, verb: str, **arguments: Any) -> int:
        """Ask for a job and return its request number at once."""
        return self.client.submit(verb, **arguments)

    def cancel(self, number: int) -> None:
        """Stop a job; its answer, if it still comes, is an error of kind JobCancelled."""
        if self._client is not None:
            self._client.cancel(number)

    def close(self) -> None:
        """End the process."""
        if self._client is not None:
            client, self._client = self._client, None
            atexit.unregister(self.close)
            client.close()

    def _emit_progress(self, number: int, share: float, stage: str) -> None:
        self._late_progress.emit(number, share, stage)

    def _emit_done(self, number: int, result: object) -> None:
        self._late_done.emit(number, result)

    def _emit_failed(self, number: int, error: CtvlpError) -> None:
        self._late_failed.emit(number, error)


_BRIDGE: Bridge | None = None


def shared_bridge() -> Bridge:
    """Return the bridge that every window of this process shares."""
    global _BRIDGE  # noqa: PLW0603 - one compute process per window process
    if _BRIDGE is None:
        _BRIDGE = Bridge()
    return _BRIDGE
