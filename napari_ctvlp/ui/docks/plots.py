"""A histogram or a scatter plot of columns of a cohort, the open scan marked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_ctvlp.ui.panel import wrap

BARS = 24
_DOT, _MARK = "#6fa8dc", "#ffb000"


class ColumnPlot(QWidget):
    """One column as a histogram, two as a scatter plot; a click picks the nearest scan.

    Signals
    -------
    picked : int
        Number of the point, as it was given.
    """

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._canvas: Any = None
        self._points: NDArray[np.float64] = np.empty((0, 2))
        self.note = QLabel()
        wrap(self.note)
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.addWidget(self.note)
        self.setMinimumHeight(120)
        self.clear()

    @property
    def figure(self) -> Any:
        """The matplotlib figure, None before anything was drawn."""
        return None if self._canvas is None else self._canvas.figure

    def clear(self) -> None:
        """Show nothing but how to see something."""
        self._say("Choose a column to see how the scans spread.")

    def _say(self, words: str) -> None:
        self.note.setText(words)
        self.note.setVisible(True)
        if self._canvas is not None:
            self._canvas.setVisible(False)

    def show_columns(
        self,
        across: tuple[str, NDArray[np.float64]],
        up: tuple[str, NDArray[np.float64]] | None,
        marked: int | None,
    ) -> None:
        """Draw.

        Parameters
        ----------
        across : (str, ndarray)
            Title and one number for each scan, NaN where there is none.
        up : (str, ndarray), optional
            The same scans; without it a histogram is drawn.
        marked : int, optional
            Place of the open scan among them.
        """
        if not np.isfinite(across[1]).any():
            self._say("No scan of the list has a number there.")
            return
        if self._canvas is None:
            self._canvas = canvas()
            self._canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
            self._canvas.mpl_connect("button_press_event", self._clicked)
            self._box.addWidget(self._canvas)
        self.note.setVisible(False)
        self._canvas.setVisible(True)
        ink = self.note.palette().color(self.note.foregroundRole()).name()
        axes = plain_axes(self.figure, ink)
        axes.locator_params(nbins=5)
        axes.set_xlabel(_title(across[0]), color=ink, fontsize=8)
        if up is None:
            self._points = np.empty((0, 2))
            _histogram(axes, across[1], marked, ink)
        else:
            self._points = np.stack([across[1], up[1]], axis=1)
            axes.set_ylabel(_title(up[0]), color=ink, fontsize=8)
            _scatter(axes, self._points, marked)
        self._canvas.draw_idle()

    def _clicked(self, event: Any) -> None:
        """Pick the point nearest to a click, in pixels."""
        if event.inaxes is None or not np.isfinite(self._points).all(axis=1).any():
            return
        places = event.inaxes.transData.transform(self._points)
        away = np.linalg.norm(places - (event.x, event.y), axis=1)
        self.picked.emit(int(np.nanargmin(away)))


def canvas() -> Any:
    """Return an empty canvas of matplotlib as wide as a dock."""
    from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
    from matplotlib.figure import Figure

    made: Any = FigureCanvasQTAgg
    return made(Figure(figsize=(3.2, 2.2), layout="constrained"))


def plain_axes(figure: Any, ink: str) -> Any:
    """Return empty axes on the ground of the window, ticks and lines in ``ink``."""
    figure.clear()
    figure.set_facecolor("none")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.tick_params(colors=ink, labelsize=7)
    for name, side in axes.spines.items():
        side.set_visible(name in ("left", "bottom"))
        side.set_color(ink)
    return axes


def _histogram(axes: Any, values: NDArray[np.float64], marked: int | None, ink: str) -> None:
    known = values[np.isfinite(values)]
    axes.hist(known, bins=BARS, color=_DOT)
    axes.set_ylabel("scans", color=ink, fontsize=8)
    if marked is not None and np.isfinite(values[marked]):
        axes.axvline(values[marked], color=_MARK, linewidth=2, label="open scan")


def _scatter(axes: Any, points: NDArray[np.float64], marked: int | None) -> None:
    axes.plot(*points.T, ".", color=_DOT, markersize=4)
    if marked is not None:
        axes.plot(*points[marked], "o", color=_MARK, markersize=9, fillstyle="none", label="open")


def _title(column: str) -> str:
    ends = {"_ml": " (ml)", "_hu": " (mean HU)"}
    for end, unit in ends.items():
        if column.endswith(end):
            return column.removesuffix(end).replace("_", " ") + unit
    return column.replace("_", " ")
