"""Lines over a view: maps without support in outline, lines at levels, hatching, the token grid."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import numpy as np
from napari.components import ViewerModel
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_ctvlp.core.geometry import ras_to_screen, screen_to_ras, voxel_of
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.engine.evidence.lines import LEVELS, Pieces, dashed, hatching, solid, token_grid
from napari_ctvlp.ui._compat import HAS_STROKES, Mark, Strokes
from napari_ctvlp.ui.calm import Soon
from napari_ctvlp.ui.desk import Desk
from napari_ctvlp.ui.drawn import GREY, PALE, WHITE, Drawn, drawn_of, heat_state
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.palette import Colour

_STROKES, _SAID = "ctvlp strokes", "ctvlp support"
#: One of several phrases has a line at one level only.
_AMONG = {"half": LEVELS["half"]}
#: Between dashes it is dark, so that they are seen over bright tissue too.
_GAPS = (0.0, 0.0, 0.0, 0.6)
_HATCH, _CELLS = (0.65, 0.75, 0.85, 0.35), (1.0, 1.0, 1.0, 0.3)
#: Letters of a phrase that fit a line in the corner of a narrow view.
_LETTERS = 15
Coloured = tuple[Pieces, tuple[float, ...]]


class Tracing(QObject):
    """Draws lines over one view for the maps that the layers of a viewer show.

    Parameters
    ----------
    model : ViewerModel
        The view.
    desk : Desk
    source : ViewerModel
        Whose layers count: the main view, of which the others are copies.
    """

    def __init__(self, model: ViewerModel, desk: Desk, source: ViewerModel) -> None:
        super().__init__()
        self.model, self.session = model, desk.session
        self._source = weakref.ref(source)
        self._soon = Soon(self.draw)
        self._at: tuple[Any, ...] = ()
        self._main: Heatmap | None = None
        self._drawn: tuple[Drawn, ...] = ()
        if HAS_STROKES:
            model.scene.overlays[_STROKES] = Strokes(visible=True)
        model.canvas.overlays[_SAID] = Mark(
            position="top_right", font_size=10, color="white", box=True,
            box_color=(0.0, 0.0, 0.0, 0.75), visible=False,
        )  # fmt: skip
        model.dims.events.point.connect(self._moved)
        model.dims.events.order.connect(self._moved)
        self.session.look_changed.connect(self._soon.ask)
        source.layers.events.inserted.connect(self._inserted)
        source.layers.events.removed.connect(self._soon.ask)
        for layer in source.layers:
            self._follow(layer)
        self._soon.ask()

    def draw(self) -> None:
        """Draw anew, whatever was drawn before."""
        source = self._source()
        layers = [one for one in source.layers if one.visible] if source is not None else []
        nouns = (noun_of(layer) for layer in layers)
        self._main = next((noun for noun in nouns if isinstance(noun, Heatmap)), None)
        self._drawn = tuple(drawn for layer in layers for drawn in drawn_of(layer))
        self._at = ()
        self._say()
        self._moved()

    def close(self) -> None:
        """Let go of the view."""
        self._soon.stop()
        self.model.dims.events.point.disconnect(self._moved)
        self.model.dims.events.order.disconnect(self._moved)
        self.session.look_changed.disconnect(self._soon.ask, missing_ok=True)
        source = self._source()
        if source is not None:
            source.layers.events.inserted.disconnect(self._inserted)
            source.layers.events.removed.disconnect(self._soon.ask)

    def _inserted(self, event: Any) -> None:
        self._follow(event.value)
        self._soon.ask()

    def _follow(self, layer: Any) -> None:
        if drawn_of(layer):
            layer.events.visible.connect(self._soon.ask)
            layer.events.data.connect(self._soon.ask)

    def _moved(self, event: object = None) -> None:
        """Draw the lines of the slice that the view now shows."""
        dims, overlay = self.model.dims, self.model.scene.overlays.get(_STROKES)
        if overlay is None or dims.ndim != 3 or len(dims.point) != 3:
            return
        axis = dims.order[0]
        at = (axis, round(float(dims.point[axis]), 3), tuple(dims.order))
        if at == self._at:
            return
        self._at = at
        parts = [(ras_to_screen(cut), colour) for cut, colour in self._parts(axis) if len(cut)]
        ends = np.concatenate([cut for cut, _ in parts]) if parts else np.empty((0, 2, 3))
        overlay.show(ends, _colours(parts))

    def _parts(self, axis: int) -> Iterator[Coloured]:
        """Yield pieces with their colours, what lies lowest first."""
        look, point = self.session.look, screen_to_ras(self.model.dims.point)
        study, main = self.session.study, self._main
        if main is not None and study is not None:
            index = float(voxel_of(main.affine, point)[axis])
            if look.cells:
                yield token_grid(main, axis, index), _CELLS
            if look.hatch:
                yield hatching(main, study.scan, axis, index), _HATCH
        for drawn in self._drawn:
            state = heat_state(drawn.heat)
            if state == "asserted" and not look.lines:
                continue
            index = float(voxel_of(drawn.heat.affine, point)[axis])
            levels = LEVELS if drawn.colour is None else _AMONG
            for name, lines in drawn.outlines.lines(axis, index, levels).items():
                share = 0.55 + 0.6 * LEVELS[name]
                if state != "asserted":
                    yield solid(lines), _GAPS
                cut = solid(lines) if state == "asserted" else dashed(lines)
                yield cut, (*_ink(drawn.colour, state), share)

    def _say(self) -> None:
        """Write under the main map that nothing supports it, in words."""
        mark, heat = self.model.canvas.overlays[_SAID], self._main
        state = heat_state(heat) if heat is not None else "asserted"
        if heat is not None and state != "asserted":
            head = "denied:" if state == "not asserted" else "no support:"
            lines = wrap(heat.phrase.text, _LETTERS, max_lines=2, placeholder=" ...")
            mark.text = "\n".join([head, *lines])
        mark.visible = state != "asserted"


def _ink(colour: Colour | None, state: str) -> Colour:
    """Return the colour of a map's lines: its own, or that of its state."""
    if colour is not None:
        return colour
    return {"asserted": WHITE, "unsupported": PALE}.get(state, GREY)


def _colours(parts: list[Coloured]) -> NDArray[np.float32]:
    rows = [np.tile(np.array(colour, np.float32), (len(cut), 1)) for cut, colour in parts]
    return np.concatenate(rows) if rows else np.empty((0, 4), np.float32)
