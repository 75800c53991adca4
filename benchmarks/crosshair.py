"""How long the attention dock needs for one move of the crosshair, in ms; in a real window.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/crosshair.py [CT]

Words: mini on the sample CT (or another), from the move until the list stands in the window and
until it and three views are painted, for jumps anywhere and for steps of a few mm in the axial
view; and what the verb takes without a window. Attention: what that process works out per move,
from a place and to it, with queries and keys of fVLM's published size (12 layers, 12 heads,
7 x 16 x 11 tokens), whose numbers are random.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import line, median

from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.resources import sample_folder

MOVES, GRID, LAYERS, HEADS, WIDTH = 40, (7, 16, 11), 12, 12, 64


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else sample_folder() / "ct.nii.gz"
    words(path)
    verb(path)
    attention()


def verb(path: Path) -> None:
    """Ask for words without a window."""
    from napari_ctvlp.engine import verbs
    from napari_ctvlp.engine.evidence.asking import place_words

    scan = verbs.open_scan(path)
    anatomy = verbs.segment(scan)
    points = transform(scan.affine, np.argwhere(anatomy.labels > 0)[::1000][:MOVES])
    place_words(scan, points[0], anatomy=anatomy)
    times, cpu = [], time.process_time()
    for point in points:
        start = time.perf_counter()
        place_words(scan, point, anatomy=anatomy)
        times.append(1000 * (time.perf_counter() - start))
    cpu = 1000 * (time.process_time() - cpu) / len(points)
    report("words at a place, mini, without a window", times)
    line("  of that on the processor, mean", cpu, "ms")


def words(path: Path) -> None:
    """Move the crosshair about the body and wait for each list of words."""
    from qtpy.QtWidgets import QApplication

    from napari_ctvlp.ui.arrange import make_dock
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room = window.room
    room.open_path(path)
    wait_for(room, lambda: room.session.study is not None, "the scan", 300)
    study = room.session.study
    wait_for(room, lambda: study.encoding is not None, "the encoding", 3600)
    room.session.cancel()  # the findings are another matter
    dock: Any = make_dock("Attention", window.viewer)
    window.viewer.window.add_dock_widget(dock, name="Attention", area="right")
    dock.ask_here()
    wait_for(room, lambda: not dock.listing.busy and not dock.looking.busy, "the first", 600)
    dock.follow.setChecked(True)
    stamps: list[float] = []
    room.bridge.finished.connect(lambda *_: stamps.append(time.perf_counter()))
    for kind, points in places(study).items():
        listed, painted = [], []
        for point in points:
            settle()
            stamps.clear()
            start = time.perf_counter()
            room.session.look_at(tuple(point.tolist()))
            wait_for(room, lambda: not dock.listing.busy, "the words", 60)
            QApplication.processEvents()
            painted.append(1000 * (time.perf_counter() - start))
            listed.append(1000 * (stamps[0] - start))
        report(f"words listed in the window, {kind}", listed)
        report(f"and three views painted, {kind}", painted)
    window.viewer.close()
    room.bridge.close()


def places(study: Any) -> dict[str, Any]:
    """Return points to jump to, and a walk through the axial plane of the first; RAS mm."""
    inside = np.argwhere(study.anatomy.labels > 0)
    rng = np.random.default_rng(0)
    jumps = transform(study.scan.affine, inside[rng.integers(0, len(inside), MOVES)])
    steps = rng.uniform(2, 6, (MOVES, 3)) * rng.choice([-1, 1], (MOVES, 3)) * (1, 1, 0)
    return {"jumps": jumps, "a drag": jumps[0] + np.cumsum(steps, axis=0)}


def attention() -> None:
    """Work out maps of every head, and the rollout, for one place after another."""
    import torch

    from napari_ctvlp.engine.evidence.attention import Recorder
    from napari_ctvlp.models.encoders.attending import plain

    count = int(np.prod(GRID))
    recorder = Recorder(plain(GRID))
    for _ in range(LAYERS):
        recorder.see(*torch.randn(2, 1, HEADS, count, WIDTH))
    for to in (False, True):
        recorder.heads(0, count, to), recorder.rollout(0, count, to)
        times, cpu = [], time.process_time()
        for cell in np.random.default_rng(1).integers(0, count, MOVES).tolist():
            start = time.perf_counter()
            recorder.heads(cell, count, to), recorder.rollout(cell, count, to)
            times.append(1000 * (time.perf_counter() - start))
        cpu = 1000 * (time.process_time() - cpu) / MOVES
        report(f"attention {'to' if to else 'from'} a place, fVLM's size", times)
        line("  of that on the processor, mean", cpu, "ms")


def report(what: str, times: list[float]) -> None:
    """Print the median, and the slowest of twenty."""
    line(what, median(times), "ms", f"95 %: {np.percentile(times, 95):.1f} ms")


if __name__ == "__main__":
    main()
