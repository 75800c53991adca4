"""Twenty phrases at once: what the 21st costs, and how much slower three views scroll.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/many_phrases.py [--ct PATH]

A CT of 512 x 512 x 133 with masks in three views and the answers panel. Scrolling is measured by
turns in one run: without phrases, with 20 in one layer, and with three of them as layers of
their own and 17 in one; 15 are supported and filled, 5 are not and outlined. Bars: the 21st
phrase is listed and drawn in under 200 ms; each view scrolls at more than 0.8 of its rate
without phrases (medians; by the thread's own CPU time, and by the clock beside it).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import full_size_scan, line, median
from planes import Ours, made_up_heat, made_up_masks, same_size, turn

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase

COUNT, FILLED, OWN, TRIES, SLICES = 20, 15, 3, 5, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--runs", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CTVLP_CONFIG"] = folder
        measure(options.ct, options.runs)


def measure(ct: Path | None, runs: int) -> None:
    """Open the window, add the phrases, scroll."""
    from napari_ctvlp.ui.arrange import make_dock

    scan, name = full_size_scan(ct)
    plain = made_up_heat(scan)
    window = Ours(scan, made_up_masks(scan), plain)
    same_size(window)
    panel: Any = make_dock("Answers", window.viewer)
    window.viewer.window.add_dock_widget(panel, name="Answers", area="right")
    study = window.room.session.study
    panel.gallery.remove(list(panel.gallery.answers.values()))
    panel.together.setChecked(True)
    session = window.room.session
    session.set_look(replace(session.look, jump=False))
    for number in range(COUNT):
        study.put("heatmap", blob(plain, number))
    for jump in (False, True):
        session.set_look(replace(session.look, jump=jump))
        took = defaultdict(list)
        for number in range(TRIES):
            turn(0.5)
            fresh = replace(blob(plain, COUNT + number), phrase=Phrase("the 21st", "the 21st"))
            start, own = time.perf_counter(), time.thread_time()
            study.put("heatmap", fresh)
            turn(0.0)
            took["cpu"].append(1000 * (time.thread_time() - own))
            took["clock"].append(1000 * (time.perf_counter() - start))
            panel.gallery.remove([list(panel.gallery.answers.values())[-1]])
        what = "and three views moved to its peak" if jump else "(< 200)"
        by_clock = f"CPU; {median(took['clock']):.0f} ms by the clock"
        line(f"the 21st listed and drawn {what}", median(took["cpu"]), "ms", by_clock)
    print(f"on {name}")
    scroll(window, panel, runs)
    window.close()


def scroll(window: Any, panel: Any, runs: int) -> None:
    """Scroll every view in every state, by turns."""
    answers = list(panel.gallery.answers.values())
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in range(runs):
        for state in ("none", "one layer", "three layers and one"):
            panel.together.setChecked(state != "none")
            for answer in answers[:OWN]:
                panel.gallery.tick(answer, shown=True, own=state == "three layers and one")
            for layer in window.viewer.layers:
                if layer.name.startswith("Heat"):
                    layer.visible = False
            turn(1.0)
            for plane, model in zip(("axial", "coronal", "sagittal"), window.models, strict=True):
                took = scrolled(model, 15 + run * SLICES)
                for unit, ms in took.items():
                    found[plane, state][unit].append(ms)
    for plane in ("axial", "coronal", "sagittal"):
        none = {unit: median(ms) for unit, ms in found[plane, "none"].items()}
        for state in ("one layer", "three layers and one"):
            rates = {u: none[u] / median(ms) for u, ms in found[plane, state].items()}
            met = "met   " if rates["cpu"] > 0.8 else "MISSED"
            print(f"{met} {plane}, 20 phrases as {state}: rate {rates['cpu']:.2f} of that without "
                  f"({none['cpu']:.1f} ms a slice; by the clock {rates['clock']:.2f})")  # fmt: skip


def scrolled(model: Any, first: int) -> dict[str, float]:
    """Scroll a view without a pause, each slice painted before the next; ms a slice."""
    axis = model.dims.order[0]
    start, cpu = time.perf_counter(), time.thread_time()
    for place in range(SLICES):
        model.dims.set_current_step(axis, first + place)
        turn(0.0)
    return {"clock": 1000 * (time.perf_counter() - start) / SLICES,
            "cpu": 1000 * (time.thread_time() - cpu) / SLICES}  # fmt: skip


def blob(like: Heatmap, number: int) -> Heatmap:
    """Return the map of one phrase: a ball somewhere in the scan."""
    rng = np.random.default_rng(number)
    shape = np.array(like.values.shape)
    middle, wide = shape * rng.uniform(0.15, 0.85, 3), rng.uniform(4, 12)
    cells = np.indices(like.values.shape)
    away = np.sqrt(sum((c - m) ** 2 for c, m in zip(cells, middle, strict=True)))
    values = np.clip(1.2 - away / wide, 0, 0.95).astype(np.float32)
    verdict = "present" if number % COUNT < FILLED else "absent"
    phrase = Phrase(f"phrase {number}", f"phrase {number}")
    return Heatmap(values, like.affine, like.allowed, phrase, "none", verdict=verdict)


if __name__ == "__main__":
    main()
