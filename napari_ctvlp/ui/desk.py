"""What keys, buttons and the command palette do to the views of one viewer."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from psygnal import Signal

from napari_ctvlp.core.geometry import screen_to_ras
from napari_ctvlp.core.measure import auto_window
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.ui.choices import prefer, preference
from napari_ctvlp.ui.layers import OVER, noun_of
from napari_ctvlp.ui.session import Session
from napari_ctvlp.ui.windows import WINDOWS, Limits, own_windows

#: A view's slice axis, then what is drawn downward, then rightward.
ORDERS = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
LAYOUTS = {"one": "one view", "three": "three planes", "four": "three planes and 3D"}
#: How a slab is drawn, by napari's name of it.
SLABS = {"none": "one slice", "mean": "mean", "max": "MIP", "min": "MinIP"}
#: Steps of the slab's thickness, mm.
SLAB_MM = (2.0, 5.0, 10.0, 20.0, 30.0, 50.0)
#: napari's slab ends before the slice nearest to its right margin, unless that is hit exactly.
_NEXT = 0.98


@dataclass(frozen=True)
class Command:
    """Something a user can ask for.

    Attributes
    ----------
    name : str
        How it is called in the manifest, with ``napari-ctvlp.`` before it.
    title : str
        What the palette, tooltips and the list of keys say.
    key : str
        In napari's spelling.
    """

    name: str
    title: str
    key: str


def _windows() -> list[Command]:
    rows = [
        Command(f"window_{name.lower().replace(' ', '_')}", f"Window: {name.lower()}", f"Alt-{n}")
        for n, name in enumerate(WINDOWS, start=1)
    ]
    own = [
        Command(f"window_own_{n}", f"Window: your own, number {n}", f"Alt-{n + 7}") for n in (1, 2)
    ]
    return [*rows, *own, Command("window_auto", "Window: automatic", "Alt-0")]


#: Every command with a key. Keys that napari or its layers use are left to them.
COMMANDS = (
    *_windows(),
    Command("layout_one", "Layout: one view", "F2"),
    Command("layout_three", "Layout: three planes", "F3"),
    Command("layout_four", "Layout: three planes and 3D", "F4"),
    Command("main_axial", "Main view: axial", "F6"),
    Command("main_coronal", "Main view: coronal", "F7"),
    Command("main_sagittal", "Main view: sagittal", "F8"),
    Command("blink", "Overlays: hide or show all of them", "H"),
    Command("crosshair", "Crosshair: hide or show it", "N"),
    Command("here", "Crosshair: bring it under the mouse", "J"),
    Command("fit", "Views: fit all of them to the scan", "Q"),
    Command("slice_up", "Slices: one up (or forward, or to the right)", "PageUp"),
    Command("slice_down", "Slices: one down (or back, or to the left)", "PageDown"),
    Command("slab_mode", "Slab: one slice, mean, MIP, MinIP", "W"),
    Command("slab_thicker", "Slab: thicker", "."),
    Command("slab_thinner", "Slab: thinner", ","),
    Command("distance", "Measure: a distance", "Alt-D"),
    Command("region", "Measure: an ellipse (mean, SD, min, max HU, area)", "Alt-R"),
    Command("keys", "Keys: list all of them", "F1"),
)
BY_NAME = {command.name: command for command in COMMANDS}


class Desk:
    """The state that all views of a viewer share, and the commands that change it.

    Parameters
    ----------
    viewer : ViewerModel
        Held weakly.
    session : Session

    Attributes
    ----------
    models : list of ViewerModel
        Flat views, the main one first.
    layout : str
        One of ``LAYOUTS``.
    slab : tuple of (str, float)
        One of ``SLABS``, and mm.
    crosshair : bool
    """

    layout_changed = Signal(str)
    windowed = Signal(object)
    slab_changed = Signal(str, float)
    crosshair_changed = Signal(bool)
    blinked = Signal(bool)
    measuring = Signal(str)
    fitted = Signal()
    keys_wanted = Signal()

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        self._viewer = weakref.ref(viewer)
        self.session = session
        self.models: list[ViewerModel] = []
        self.layout = str(preference("reading", "layout", "three"))
        self.crosshair = bool(preference("reading", "crosshair", True))
        self.slab = ("none", 10.0)
        session.study_changed.connect(self._opened)

    def run(self, name: str, model: ViewerModel | None = None) -> None:
        """Do what a command of ``COMMANDS`` says; ``model`` is the view it was asked in."""
        group, _, rest = name.partition("_")
        if group == "window":
            self._window_command(rest)
        elif group == "layout":
            self.set_layout(rest)
        elif group == "main":
            self.set_plane(rest)
        elif group == "slab":
            self._slab_command(rest)
        elif group == "slice":
            self._step(-1 if rest == "up" else 1, model)
        elif name in ("distance", "region"):
            self.measuring.emit("line" if name == "distance" else "ellipse")
        else:
            actions: dict[str, Callable[[], object]] = {
                "blink": self.blink,
                "crosshair": partial(self.show_crosshair, not self.crosshair),
                "here": partial(self._here, model),
                "fit": self.fit,
                "keys": self.keys_wanted.emit,
            }
            actions[name]()

    def ct(self) -> Image | None:
        """Return the layer that windows act on: the selected CT, else the study's."""
        viewer, study = self._viewer(), self.session.study
        if viewer is None:
            return None
        active = viewer.layers.selection.active
        if isinstance(active, Image) and not active.rgb and OVER not in active.metadata:
            return active
        found = (one for one in viewer.layers if study is not None and noun_of(one) is study.scan)
        return next(found, None)

    def window(self, limits: Limits) -> None:
        """Set low and high of the CT, in HU."""
        layer = self.ct()
        if layer is not None:
            layer.contrast_limits = limits
            self.windowed.emit(limits)

    def set_window(self, name: str) -> None:
        """Set a window by its name, a usual one or the user's."""
        limits = WINDOWS.get(name) or own_windows().get(name)
        if limits is not None:
            self.window(limits)

    def auto(self) -> None:
        """Window the CT to what is in it."""
        layer = self.ct()
        noun = noun_of(layer) if layer is not None else None
        if isinstance(noun, Scan):
            self.window(auto_window(noun))
        elif layer is not None:
            layer.reset_contrast_limits()

    def set_layout(self, name: str) -> None:
        """Show one view, three planes, or three planes and 3D; the choice is kept."""
        self.layout = name
        prefer("reading", "layout", name)
        self.layout_changed.emit(name)

    def set_plane(self, plane: str) -> None:
        """Show a plane in the main view; the view that had it takes over the other one."""
        if not self.models or self.models[0].dims.ndim != 3:
            return
        main, wanted = self.models[0], ORDERS[plane]
        before = tuple(main.dims.order)
        for model in self.models[1:]:
            if tuple(model.dims.order) == wanted and before != wanted:
                model.dims.order = before
                model.fit_to_view()
        main.dims.order = wanted
        main.fit_to_view()

    def set_slab(self, mode: str, mm: float) -> None:
        """Draw the CT of every flat view as a slab along its own slice axis.

        A slab has an odd number of slices, as many as come nearest to ``mm``, so that the slice
        under the crosshair is its middle.
        """
        self.slab = (mode, mm)
        for model in self.models:
            steps = [axis.step for axis in model.dims.range]
            sides = [0 if mode == "none" else round((mm / step - 1) / 2) for step in steps]
            pairs = list(zip(sides, steps, strict=True))
            model.dims.margin_left = tuple(n * step for n, step in pairs)
            model.dims.margin_right = tuple((n + _NEXT) * step if n else 0.0 for n, step in pairs)
        viewer = self._viewer()
        for layer in viewer.layers if viewer is not None else ():
            if isinstance(layer, Image) and layer.ndim == 3:
                over = OVER in layer.metadata
                layer.projection_mode = "none" if over else mode
        self.slab_changed.emit(mode, mm)

    def show_crosshair(self, shown: bool) -> None:
        """Show or hide the crosshair of every view; the choice is kept."""
        self.crosshair = shown
        prefer("reading", "crosshair", shown)
        self.crosshair_changed.emit(shown)

    def blink(self) -> None:
        """Hide every overlay, or show them again."""
        viewer = self._viewer()
        over = [layer for layer in viewer.layers if OVER in layer.metadata] if viewer else []
        shown = not any(layer.visible for layer in over)
        for layer in over:
            layer.visible = shown
        self.blinked.emit(shown)

    def fit(self) -> None:
        """Fit every flat view to the data."""
        for model in self.models:
            model.fit_to_view()
        self.fitted.emit()

    def _opened(self, study: object) -> None:
        if study is not None and self.slab[0] != "none":
            self.set_slab(*self.slab)

    def _window_command(self, rest: str) -> None:
        if rest == "auto":
            self.auto()
        elif rest.startswith("own_"):
            own = list(own_windows().values())
            place = int(rest[4:]) - 1
            if place < len(own):
                self.window(own[place])
        else:
            self.set_window(rest.capitalize().replace("_", " "))

    def _slab_command(self, rest: str) -> None:
        mode, mm = self.slab
        if rest == "mode":
            names = list(SLABS)
            self.set_slab(names[(names.index(mode) + 1) % len(names)], mm)
            return
        others = [step for step in SLAB_MM if (step > mm if rest == "thicker" else step < mm)]
        if others:
            self.set_slab(mode, min(others) if rest == "thicker" else max(others))

    def _step(self, steps: int, model: ViewerModel | None) -> None:
        view = model or self._viewer()
        if view is not None and view.dims.ndim == 3:
            step_slices(view, steps)

    def _here(self, model: ViewerModel | None) -> None:
        view = model or self._viewer()
        if view is not None and len(view.cursor.position) == 3:
            r, a, s = screen_to_ras(view.cursor.position).tolist()
            self.session.look_at((r, a, s))


def step_slices(model: ViewerModel, steps: int) -> None:
    """Move a view by whole slices along its slice axis, within the data."""
    axis = model.dims.order[0]
    wanted = int(model.dims.current_step[axis]) + steps
    model.dims.set_current_step(axis, int(np.clip(wanted, 0, model.dims.nsteps[axis] - 1)))
