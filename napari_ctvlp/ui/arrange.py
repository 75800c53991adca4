"""Which docks there are, and where the reading room puts them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QTabBar, QWidget

from napari_ctvlp.ui._compat import plain_viewer
from napari_ctvlp.ui.room import Room, room_of

PLUGIN_TITLE = "CT reading room"
#: Title of each dock: its module under ``napari_ctvlp.ui``, its class, and what that is given.
DOCKS = {
    "Phrases": ("docks.phrases", "PhrasesDock", "session"),
    "Answers": ("docks.answers", "AnswersDock", "opener"),
    "Attention": ("docks.attention", "AttentionDock", "room"),
    "Checks": ("docks.checks", "ChecksDock", "room"),
    "Organs": ("docks.organs", "OrgansDock", "room"),
    "Findings": ("docks.findings", "FindingsDock", "room"),
    "Windows": ("docks.windows", "WindowsDock", "room"),
    "Measure": ("docks.measure", "MeasureDock", "room"),
    "3D": ("views.solid", "Solid", "room"),
    "Models": ("docks.models", "ModelsDock", "room"),
    "Studies": ("docks.studies", "StudiesDock", "room"),
    "Passport": ("docks.passport", "PassportDock", "room"),
    "Key images": ("docks.key_images", "KeyImagesDock", "room"),
    "Export": ("docks.export", "ExportDock", "room"),
    "Compare": ("docks.compare", "CompareDock", "room"),
    "Report": ("docks.report", "ReportDock", "session"),
    "Pieces": ("docks.pieces", "PiecesDock", "room"),
    "Places alike": ("docks.alike", "AlikeDock", "room"),
    "Cohort": ("docks.cohort", "CohortDock", "room"),
    "Evaluate": ("docks.evaluate", "EvaluateDock", "room"),
}
#: What the reading room opens; 3D comes with its layout.
TITLES = (
    "Views", "Phrases", "Organs", "Findings", "Windows", "Measure", "Reading room",
    "Studies", "Passport", "Key images", "Export", "Compare",
)  # fmt: skip
#: Docks that share a place, the last in front: over and under each other in one column.
UPPER = ("Organs", "Measure", "Key images", "Studies", "Phrases")
LOWER = ("Windows", "Passport", "Export", "Findings", "Reading room")
#: What stands on a tab where the title is long; the bar over the dock has it in full.
TABS = {"Key images": "Marks", "Reading room": "Run"}
#: Tabs as narrow as their words, so that those of one place fit a column of 290 pixels.
_TAB_STYLE = "QTabBar::tab { padding: 3px 3px; margin: 1px; min-width: 0px; }"
#: Windows narrower than this get narrow columns, in pixels.
WIDE = 1500


def make_dock(title: str, viewer: Any) -> QWidget:
    """Build the dock of a title for a viewer."""
    room = room_of(plain_viewer(viewer))
    if title == "Views":
        from napari_ctvlp.ui.views.planes import Planes

        return Planes(room, partial(set_layout, room))
    if title == "Reading room":
        from napari_ctvlp.ui.docks.run import RunDock

        return RunDock(room, lambda: lay_out(room.viewer))
    module, name, given = DOCKS[title]
    dock: Callable[..., QWidget] = getattr(import_module(f"napari_ctvlp.ui.{module}"), name)
    if given == "opener":
        return dock(room, lambda title: open_dock(room.viewer, title))
    return dock(room if given == "room" else room.session)


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
    room = room_of(bare)
    if room.desk.layout != "three":
        QTimer.singleShot(0, main, partial(set_layout, room, room.desk.layout))
    return widgets


def set_layout(room: Room, layout: str) -> None:
    """Show one view, three planes, or three planes and 3D.

    Parameters
    ----------
    room : Room
    layout : str
        One of ``desk.LAYOUTS``.
    """
    views = _dock_of(_opened(room.viewer, "Views"))
    views.setVisible(layout != "one")
    known = room.viewer.window.dock_widgets.get(dock_name("3D"))
    if layout != "four":
        if known is not None:
            _dock_of(known).hide()
        return
    solid = _dock_of(_opened(room.viewer, "3D", "bottom"))
    main = views.window()
    if isinstance(main, QMainWindow):
        _entitle(solid, "3D")
        main.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        main.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        QTimer.singleShot(0, main, partial(_halve, main, solid))


def raise_dock(widget: QWidget) -> None:
    """Bring the tab of a dock to the front."""
    _dock_of(widget).raise_()


def open_dock(viewer: Any, title: str) -> None:
    """Open one more dock, in front."""
    raise_dock(_opened(viewer, title))


def dock_name(title: str) -> str:
    """Return the name a dock carries in napari's menus, so that these find it again."""
    return f"{title} ({PLUGIN_TITLE})"


def _opened(viewer: Any, title: str, area: str = "right") -> QWidget:
    window = viewer.window
    known = window.dock_widgets.get(dock_name(title))
    if known is not None:
        _dock_of(known).show()
        return known  # type: ignore[no-any-return]
    widget = make_dock(title, viewer)
    window.add_dock_widget(widget, name=dock_name(title), area=area, add_vertical_stretch=False)
    return widget


def _dock_of(widget: QWidget) -> QDockWidget:
    parent: Any = widget
    while not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent


def _place(main: QMainWindow, docks: dict[str, QDockWidget]) -> None:
    """Put the views beside the canvas, and two groups of tabs in the next column."""
    across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
    for title, dock in docks.items():
        _entitle(dock, title)
    if all(_together(main, [docks[title] for title in group]) for group in (UPPER, LOWER)):
        QTimer.singleShot(0, main, partial(_size, main, docks))
        return  # Qt leaves dead tab bars behind when tabs are made anew
    main.splitDockWidget(docks["Views"], docks[UPPER[0]], across)
    main.splitDockWidget(docks[UPPER[0]], docks[LOWER[0]], down)
    main.tabifyDockWidget(docks["Views"], docks["Compare"])
    for back, front in (*pairwise(UPPER), *pairwise(LOWER)):
        main.tabifyDockWidget(docks[back], docks[front])
    QTimer.singleShot(0, main, partial(_size, main, docks))


def _together(main: QMainWindow, docks: list[QDockWidget]) -> bool:
    """Return whether docks are tabs of one place."""
    beside = main.tabifiedDockWidgets(docks[0])
    return all(dock in beside for dock in docks[1:])


def _size(main: QMainWindow, docks: dict[str, QDockWidget]) -> None:
    """Share the space; Qt takes sizes only once the docks have been laid out."""
    across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
    wide = main.width() >= WIDE
    main.resizeDocks([docks["Views"], docks["Phrases"]], [440, 420] if wide else [290, 290], across)
    left = [dock for dock in main.findChildren(QDockWidget) if _is_left(main, dock)]
    main.resizeDocks(left, [300 if wide else 250] * len(left), across)
    main.resizeDocks([docks["Phrases"], docks["Reading room"]], [560, 500], down)
    for title in ("Views", UPPER[-1], LOWER[-1]):
        docks[title].raise_()
    for bar in main.findChildren(QTabBar):
        bar.setElideMode(Qt.TextElideMode.ElideNone)
        bar.setUsesScrollButtons(True)
        bar.setStyleSheet(_TAB_STYLE)


def _entitle(dock: QDockWidget, title: str) -> None:
    """Show the title over the dock, and it or a short one on its tab."""
    dock.setWindowTitle(TABS.get(title, title))
    bar = dock.titleBarWidget()
    for label in bar.findChildren(QLabel) if bar is not None else ():
        label.setText(title)


def _is_left(main: QMainWindow, dock: QDockWidget) -> bool:
    left = main.dockWidgetArea(dock) == Qt.DockWidgetArea.LeftDockWidgetArea
    return left and dock.isVisible()


def _halve(main: QMainWindow, dock: QDockWidget) -> None:
    """Give a dock under the main view half of its height."""
    main.resizeDocks([dock], [main.height() // 2 - 40], Qt.Orientation.Vertical)
