"""The bar chart of how a heatmap spreads over the anatomy; matplotlib is imported when needed."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_ctvlp.ui.palette import organ_colour, organ_title
from napari_ctvlp.ui.panel import wrap

_MOST = 7
#: The bars are drawn this long after the heatmap they belong to, ms.
DELAY_MS = 120


class ShareChart(QWidget):
    """Share of the heatmap per anatomy, the largest on top."""

    def __init__(self) -> None:
        super().__init__()
        self._canvas: Any = None
        self._shares: dict[str, float] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._show)
        self._note = QLabel("The share of the heatmap per anatomy will be shown here.")
        wrap(self._note)
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.addWidget(self._note)
        self.setMinimumHeight(160)

    def show_shares(self, shares: dict[str, float]) -> None:
        """Draw shares, each 0..1, keyed by organ; the heatmap is shown before them."""
        self._shares = shares
        self._timer.start()

    def _show(self) -> None:
        shares = self._shares
        self._note.setVisible(not shares)
        if self._canvas is not None:
            self._canvas.setVisible(bool(shares))
        if not shares:
            return
        if self._canvas is None:
            self._canvas = _canvas()
            self._box.addWidget(self._canvas)
        ink = self._note.palette().color(self._note.foregroundRole()).name()
        _draw(self._canvas.figure, shares, ink)
        self._canvas.draw_idle()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Draw again in the colours of another theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange) and self._shares:
            self._timer.start()


def _canvas() -> Any:
    from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
    from matplotlib.figure import Figure

    canvas: Any = FigureCanvasQTAgg
    return canvas(Figure(figsize=(3.2, 2.2), layout="constrained"))


def _draw(figure: Any, shares: dict[str, float], ink: str) -> None:
    """Draw horizontal bars on the ground of the window, words in ``ink``."""
    rows = sorted(shares.items(), key=lambda item: item[1])[-_MOST:]
    figure.clear()
    figure.set_facecolor("none")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    titles = [organ_title(name) for name, _ in rows]
    bars = axes.barh(
        titles, [100 * share for _, share in rows], color=[organ_colour(name) for name, _ in rows]
    )
    axes.bar_label(bars, fmt="%.0f %%", padding=3, color=ink, fontsize=8)
    axes.set_title("Share of the heatmap", color=ink, fontsize=9, loc="left")
    axes.set_xlim(0, 115)
    axes.tick_params(colors=ink, labelsize=8)
    axes.xaxis.set_visible(False)
    for side in axes.spines.values():
        side.set_visible(False)
