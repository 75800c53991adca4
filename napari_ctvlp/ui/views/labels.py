"""What is written on a canvas: orientation letters, scale bar, slice position."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel

from napari_ctvlp.core.geometry import screen_to_ras
from napari_ctvlp.ui._compat import Mark

#: Letters at the low and the high end of each world axis (I, P, L).
_LOW, _HIGH = "SAR", "IPL"
_PLANES = {0: "axial", 1: "coronal", 2: "sagittal"}
_YELLOW = "#ffd24a"
#: Words stay legible over white tissue.
_BACKING: dict[str, Any] = {"box": True, "box_color": (0.0, 0.0, 0.0, 0.75)}
#: The scale bar is the longest of these that stays under so many pixels, mm.
_BARS_MM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_BAR_PX = 90.0


def letters_of(order: tuple[int, ...]) -> dict[str, str]:
    """Return the letter at each edge of a canvas that shows world axes in ``order``.

    Parameters
    ----------
    order : tuple of int
        ``dims.order``: slice axis, then the axis drawn downward, then the one drawn rightward.

    Returns
    -------
    dict
        Keys are canvas positions such as ``"top_center"``.
    """
    down, right = order[-2:]
    return {
        "top_center": _LOW[down],
        "bottom_center": _HIGH[down],
        "middle_left": _LOW[right],
        "middle_right": _HIGH[right],
    }


def slice_words(axis: int, point: tuple[float, ...]) -> str:
    """Return plane and slice position in patient words on two lines: axial, then S 120.0 mm."""
    ras = screen_to_ras(point)
    row = 2 - axis
    value = float(ras[row])
    names = (("R", "L"), ("A", "P"), ("S", "I"))[row]
    return f"{_PLANES[axis]}\n{names[0] if value >= 0 else names[1]} {abs(value):.1f} mm"


def bar_mm(zoom: float) -> float:
    """Return the length of the scale bar, mm, at so many pixels per mm."""
    return max((mm for mm in _BARS_MM if mm * zoom <= _BAR_PX), default=_BARS_MM[0])


class CanvasLabels:
    """Keeps letters, scale bar and slice position of one view right as its axes change.

    Parameters
    ----------
    model : ViewerModel
        The view.
    """

    def __init__(self, model: ViewerModel) -> None:
        self.model = model
        self._written: tuple[Any, ...] = ()
        for position in letters_of((0, 1, 2)):
            model.canvas.overlays[f"ctvlp {position}"] = Mark(
                position=position, font_size=15, color=_YELLOW, **_BACKING
            )
        model.canvas.overlays["ctvlp slice"] = Mark(
            position="top_left", font_size=10, color="white", **_BACKING
        )
        model.dims.events.connect(self.refresh)
        model.scene.camera.events.connect(self.measure)
        self.measure()
        self.refresh()

    def refresh(self, event: object = None) -> None:
        """Write what the axes and the slice now are; nothing is written in 3D or without data."""
        dims = self.model.dims
        flat = dims.ndim == 3 and dims.ndisplay == 2 and len(self.model.layers) > 0
        flat = flat and len(dims.point) == 3
        state = (flat, tuple(dims.order), slice_words(dims.order[0], dims.point) if flat else "")
        if state == self._written:
            return
        self._written = state
        overlays = self.model.canvas.overlays
        words = {**letters_of(dims.order), "slice": state[2]} if flat else {}
        for place in (*letters_of((0, 1, 2)), "slice"):
            mark = overlays[f"ctvlp {place}"]
            mark.text = words.get(place, mark.text)
            mark.visible = flat
        self.measure()

    def measure(self, event: object = None) -> None:
        """Give the scale bar a round length that leaves the letters room."""
        bar, zoom = self.model.canvas.overlays.scale_bar, self.model.scene.camera.zoom
        length = bar_mm(zoom)
        if bar.length != length:
            bar.length = length
        if not bar.visible:
            bar.visible = True

    def close(self) -> None:
        """Let go of the view."""
        self.model.dims.events.disconnect(self.refresh)
        self.model.scene.camera.events.disconnect(self.measure)
