"""Fills a view with several maps at once, without a layer to slice for each."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from napari.components import Dims, ViewerModel
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_ctvlp.core.composite import laid_over
from napari_ctvlp.ui._compat import HAS_FILL, Fill, Filled
from napari_ctvlp.ui.calm import Soon
from napari_ctvlp.ui.layers import ALONE
from napari_ctvlp.ui.marks import Sheet

_FILL = "ctvlp fill"
#: What a layer shows otherwise when one of these changes.
_LOOKS = ("visible", "opacity", "data", "colormap", "contrast_limits", "gamma")
_STEPS = 256
Picture = NDArray[np.float32]


def filled_layer(**arguments: Any) -> Image:
    """Return an image layer that every view fills in by itself, else one that napari draws."""
    if not HAS_FILL:
        return Image(**arguments)
    layer = Filled(**arguments)
    layer.metadata[ALONE] = True
    return layer


@dataclass(frozen=True)
class _Paint:
    """What is drawn of a layer: its cells, where they are, and their colours times alpha."""

    cells: NDArray[Any]
    scale: NDArray[np.float64]
    start: NDArray[np.float64]
    colours: Picture | None
    limits: tuple[float, float]
    opacity: float

    def place(self) -> tuple[Any, ...]:
        """Tell its grid from others."""
        return (*self.cells.shape[:3], *self.scale.tolist(), *self.start.tolist())

    def plane(self, dims: Dims) -> Picture | None:
        """Return the slice a view shows; None beside the grid, or where it is empty."""
        axis, (down, right) = dims.order[0], dims.displayed
        number = round((dims.point[axis] - self.start[axis]) / self.scale[axis])
        if not 0 <= number < self.cells.shape[axis]:
            return None
        cells = self.cells[(slice(None),) * axis + (number,)]
        low, high = self.limits
        if not (cells[..., 3].any() if self.colours is None else cells.max() > low):
            return None
        cells = cells if down < right else cells.swapaxes(0, 1)
        if self.colours is None:
            out = cells * np.float32(self.opacity / 255)
            out[..., :3] *= cells[..., 3:] / np.float32(255)
            return np.asarray(out, np.float32)
        steps = np.clip((cells - low) * ((_STEPS - 1) / (high - low)), 0, _STEPS - 1)
        picture: Picture = self.colours[steps.astype(np.uint8)]
        return picture


class Filling(QObject):
    """Draws over one view what the filled layers of a viewer hold there.

    Parameters
    ----------
    model : ViewerModel
        The view.
    source : ViewerModel
        Whose layers count: the main view.
    """

    def __init__(self, model: ViewerModel, source: ViewerModel) -> None:
        super().__init__()
        self._model, self._source = weakref.ref(model), weakref.ref(source)
        self._paints: list[_Paint] = []
        self._soon = Soon(self.draw)
        if not HAS_FILL:
            return
        model.scene.overlays[_FILL] = Fill(visible=True)
        for name in ("point", "order", "ndisplay"):
            getattr(model.dims.events, name).connect(self._moved)
        source.layers.events.inserted.connect(self._inserted)
        for name in ("removed", "reordered"):
            getattr(source.layers.events, name).connect(self._soon.ask)
        for layer in source.layers:
            self._follow(layer)
        self._soon.ask()

    def draw(self) -> None:
        """Draw anew, whatever was drawn before."""
        source = self._source()
        layers = source.layers if source is not None else ()
        self._paints = [_paint(one) for one in layers if isinstance(one, Filled) and one.visible]
        self._moved()

    def close(self) -> None:
        """Let go of the view."""
        self._soon.stop()
        model, source = self._model(), self._source()
        if HAS_FILL and model is not None:
            for name in ("point", "order", "ndisplay"):
                getattr(model.dims.events, name).disconnect(self._moved)
        if HAS_FILL and source is not None:
            source.layers.events.inserted.disconnect(self._inserted)
            for name in ("removed", "reordered"):
                getattr(source.layers.events, name).disconnect(self._soon.ask)

    def _inserted(self, event: Any) -> None:
        self._follow(event.value)

    def _follow(self, layer: Any) -> None:
        if isinstance(layer, Filled):
            for name in _LOOKS:
                getattr(layer.events, name).connect(self._soon.ask)
            self._soon.ask()

    def _moved(self, event: object = None) -> None:
        """Draw the slice that the view now shows."""
        model = self._model()
        if model is None:
            return
        dims, sheets = model.dims, []
        flat = dims.ndim == len(dims.point) == 3 and dims.ndisplay == 2
        for _, same in groupby(self._paints if flat else (), _Paint.place):
            paints = list(same)
            planes = [plane for one in paints if (plane := one.plane(dims)) is not None]
            sheet = _sheet(laid_over(planes), paints[0], list(dims.displayed)) if planes else None
            if sheet is not None:
                sheets.append(sheet)
        model.scene.overlays[_FILL].show(sheets)


def _paint(layer: Filled) -> _Paint:
    """Return what is drawn of a layer."""
    colours = None
    if not layer.rgb:
        ramp = np.linspace(0, 1, _STEPS) ** layer.gamma
        colours = np.array(layer.colormap.map(ramp), np.float32)
        colours[:, :3] *= colours[:, 3:]
        colours *= np.float32(layer.opacity)
    low, high = layer.contrast_limits
    return _Paint(
        layer.data, np.array(layer.scale), np.array(layer.translate), colours,
        (float(low), float(high)), float(layer.opacity),
    )  # fmt: skip


def _sheet(picture: Picture, paint: _Paint, axes: list[int]) -> Sheet | None:
    """Return the part of a slice that is coloured, where it is; None without any."""
    coloured = picture[..., 3] > 0
    first, last = [], []
    for axis, count in enumerate(coloured.shape):
        places = np.flatnonzero(coloured.any(axis=1 - axis))
        if not len(places):
            return None
        # a cell around it: what is coloured fades out there
        first.append(max(0, places[0] - 1))
        last.append(min(count, places[-1] + 2))
    part = picture[first[0] : last[0], first[1] : last[1]]
    scale, start = paint.scale[axes], paint.start[axes]
    low, high = (start + (np.array(ends) - 0.5) * scale for ends in (first, last))
    return Sheet(
        np.ascontiguousarray(np.rint(255 * part).astype(np.uint8)),
        low[::-1].astype(np.float32),
        high[::-1].astype(np.float32),
    )
