"""A finding as text for a report: what, where, how sure, by which model."""

from __future__ import annotations

import math

import numpy as np

from napari_ctvlp.core.geometry import voxel_of
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import places

_NOTE = "Computed for research; not a diagnosis."


def finding_text(heatmap: Heatmap, scan: Scan) -> str:
    """Return the answer to one phrase as a few sentences.

    Parameters
    ----------
    heatmap : Heatmap
        Computed from ``scan``.
    scan : Scan
        For slice number and HU at the peak.
    """
    verdict = heatmap.verdict.capitalize()
    lines = [f"{heatmap.phrase.text[:1].upper()}{heatmap.phrase.text[1:]}: {verdict}."]
    if heatmap.reason:
        lines.append(heatmap.reason)
    if not math.isnan(heatmap.margin):
        lines.append(f"Margin to the threshold {heatmap.margin:+.2f}.")
    if heatmap.peak_ras is not None:
        lines.append(_place(heatmap.peak_ras, heatmap.peak, scan))
    shares = sorted(heatmap.shares.items(), key=lambda row: -row[1])[:3]
    if shares:
        named = ", ".join(f"{_title(name)} {share:.0%}" for name, share in shares)
        lines.append(f"Share of the map: {named}.")
    lines.append(f"Model {heatmap.model}. {_NOTE}")
    return "\n".join(lines)


def _place(peak_ras: tuple[float, float, float], value: float, scan: Scan) -> str:
    """Say where the peak is: patient letters, axial slice from the top, HU."""
    spoken = ", ".join(
        f"{pair[0] if number >= 0 else pair[1]} {abs(number):.0f}"
        for number, pair in zip(peak_ras, (("R", "L"), ("A", "P"), ("S", "I")), strict=True)
    )
    index = np.rint(voxel_of(scan.affine, peak_ras)).astype(int)
    inside = (index >= 0).all() and (index < scan.shape).all()
    words = f"Highest value {value:.2f} at {spoken} mm"
    if not inside:
        return f"{words}."
    level = f", axial slice {index[0] + 1} of {scan.shape[0]} from the top"
    unit = "HU" if scan.meta.unit == "HU" else "(no HU)"
    return f"{words}{level} ({float(scan.hu[tuple(index)]):.0f} {unit})."


def _title(name: str) -> str:
    place = places().get(name)
    return place.title if place is not None else name.replace("_", " ")
