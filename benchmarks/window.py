"""The window under load: stalls of the event loop, docks, phrases, cancel.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/window.py [--ct PATH] [--json FILE]

A 20 ms timer ticks in a real napari window while the compute process segments and encodes a CT
of 512 x 512 x 133; a stall is how much later than due a tick came. Bars: longest stall under
200 ms or twice the idle window's own, docks in under 500 ms, a phrase shown in under 150 ms
(median of 20), cancel within 2 s and no layer left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import PHRASES, full_size_scan, line, median, peak_gb

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.ui._compat import main_canvas

TICK_MS = 20
DOCKS = ("Reading room", "Organs", "Phrases", "Findings", "Views")
Report = dict[str, Any]


class Ticker:
    """A timer in the window's own thread that notes how late each tick comes.

    Beside the wall clock it notes the CPU time this thread spent since the tick before: on a
    machine that is busy with other things only that tells what the window itself did.
    """

    def __init__(self, stage: Callable[[], str]) -> None:
        from qtpy.QtCore import Qt, QTimer

        self._stage = stage
        self.restart()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def restart(self) -> None:
        """Forget what was noted; the next tick is due from now on."""
        self.late_ms: dict[str, list[float]] = defaultdict(list)
        self.own_ms: dict[str, list[float]] = defaultdict(list)
        self._before = ("", time.perf_counter(), time.thread_time())

    def _tick(self) -> None:
        stage, now, own = self._stage(), time.perf_counter(), time.thread_time()
        before, then, own_then = self._before
        name = before or stage
        self.late_ms[name].append(max(0.0, 1000 * (now - then) - TICK_MS))
        self.own_ms[name].append(1000 * (own - own_then))
        self._before = (stage, now, own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CTVLP_CACHE"] = folder
        report = measure(options.ct)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def measure(ct: Path | None) -> Report:
    import napari

    from napari_ctvlp.ui.room import room_of

    viewer = napari.Viewer()
    viewer.window.set_geometry(0, 0, 1800, 1100)
    report: Report = {"docks_ms": docks(viewer)}
    room = room_of(viewer)
    try:
        ticker = Ticker(lambda: next(iter(room.session.jobs), "idle"))
        warm(room)
        scan, report["scan"] = full_size_scan(ct)
        scan.digest  # noqa: B018 - worked out once, belongs to opening
        turn(1)
        ticker.restart()
        turn(5)
        stall(report, ticker, "idle")
        room.add_scan(scan)
        turn(2)
        ticker.restart()
        room.start()
        until(lambda: room.session.study.findings is not None, 1800)
        turn(1)
        for stage in ("segment", "encode"):
            stall(report, ticker, stage)
        report["phrase_shown_ms"] = shown(room)
        report["cancel_s"] = {kind: cancel(room, scan, kind) for kind in ("segment", "encode")}
        report["peak_gb"] = peak_gb()
    finally:
        viewer.close()
        room.bridge.close()
    return report


def docks(viewer: Any) -> dict[str, float]:
    """Open each dock as its menu entry does; ms until it is visible and painted."""
    taken = {}
    for title in DOCKS:
        start = time.perf_counter()
        dock, _ = viewer.window.add_plugin_dock_widget("napari-ctvlp", title)
        turn(0)
        if not dock.isVisible():
            raise RuntimeError(f"{title} is not shown")
        taken[title] = 1000 * (time.perf_counter() - start)
        line(f"dock {title!r} shown", taken[title], "ms")
    heavy = sorted(name for name in ("torch", "transformers") if name in sys.modules)
    print(f"imported by the docks: {heavy or 'neither torch nor transformers'}")
    return taken


def warm(room: Any) -> None:
    """Run every job once on a small phantom, so that nothing is imported later."""
    room.add_scan(phantom())
    room.start()
    until(lambda: room.session.study.findings is not None, 600)
    room.session.ground(PHRASES[0])
    until(lambda: room.session.study.heatmap is not None, 300)


def stall(report: Report, ticker: Ticker, stage: str) -> None:
    """Print the longest stall of a stage, and its ratio to the idle window's."""
    late, own = ticker.late_ms[stage], ticker.own_ms[stage]
    report[f"stall_{stage}_ms"], report[f"own_{stage}_ms"] = max(late), max(own)
    ratio = max(late) / max(report["stall_idle_ms"], 1.0)
    note = f"{ratio:.1f} x idle, median {median(late):.1f} ms, {len(late)} ticks"
    line(f"longest stall, {stage}", max(late), "ms", note)
    line(f"longest own work between ticks, {stage}", max(own), "ms")


class Frames:
    """Notes when the first picture after a change has reached the screen."""

    def __init__(self, canvas: Any) -> None:
        self.changed, self.first = True, 0.0
        canvas.frameSwapped.connect(self._swapped)

    def change(self, heatmap: object) -> None:
        """Wait for the next picture, if there is something new to show."""
        self.changed, self.first = heatmap is None, 0.0

    def _swapped(self) -> None:
        if not self.changed:
            self.changed, self.first = True, time.perf_counter()


def shown(room: Any) -> float:
    """Return the median ms from Enter to the phrase's heatmap being on the main view.

    Between two phrases the other planes and the chart catch up, as they do for somebody typing.
    """
    from napari_ctvlp.ui.docks.phrases import PhrasesDock

    taken = []
    edit = main_canvas(room.viewer).window().findChild(PhrasesDock).edit
    frames, study = Frames(main_canvas(room.viewer)), room.session.study
    study.heatmap_changed.connect(frames.change)
    for phrase in PHRASES:
        edit.setText(phrase)
        edit.textEdited.emit(phrase)
        turn(0.3)
        frames.change(None)
        start = time.perf_counter()
        edit.returnPressed.emit()
        until(lambda: frames.first > 0, 300)
        taken.append(1000 * (frames.first - start))
        turn(0.5)
    line("phrase to heatmap shown, median of 20", median(taken), "ms", f"worst {max(taken):.0f} ms")
    return median(taken)


def cancel(room: Any, scan: Scan, kind: str) -> float:
    """Return the seconds from Cancel to the job's end; nothing may be left behind."""
    fresh = replace(scan, hu=scan.hu[:, 1 if kind == "encode" else 2 :])
    room.add_scan(fresh)
    ended: list[int] = []
    room.bridge.failed.connect(lambda number, error: ended.append(number))
    room.session.segment()
    until(lambda: kind in room.session.jobs, 600)
    job = room.session.jobs[kind]
    until(lambda: job.share > 0.05, 300)
    names = [layer.name for layer in room.viewer.layers]
    start = time.perf_counter()
    room.session.cancel()
    until(lambda: job.number in ended, 30)
    taken = time.perf_counter() - start
    turn(2)
    study = room.session.study
    left = [layer.name for layer in room.viewer.layers] != names
    if left or study.encoding is not None or study.heatmap is not None:
        raise RuntimeError(f"a cancelled {kind} left something behind")
    line(f"cancel of {kind}", taken, "s", "no layer left behind")
    return taken


def until(ready: Callable[[], bool], seconds: float) -> None:
    """Turn the event loop until something is there."""
    end = time.perf_counter() + seconds
    while not ready():
        if time.perf_counter() > end:
            raise TimeoutError(f"waited {seconds} s in vain")
        turn(0)
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
