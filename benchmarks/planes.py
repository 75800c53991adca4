"""The three views beside bare napari: crosshair moves and scrolling, in one run.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/planes.py [--ct PATH] [--json FILE]

Both windows show the same CT of 512 x 512 x 133 with masks and a heatmap in three views of the
same size, one after the other in the same process. Bars: from a wish until the two other views
hold their new slices the window's own thread works less than 60 ms (drag) and 90 ms (jump),
medians; including the repaint at most 1.4 times what bare napari needs; scrolling through slices
at least .75 of bare napari's rate.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import full_size_scan, line, median

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import coarse_affine, ras_to_screen, transform
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.ui.desk import ORDERS

MOVES, SCROLLS = 20, 40
SIZE = (1500, 900)
Report = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scan, name = full_size_scan(options.ct)
    report: Report = {"scan": name}
    nouns = (scan, made_up_masks(scan), made_up_heat(scan))
    for label, window in (
        ("bare", Bare),
        ("ours", Ours),
        ("bare again", Bare),
        ("ours again", Ours),
    ):
        report[label] = measured(window(*nouns), label)
    judge(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def made_up_masks(scan: Scan) -> AnatomyMap:
    """Label air, fat, soft tissue and bone by HU alone: as many edges as organs have."""
    steps = np.array([-900, -300, -20, 150], np.int16)
    labels = np.empty(scan.shape, np.uint8)
    for place, plane in enumerate(scan.hu):
        labels[place] = np.digitize(plane, steps)
    names = [(1, "lung_left"), (2, "lung_right"), (3, "liver"), (4, "bones")]
    return anatomy_from_labels(labels, scan, names, source="benchmark")


def made_up_heat(scan: Scan) -> Heatmap:
    """Return a smooth ramp on a grid of 4 mm."""
    factor = np.maximum(1, np.round(4.0 / scan.spacing)).astype(int)
    shape = tuple((np.array(scan.shape) // factor).tolist())
    ramp = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    affine = coarse_affine(scan.affine, factor)
    return Heatmap(ramp, affine, np.ones(shape, bool), parse("nodule"), "none", verdict="present")


class Bare:
    """Three views as napari's parts alone make them: what everything is compared with."""

    def __init__(self, scan: Scan, anatomy: AnatomyMap, heatmap: Heatmap) -> None:
        import napari
        from napari.components import ViewerModel
        from napari.qt import QtViewer
        from qtpy.QtWidgets import QSplitter

        self.scan = scan
        self.viewer = napari.Viewer()
        self.viewer.window.set_geometry(0, 0, *SIZE)
        self.models, self.canvases = [self.viewer], []
        side = QSplitter()
        side.setOrientation(side.orientation().Vertical)
        for _ in range(2):
            model = ViewerModel()
            canvas = QtViewer(model)
            side.addWidget(canvas)
            self.models.append(model)
            self.canvases.append(canvas)
        self.viewer.window.add_dock_widget(side, area="right")
        for model, order in zip(self.models, ORDERS.values(), strict=True):
            for layer in layers(scan, anatomy, heatmap):
                model.layers.append(layer)
            model.dims.order = order
            model.fit_to_view()

    def go(self, ras: Any) -> None:
        """Bring every view to a point, at once."""
        for model, place in zip(self.models, ras_to_screen(ras), strict=True):
            model.dims.set_point(model.dims.order[0], place)

    def close(self) -> None:
        """Close the window."""
        for canvas in self.canvases:
            canvas.close()
        self.viewer.close()


class Ours:
    """The same in the reading room."""

    def __init__(self, scan: Scan, anatomy: AnatomyMap, heatmap: Heatmap) -> None:
        import napari

        from napari_ctvlp.ui.arrange import make_dock
        from napari_ctvlp.ui.room import room_of

        self.scan = scan
        self.viewer = napari.Viewer()
        self.viewer.window.set_geometry(0, 0, *SIZE)
        self.room = room_of(self.viewer)
        self.views = make_dock("Views", self.viewer)
        self.viewer.window.add_dock_widget(self.views, name="Views", area="right")
        self.room.add_scan(scan)
        self.room.session.study.put("anatomy", anatomy)
        self.room.session.study.put("heatmap", heatmap)
        until(lambda: len(self.views.canvases) == 2)
        until(lambda: all(len(m.layers) == 3 for m in self.views.models.values()))
        self.views.fit()
        self.models = list(self.views.models.values())

    def go(self, ras: Any) -> None:
        """Wish for a point; the views follow when their time has come."""
        r, a, s = (float(mm) for mm in ras)
        self.room.session.look_at((r, a, s))

    def close(self) -> None:
        """Close the window and its compute process."""
        self.viewer.close()
        self.room.bridge.close()


def layers(scan: Scan, anatomy: AnatomyMap, heatmap: Heatmap) -> list[Any]:
    from napari_ctvlp.ui.layers import anatomy_layer, ct_layer, heatmap_layer

    return [ct_layer(scan), anatomy_layer(anatomy), heatmap_layer(heatmap)]


def measured(window: Any, label: str) -> Report:
    """Measure one window and close it."""
    turn(2.0)
    report = {kind: moves(window, kind) for kind in ("drag", "jump")}
    report["scroll_per_s"] = scroll(window)
    window.close()
    turn(0.5)
    for kind in ("drag", "jump"):
        for what in ("held_ms", "painted_ms"):
            line(f"{label}: {kind}, {what}", report[kind][what], "ms")
    line(f"{label}: slices a second", report["scroll_per_s"], "/s")
    return report


def moves(window: Any, kind: str) -> Report:
    """Return medians of the window thread's own ms: new slices held, and painted as well.

    A drag in the axial view moves the two others by a few mm; a jump moves all three far.
    """
    rng = np.random.default_rng(1)
    size = np.array(window.scan.shape)
    place = size * 0.5
    held, painted = [], []
    for _ in range(MOVES):
        step = (
            rng.integers(2, 6, 3) * [0, 1, 1] if kind == "drag" else size * rng.uniform(0.1, 0.4, 3)
        )
        place = (place + step) % (size - 1)
        wanted = ras_to_screen(transform(window.scan.affine, np.round(place)))
        turn(0.15)
        start = time.thread_time()
        window.go(transform(window.scan.affine, np.round(place)))
        until(lambda wanted=wanted: there(window, wanted))
        held.append(1000 * (time.thread_time() - start))
        turn(0.25)
        painted.append(1000 * (time.thread_time() - start) - idle_ms(0.25))
    return {"held_ms": median(held), "painted_ms": median(painted), "worst_ms": max(held)}


def there(window: Any, wanted: Any) -> bool:
    """Tell whether every view's slice is the one through a point."""
    steps = [model.dims.range[model.dims.order[0]].step for model in window.models]
    away = [
        abs(model.dims.point[model.dims.order[0]] - wanted[model.dims.order[0]])
        for model in window.models
    ]
    return all(far <= 0.51 * step for far, step in zip(away, steps, strict=True))


def idle_ms(seconds: float) -> float:
    """Return what turning the loop for so long costs when nothing happens, ms."""
    turn(0.1)
    start = time.thread_time()
    turn(seconds)
    return 1000 * (time.thread_time() - start)


def scroll(window: Any) -> float:
    """Return slices a second in the main view, everything painted before the next one."""
    model = window.viewer
    model.dims.set_current_step(0, 20)
    turn(0.5)
    start = time.perf_counter()
    for place in range(SCROLLS):
        model.dims.set_current_step(0, 21 + place)
        turn(0.0)
    return SCROLLS / (time.perf_counter() - start)


def judge(report: Report) -> None:
    """Print every bar with its figure; the windows were measured twice, the better run counts."""

    def best(window: str, kind: str, what: str) -> float:
        return min(report[window][kind][what], report[f"{window} again"][kind][what])

    runs = {name: (name, f"{name} again") for name in ("bare", "ours")}
    rate = {name: max(report[run]["scroll_per_s"] for run in both) for name, both in runs.items()}
    rows = {
        "drag until held, ms (< 60)": (best("ours", "drag", "held_ms"), 60.0),
        "jump until held, ms (< 90)": (best("ours", "jump", "held_ms"), 90.0),
    }
    for kind in ("drag", "jump"):
        ratio = best("ours", kind, "painted_ms") / best("bare", kind, "painted_ms")
        rows[f"{kind} with repaint, ours : bare (<= 1.4)"] = (ratio, 1.4)
    rows["scrolling, bare : ours (<= 1.33)"] = (rate["bare"] / rate["ours"], 1 / 0.75)
    report["bars"] = {
        name: {"value": value, "met": value <= bar} for name, (value, bar) in rows.items()
    }
    for name, row in report["bars"].items():
        print(f"{'met   ' if row['met'] else 'MISSED'} {name:<45} {row['value']:.2f}")


def until(ready: Callable[[], bool], seconds: float = 120) -> None:
    """Turn the event loop until something is so."""
    end = time.perf_counter() + seconds
    while not ready():
        if time.perf_counter() > end:
            raise TimeoutError(f"waited {seconds} s in vain")
        turn(0.0)
        time.sleep(0.001)


def turn(seconds: float) -> None:
    """Turn the event loop, at least twice."""
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + seconds
    QApplication.processEvents()
    QApplication.processEvents()
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
