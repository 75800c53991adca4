"""A matplotlib figure in a dock: on the window's ground, words in its ink, loaded when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_ctvlp.ui.panel import wrap

#: Draws on a figure, words in the ink of a name.
Draw = Callable[[Any, str], None]
SMALL = 7


class Canvas(QWidget):
    """Shows a note until something is drawn.

    Parameters
    ----------
    note : str
        What will be seen here.
    height : int
        In pixels.

    Signals
    -------
    clicked : object
        A matplotlib event inside axes.
    """

    clicked = Signal(object)

    def __init__(self, note: str, height: int = 210) -> None:
        super().__init__()
        self.note = QLabel(note)
        wrap(self.note)
        self.note.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._canvas: Any = None
        self._draw: Draw | None = None
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.note)
        self.setMinimumHeight(height)

    @property
    def figure(self) -> Any:
        """The figure, None before anything was drawn."""
        return None if self._canvas is None else self._canvas.figure

    def show_drawing(self, draw: Draw | None) -> None:
        """Draw anew; None shows the note."""
        self._draw = draw
        self.note.setVisible(draw is None)
        if self._canvas is None and draw is not None:
            self._canvas = _canvas()
            self._canvas.mpl_connect("button_press_event", self._click)
            layout = self.layout()
            assert layout is not None  # noqa: S101 - it is made above
            layout.addWidget(self._canvas)
        if self._canvas is not None:
            self._canvas.setVisible(draw is not None)
        if draw is not None:
            ink = self.note.palette().color(self.note.foregroundRole()).name()
            self.figure.clear()
            self.figure.set_facecolor("none")
            draw(self.figure, ink)
            self._canvas.draw_idle()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Draw again in the colours of another theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._draw is not None:
            self.show_drawing(self._draw)

    def _click(self, event: Any) -> None:
        if event.inaxes is not None:
            self.clicked.emit(event)


def plain_axes(axes: Any, ink: str, sides: tuple[str, ...] = ("left", "bottom")) -> Any:
    """Bring axes onto the window's ground, with lines on the named sides only."""
    axes.set_facecolor("none")
    axes.tick_params(colors=ink, labelsize=SMALL)
    for name, side in axes.spines.items():
        side.set_visible(name in sides)
        side.set_color(ink)
    return axes


def bare(axes: Any) -> Any:
    """Take ticks and frame away from axes that hold a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def _canvas() -> Any:
    from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
    from matplotlib.figure import Figure

    canvas: Any = FigureCanvasQTAgg
    return canvas(Figure(figsize=(3.0, 2.4), layout="constrained"))
