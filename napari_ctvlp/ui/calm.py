"""Spread what a window has to paint over several turns of its event loop."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

#: A canvas that was given a new layer is painted this much later, ms: building the layer's
#: visuals and painting them are two short waits instead of a long one.
LATER_MS = 30


class Soon(QObject):
    """Runs something once after all that happens now, and before anything of it is painted.

    Parameters
    ----------
    run : callable
    """

    def __init__(self, run: Callable[[], None]) -> None:
        super().__init__()
        self._due, self._run = False, run

    def ask(self, event: object = None) -> None:
        """Run it soon."""
        if not self._due:
            self._due = True
            QCoreApplication.postEvent(self, QEvent(QEvent.Type.User))

    def stop(self) -> None:
        """Do not run it after all."""
        self._due = False

    def customEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Run it."""
        if self._due:
            self._due = False
            self._run()


def paint_later(canvas: QWidget | None) -> None:
    """Let the window take other events before ``canvas`` is painted again."""
    if canvas is None:
        return
    canvas.setUpdatesEnabled(False)
    QTimer.singleShot(LATER_MS, canvas, lambda: canvas.setUpdatesEnabled(True))
