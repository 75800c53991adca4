"""Closing a canvas for good."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget


def put_away(canvas: QWidget) -> None:
    """Take a canvas out of its window and close it.

    Hidden first: Qt paints a visible OpenGL widget once more when it loses its parent, in a new
    context that knows none of its buffers, and the driver may crash over that.
    """
    canvas.hide()
    canvas.setParent(None)
    canvas.close()
