"""The risk-coverage curve as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw error by coverage of every method, and where the three answers stand.

    Parameters
    ----------
    report : mapping
        As :func:`napari_ctvlp.evaluation.absence.curves.report` returns it.
    path : Path
        A ``.png``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="share of questions answered", ylabel="error among them")
    for name, curve in report["curves"].items():
        axes.plot(curve["coverage"], curve["error"], label=name, drawstyle="steps-post")
    for name, answers in report["answers"].items():
        if answers["error"] is not None:
            axes.plot(1 - answers["cannot_tell"], answers["error"], "o", label=f"{name}: answers")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.set_title(f"{report['in_view']} questions about {report['scans']} CTs", fontsize=10)
    figure.savefig(path)
