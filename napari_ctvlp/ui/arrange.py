"""Which docks there are, and where the reading room puts them."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_ctvlp.ui._compat import plain_viewer
from napari_ctvlp.ui.room import Room, room_of

PLUGIN_TITLE = "CT reading room"
TITLES = ("Views", "Phrases", "Organs", "Findings", "Reading room")


def make_dock(title: str, viewer: Any) -> QWidget:
    """Build one dock of ``TITLES`` for a viewer."""
    bare = plain_viewer(viewer)
    room = room_of(bare)
    if title == "Views":
        from napari_ctvlp.ui.views.planes import Planes

        return Planes(bare, room.session)
    if title == "Phrases":
        from napari_ctvlp.ui.docks.phrases import PhrasesDock

        return PhrasesDock(room.session)
    if title == "Organs":
        from napari_ctvlp.ui.docks.organs import OrgansDock

        return OrgansDock(room.session)
    if title == "Findings":
        from napari_ctvlp.ui.docks.findings import FindingsDock

        return FindingsDock(room.session)
    return _run_dock(room)


def lay_out(viewer: Any) -> dict[str, QWidget]:
    """Open every dock that is not open yet and put all of them in their places.

    Returns
    -------
    dict
        Title to widget, for the titles in ``TITLES``.
    """
    bare = plain_viewer(viewer)
    bare.scene.camera.orientation = ("towards", "down", "right")
    widgets = {title: _opened(bare, title) for title in TITLES}
    docks = {title: _dock_of(widget) for title, widget in widgets.items()}
    main = docks["Views"].window()
    if isinstance(main, QMainWindow):
        _place(main, docks)
    return widgets


def raise_dock(widget: QWidget) -> None:
    """Bring the tab of a dock to the front."""
    _dock_of(widget).raise_()


def dock_name(title: str) -> str:
    """Return the name a dock carries in napari's menus, so that these find it again."""
    return f"{title} ({PLUGIN_TITLE})"


def _opened(viewer: Any, title: str) -> QWidget:
    window = viewer.window
    known = window.dock_widgets.get(dock_name(title))
    if known is not None:
        _dock_of(known).show()
        return known  # type: ignore[no-any-return]
    widget = make_dock(title, viewer)
    window.add_dock_widget(widget, name=dock_name(title), area="right", add_vertical_stretch=False)
    return widget


def _dock_of(widget: QWidget) -> QDockWidget:
    parent: Any = widget
    while not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent


def _place(main: QMainWindow, docks: dict[str, QDockWidget]) -> None:
    """Put the views beside the canvas, and phrases over the tables in the next column."""
    across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
    for title, dock in docks.items():
        dock.setWindowTitle(title)
    main.splitDockWidget(docks["Views"], docks["Phrases"], across)
    main.splitDockWidget(docks["Phrases"], docks["Findings"], down)
    main.tabifyDockWidget(docks["Findings"], docks["Organs"])
    main.tabifyDockWidget(docks["Organs"], docks["Reading room"])
    QTimer.singleShot(0, main, partial(_size, main, docks))


def _size(main: QMainWindow, docks: dict[str, QDockWidget]) -> None:
    """Share the space; Qt takes sizes only once the docks have been laid out."""
    across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
    main.resizeDocks([docks["Views"], docks["Phrases"]], [440, 420], across)
    main.resizeDocks([docks["Phrases"], docks["Findings"]], [580, 480], down)
    docks["Reading room"].raise_()


def _run_dock(room: Room) -> QWidget:
    from napari_ctvlp.ui.docks.run import RunDock

    return RunDock(room, lambda: lay_out(room.viewer))
