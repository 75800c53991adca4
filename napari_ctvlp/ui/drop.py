"""Folders and CT files dropped on the window go to the series picker, without a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QWidget

from napari_ctvlp.io.dicom.headers import is_dicom
from napari_ctvlp.io.survey import IMAGE_NAMES


class Drops(QObject):
    """Takes drops that are ours before napari asks which reader is meant; others pass.

    Parameters
    ----------
    target : QWidget
        What napari lets files fall on.
    on_paths : callable
        Called with the paths.
    """

    def __init__(self, target: QWidget, on_paths: Callable[[Sequence[Path]], None]) -> None:
        super().__init__(target)
        self._on_paths = on_paths
        target.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Accept what is ours when it enters, and hand it over when it is dropped."""
        kinds = (QEvent.Type.DragEnter, QEvent.Type.Drop)
        if event.type() not in kinds or not isinstance(event, QDropEvent):
            return False
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if not paths or not all(map(ours, paths)):
            return False
        event.acceptProposedAction()
        if event.type() == QEvent.Type.Drop:
            self._on_paths(paths)
        return True


def ours(path: Path) -> bool:
    """Return whether a path may hold CTs: a folder, or a file by its name or first bytes."""
    return path.is_dir() or path.name.lower().endswith(IMAGE_NAMES) or is_dicom(path)
