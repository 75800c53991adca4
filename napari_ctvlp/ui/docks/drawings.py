"""What attention and the checks of a map look like: functions that draw one figure each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.checks import Curves, Erasure, Reading, WeightCheck
from napari_ctvlp.core.geometry import Affine, spacing, transform, voxel_of
from napari_ctvlp.core.looking import Attention
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.ui.docks.canvas import SMALL, bare, plain_axes
from napari_ctvlp.ui.palette import organ_title
from napari_ctvlp.ui.windows import WINDOWS

_DOT, _MARK, _CONTROL = "#6fa8dc", "#ffb000", "#999999"
#: Answers by their mark in the strip plot.
MARKS = {"present": "o", "absent": "v", "cannot tell": "x"}
GROUPS = ("wording", "shift", "HU")


def draw_heads(figure: Any, ink: str, found: Attention, chosen: tuple[int, int] | None) -> None:
    """Draw every head's axial slice through the place, layers down and heads across."""
    slices = found.heads[:, :, found.cell[0]]
    layers, heads, p, l = slices.shape  # noqa: E741
    own = slices / np.maximum(slices.max(axis=(2, 3), keepdims=True), 1e-12)
    sheet = np.full((layers, heads, p + 1, l + 1), np.nan, np.float32)
    sheet[:, :, :p, :l] = own
    picture = sheet.transpose(0, 2, 1, 3).reshape(layers * (p + 1), heads * (l + 1))
    steps = spacing(found.affine)
    axes = bare(figure.add_subplot())
    axes.imshow(picture, cmap="viridis", vmin=0, vmax=1, aspect=steps[1] / steps[2])
    axes.set_facecolor("none")
    axes.set_xticks(np.arange(heads) * (l + 1) + l / 2 - 0.5, range(heads))
    axes.set_yticks(np.arange(layers) * (p + 1) + p / 2 - 0.5, range(layers))
    axes.tick_params(colors=ink, labelsize=SMALL - 1, length=0)
    axes.set_xlabel("head", color=ink, fontsize=SMALL)
    axes.set_ylabel("layer", color=ink, fontsize=SMALL)
    if chosen is not None:
        from matplotlib.patches import Rectangle

        at = (chosen[1] * (l + 1) - 0.5, chosen[0] * (p + 1) - 0.5)
        axes.add_patch(Rectangle(at, l, p, fill=False, edgecolor=_MARK, linewidth=1.5))


def head_at(found: Attention, x: float, y: float) -> tuple[int, int]:
    """Return the layer and head drawn at a point of :func:`draw_heads`."""
    layers, heads, _, p, l = found.heads.shape  # noqa: E741
    layer, head = int((y + 0.5) // (p + 1)), int((x + 0.5) // (l + 1))
    return min(max(layer, 0), layers - 1), min(max(head, 0), heads - 1)


def draw_readings(figure: Any, ink: str, readings: Sequence[Reading]) -> None:
    """Draw a strip plot of peaks: one row of dots per group, a line at the scan as it is."""
    axes = plain_axes(figure.add_subplot(), ink, ("bottom",))
    axes.axvline(readings[0].peak, color=_MARK, linewidth=1.2)
    for row, group in enumerate(GROUPS):
        rows = [one for one in readings if one.group == group]
        for verdict, mark in MARKS.items():
            peaks = [(n, one.peak) for n, one in enumerate(rows) if one.verdict == verdict]
            heights = [row + 0.5 * ((n % 5) / 4 - 0.5) for n, _ in peaks]
            axes.plot([peak for _, peak in peaks], heights, mark, color=_DOT, markersize=5)
    axes.set_yticks(range(len(GROUPS)), GROUPS)
    axes.set_ylim(len(GROUPS) - 0.4, -0.6)
    if all(0 <= one.peak <= 1 for one in readings):
        axes.set_xlim(0, 1)  # a steady answer must look steady
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("peak; the line is the scan as it is", color=ink, fontsize=SMALL)
    legend = [axes.plot([], [], mark, color=_DOT, markersize=5)[0] for mark in MARKS.values()]
    figure.legend(
        legend, list(MARKS), loc="outside upper center", ncols=3, fontsize=SMALL, labelcolor=ink,
        frameon=False, handletextpad=0.2, columnspacing=1.0,
    )  # fmt: skip


def reading_at(readings: Sequence[Reading], x: float, y: float) -> Reading | None:
    """Return the reading nearest to a point of :func:`draw_readings`."""
    row = min(max(round(y), 0), len(GROUPS) - 1)
    rows = [one for one in readings if one.group == GROUPS[row]]
    return min(rows, key=lambda one: abs(one.peak - x), default=None)


def draw_weights(figure: Any, ink: str, found: WeightCheck, scan: Scan) -> None:
    """Draw the real map and one of shuffled weights on the CT, in the slice of the real peak."""
    index = int(np.unravel_index(np.nanargmax(found.true), found.true.shape)[0])
    names = ("real weights", f"shuffled, r = {found.correlations[0]:+.2f}")
    for place, (values, name) in enumerate(zip((found.true, found.random), names, strict=True), 1):
        axes = bare(figure.add_subplot(1, 2, place))
        whole = _extent(scan.affine, scan.shape[1:])
        low, high = WINDOWS["Soft tissue"]
        ct = _ct_slice(scan, found.affine, index)
        axes.imshow(ct, cmap="gray", vmin=low, vmax=high, extent=whole)
        plane = values[index]
        seen = plane[np.isfinite(plane)]
        low, high = np.percentile(seen, (50, 99.9)) if len(seen) else (0, 1)
        extent = _extent(found.affine, plane.shape)
        shown = np.ma.masked_less(np.nan_to_num(plane, nan=-np.inf), low)
        axes.imshow(
            shown, extent=extent, cmap="inferno", vmin=low, vmax=max(high, low + 1e-6), alpha=0.6
        )
        axes.set(xlim=whole[:2], ylim=whole[2:])
        axes.set_title(name, color=ink, fontsize=SMALL + 1)


def draw_curves(figure: Any, ink: str, found: Curves) -> None:
    """Draw scores while voxels go and come, in the map's order and in that of random blobs."""
    pairs = (
        ("deletion", found.deletion, found.blob_deletion),
        ("insertion", found.insertion, found.blob_insertion),
    )
    axes: Any = None
    for place, (name, own, blob) in enumerate(pairs, 1):
        axes = plain_axes(figure.add_subplot(1, 2, place, sharey=axes), ink)
        axes.plot(found.steps, own, "o-", color=_DOT, markersize=3, label="map")
        axes.plot(found.steps, blob, "s--", color=_CONTROL, markersize=3, label="random blobs")
        axes.set_title(name, color=ink, fontsize=SMALL + 1)
        axes.set_xlabel("% of the voxels", color=ink, fontsize=SMALL)
        if place == 1:
            axes.set_ylabel("score", color=ink, fontsize=SMALL)
    lines, names = axes.get_legend_handles_labels()
    figure.legend(
        lines, names, loc="outside upper center", ncols=2, fontsize=SMALL, labelcolor=ink,
        frameon=False,
    )  # fmt: skip


def draw_erasure(figure: Any, ink: str, found: Erasure) -> None:
    """Draw the score before, without the named organ, and without the other one."""
    axes = plain_axes(figure.add_subplot(), ink, ("left",))
    names = ("as it is", *(f"without\n{organ_title(n)}" for n in (found.named, found.other)))
    scores = (found.before, found.without_named, found.without_other)
    bars = axes.bar(names, scores, color=(_CONTROL, _MARK, _DOT), width=0.6)
    axes.bar_label(bars, fmt="%.3f", color=ink, fontsize=SMALL)
    axes.set_ylabel("score", color=ink, fontsize=SMALL)
    axes.margins(y=0.15)


def _ct_slice(scan: Scan, affine: Affine, index: int) -> NDArray[Any]:
    """Return the axial slice of the CT nearest to a plane of cells."""
    at = round(float(voxel_of(scan.affine, transform(affine, (index, 0, 0)))[0]))
    return np.asarray(scan.hu[min(max(at, 0), scan.shape[0] - 1)])


def _extent(affine: Affine, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Return left, right, bottom, top of an axial plane in mm as a viewer shows it."""
    first = transform(affine, (0, -0.5, -0.5))
    last = transform(affine, (0, shape[0] - 0.5, shape[1] - 0.5))
    return -first[0], -last[0], -last[1], -first[1]
