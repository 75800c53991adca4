"""The reliability diagram: what a model said against what was there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_ctvlp.ui.docks.plots import canvas, plain_axes
from napari_ctvlp.ui.panel import wrap

_DOT = "#6fa8dc"


class ReliabilityChart(QWidget):
    """Share that was there by the support that was told, the number of answers at each dot."""

    def __init__(self) -> None:
        super().__init__()
        self._canvas: Any = None
        self.note = QLabel("How far the support can be believed will be drawn here.")
        wrap(self.note)
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.addWidget(self.note)

    @property
    def figure(self) -> Any:
        """The matplotlib figure, None before anything was drawn."""
        return None if self._canvas is None else self._canvas.figure

    def show_bins(self, found: Mapping[str, Any]) -> None:
        """Draw a report's ``reliability``: ``bins``, ``ece`` and ``brier``."""
        if self._canvas is not None:
            self._canvas.setVisible(bool(found["bins"]))
        if not found["bins"]:
            self.note.setText("No answer came with a support, so there is nothing to draw.")
            return
        if self._canvas is None:
            self._canvas = canvas()
            self._canvas.setMinimumHeight(190)
            self._box.addWidget(self._canvas)
        self.note.setText(f"Reliability: ECE {found['ece']:.2f}, Brier {found['brier']:.2f}")
        ink = self.note.palette().color(self.note.foregroundRole()).name()
        axes = plain_axes(self.figure, ink)
        axes.plot([0, 1], [0, 1], color=ink, alpha=0.4, linewidth=1)
        told, there = ([row[key] for row in found["bins"]] for key in ("support", "there"))
        axes.plot(told, there, "o-", color=_DOT)
        for row in found["bins"]:
            place = (row["support"], row["there"])
            axes.annotate(
                str(row["count"]), place, (4, 4), textcoords="offset points", color=ink, fontsize=7
            )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.08))
        axes.set_xlabel("support told", color=ink, fontsize=8)
        axes.set_ylabel("share that was there", color=ink, fontsize=8)
        self._canvas.draw_idle()
