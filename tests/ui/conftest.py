"""A viewer of a known size, the phantom in it, and one compute process for all tests."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
os.environ.setdefault("QT_SCALE_FACTOR", "1")

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.scan import Scan


@pytest.fixture(scope="session")
def chest() -> Scan:
    """Return the procedural chest; nobody may change it (its arrays are read-only)."""
    return phantom()


@pytest.fixture(scope="module", autouse=True)
def earlier_objects_rest() -> Iterator[None]:
    """Spare napari's collections what the tests before left: one per layer removed and canvas."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def own_choices(tmp_path, monkeypatch):
    """Keep what tests choose away from the user's own choices, and from one another.

    napari's own fixture for this hides every installed plugin, ours among them.
    """
    from napari import settings

    monkeypatch.setenv("CTVLP_CONFIG", str(tmp_path / "choices"))
    monkeypatch.setattr(settings, "_CFG_PATH", str(tmp_path / "choices" / "napari.yaml"))
    settings._PLUGIN_SETTINGS.clear()
    yield
    settings._PLUGIN_SETTINGS.clear()


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Return the bridge that every room of this test session shares, with a cache of its own."""
    from napari_ctvlp.ui.jobs import shared_bridge

    os.environ["CTVLP_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    shared = shared_bridge()
    yield shared
    shared.close()


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., object], bridge: object) -> object:
    """Return a visible viewer of 1200 x 900 pixels."""
    shown = make_napari_viewer(show=True)
    shown.window.set_geometry(0, 0, 1200, 900)
    return shown


@pytest.fixture
def turn_once() -> Callable[[], None]:
    """Return a function that turns the event loop once, as a loop that runs by itself would.

    Without one, Qt keeps what was to be deleted: hundreds of widgets for each scan in a window.
    """
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    def once() -> None:
        QApplication.processEvents()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    return once


@pytest.fixture
def wait(turn_once: Callable[[], None]) -> Callable[..., None]:
    """Return a function that turns the event loop until a condition holds."""

    def until(ready: Callable[[], bool] = lambda: False, seconds: float = 240.0) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, "waited in vain"
            turn_once()
            time.sleep(0.005)

    return until


@pytest.fixture
def paint(turn_once: Callable[[], None]) -> Callable[[], None]:
    """Return a function that lets Qt paint what was asked for."""

    def turn(seconds: float = 0.2) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            turn_once()
            time.sleep(0.005)

    return turn


@pytest.fixture
def docked(room, qtbot):
    """Return a function that makes a dock of the room, a fixture of each file."""
    from napari_ctvlp.ui.arrange import make_dock

    def make(title):
        widget = make_dock(title, room.viewer)
        qtbot.addWidget(widget)
        return widget

    return make


def grey_centre(image: np.ndarray, level: int = 120) -> tuple[float, float]:
    """Return where bright grey pixels lie, (down, right) in 0..1; overlays are coloured or thin."""
    rgb = image[..., :3].astype(int)
    grey = (np.ptp(rgb, axis=-1) < 12) & (rgb.min(axis=-1) > level)
    rows, columns = np.nonzero(grey)
    assert len(rows) > 20, "nothing bright was drawn"
    return float(np.median(rows) / image.shape[0]), float(np.median(columns) / image.shape[1])
