"""Spread what a window has to paint over several turns of its event loop."""

from __future__ import annotations

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

#: A canvas that was given a new layer is painted this much later, ms: building the layer's
#: visuals and painting them are two short waits instead of a long one.
LATER_MS = 30


def paint_later(canvas: QWidget | None) -> None:
    """Let the window take other events before ``canvas`` is painted again."""
    if canvas is None:
        return
    canvas.setUpdatesEnabled(False)
    QTimer.singleShot(LATER_MS, canvas, lambda: canvas.setUpdatesEnabled(True))
