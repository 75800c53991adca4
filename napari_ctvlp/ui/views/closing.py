"""Closing canvases for good."""

from __future__ import annotations

from napari.qt import QtViewer


def put_away(*canvases: QtViewer) -> None:
    """Take canvases out of their window and close them, without another picture.

    Qt paints OpenGL widgets once more when one of them loses its window, in a new context that
    knows none of their buffers: the driver crashed over the lines in them.
    """
    for canvas in canvases:
        canvas.canvas.events.draw.block()
        canvas.hide()
    for canvas in canvases:
        canvas.setParent(None)
        canvas.close()
    for canvas in canvases:
        canvas.canvas.events.draw.unblock()
