"""A reading room in a window of its own, for the command line and the demo."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication, QWidget

from napari_ctvlp.core.resources import sample_folder
from napari_ctvlp.errors import CtvlpError, WorkerFailed
from napari_ctvlp.ui.arrange import lay_out
from napari_ctvlp.ui.room import Room, room_of
from napari_ctvlp.ui.studies import studies_of

#: Largest first size of the window, in pixels.
WIDTH, HEIGHT = 1920, 1160


@dataclass
class Window:
    """A viewer with the reading room laid out.

    Attributes
    ----------
    viewer : napari.Viewer
    room : Room
    docks : dict
        Title to widget.
    """

    viewer: Any
    room: Room
    docks: dict[str, QWidget]


def open_window(show: bool = True) -> Window:
    """Open a viewer of the size of the screen and lay the reading room out."""
    viewer = napari.Viewer(title="CT reading room", show=show)
    screen = QApplication.primaryScreen().availableGeometry()
    width, height = min(screen.width(), WIDTH), min(screen.height(), HEIGHT)
    viewer.window.set_geometry(screen.x(), screen.y(), width, height)
    room = room_of(viewer)
    room.bridge.warm_up()
    return Window(viewer, room, lay_out(viewer))


def ct_path(name: str) -> Path:
    """Return the path meant by a name on the command line; ``"sample"`` is the chest CT."""
    return sample_folder() / "ct.nii.gz" if name == "sample" else Path(name)


def view(name: str) -> None:
    """Open a CT in the reading room and leave the window to the user."""
    window = open_window()
    studies_of(window.room).look([ct_path(name)])
    napari.run()


def wait_for(room: Room, ready: Callable[[], bool], what: str, seconds: float) -> None:
    """Turn the event loop until something is there.

    Parameters
    ----------
    room : Room
        Its first failure is raised here.
    ready : callable
        True when there is nothing to wait for.
    what : str
        Named in the error, for example ``"the anatomy"``.
    seconds : float
        Longest wait.

    Raises
    ------
    CtvlpError
        What the job failed with, or that it took too long.
    """
    failures: list[CtvlpError] = []
    room.session.failed.connect(failures.append)
    end = time.monotonic() + seconds
    try:
        while not ready() and not failures and time.monotonic() < end:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
            time.sleep(0.005)
    finally:
        room.session.failed.disconnect(failures.append)
    if failures:
        raise failures[0]
    if not ready():
        raise WorkerFailed(
            "too-slow",
            f"{what} within {seconds:.0f} seconds.",
            f"Waited {seconds:.0f} seconds for {what}.",
            "Close other programs and try again; `ctvlp doctor` lists what may be wrong.",
        )


def settle(seconds: float = 0.5) -> None:
    """Turn the event loop for a while, so that everything asked for is painted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
