"""Pictures of the attention and the checks dock, 1280 x 800, into docs/images/evidence.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/pictures_attention.py [--out FOLDER]

Words, Grad-CAM and organ queries are of mini on the sample CT, the checks on a cube of 120 mm of
it. No published weights of an encoder with attention are at hand: that picture is of a small fVLM
with random weights, so it shows where maps lie and nothing about the patient.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures_evidence import HEIGHT, WIDTH, write
from PIL import Image

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import transform, voxel_of
from napari_ctvlp.core.resources import sample_folder
from napari_ctvlp.core.scan import Scan

ROOT = Path(__file__).resolve().parents[1]
NODULE, HALF_MM = (-56.5, -86.3, -115.8), 60.0
PHRASE = "spiculated nodule in the left lower lobe"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "evidence")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        os.environ["CTVLP_CONFIG"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        scan, anatomy = attention_pictures(out)
        check_pictures(out, *cube(scan, anatomy))
        small().host("fvlm", Path(folder), patch)
        head_pictures(out, scan, anatomy)


def attention_pictures(out: Path) -> tuple[Scan, AnatomyMap]:
    """Words of a place, words of a phrase, Grad-CAM, an organ's query."""
    from napari_ctvlp.ui.window import settle, wait_for

    window, dock = opened("Attention")
    room = window.room
    shoot(window, dock, out, "attention-empty")
    room.open_path(sample_folder() / "ct.nii.gz")
    wait_for(room, lambda: room.session.study is not None, "the scan", 300)
    study = room.session.study
    wait_for(room, lambda: study.encoding is not None, "the encoding", 3600)
    room.session.look_at(NODULE)
    dock.ask_here()
    wait_for(room, lambda: "no attention" in dock.heads.note.text(), "the words", 600)
    shoot(window, dock, out, "attention-words")
    dock.tabs.setCurrentIndex(1)
    shoot(window, dock, out, "attention-none")
    dock.tabs.setCurrentIndex(2)
    dock.phrase.setText(PHRASE)
    dock.weigh_words()
    wait_for(room, lambda: bool(dock.weights.text()), "the weights", 600)
    dock.ask_relevance()
    wait_for(room, lambda: dock.shown is not None, "the relevance", 1800)
    shoot(window, dock, out, "attention-phrase")
    window.viewer.layers.remove(dock.shown.name)
    dock.tabs.setCurrentIndex(3)
    dock.organ.setCurrentIndex(dock.organ.findData("heart"))
    dock.organ.activated.emit(dock.organ.currentIndex())
    wait_for(room, lambda: study.attention is not None, "the organ queries", 600)
    shoot(window, dock, out, "attention-organ")
    found = study.scan, study.anatomy
    window.viewer.close()
    settle(1)
    return found


def check_pictures(out: Path, scan: Scan, anatomy: AnatomyMap) -> None:
    """Every check of a phrase, one while it runs."""
    from napari_ctvlp.ui.docks.checks import TABS
    from napari_ctvlp.ui.window import settle, wait_for

    window, dock = opened("Checks")
    shoot(window, dock, out, "checks-empty")
    encoded(window, scan, anatomy, "mini")
    window.room.session.ground(PHRASE)
    wait_for(window.room, lambda: window.room.session.study.heatmap is not None, "the map", 600)
    for number, verb in enumerate(TABS):
        dock.tabs.setCurrentIndex(number)
        dock.check(verb)
        if verb == "sensitivity":
            wait_for(window.room, lambda: dock.bar.value() > 10, "progress", 600)
            shoot(window, dock, out, "checks-busy")
        wait_for(window.room, lambda verb=verb: bool(dock.answers[verb].text()), verb, 3600)
        shoot(window, dock, out, f"checks-{verb.removeprefix('check_')}")
    window.viewer.close()
    settle(1)


def head_pictures(out: Path, scan: Scan, anatomy: AnatomyMap) -> None:
    """All heads of a small fVLM with random weights."""
    from napari_ctvlp.ui.window import settle, wait_for

    window, dock = opened("Attention")
    window.room.bridge.close()
    encoded(window, scan, anatomy, "fvlm")
    window.room.session.look_at(NODULE)
    dock.ask_here()
    wait_for(window.room, lambda: dock.found is not None, "the attention", 1800)
    dock.tabs.setCurrentIndex(1)
    dock.layer.setCurrentIndex(1)
    dock.layer.activated.emit(1)
    settle(1)
    shoot(window, dock, out, "attention-heads")
    window.viewer.close()
    window.room.bridge.close()


def cube(scan: Scan, anatomy: AnatomyMap) -> tuple[Scan, AnatomyMap]:
    """Cut 120 mm around the nodule out of the sample."""
    middle, half = voxel_of(scan.affine, NODULE), HALF_MM / scan.spacing
    cut = tuple(
        slice(max(0, round(m - h)), min(n, round(m + h)))
        for m, h, n in zip(middle, half, scan.shape, strict=True)
    )
    affine = scan.affine.copy()
    affine[:3, 3] = transform(scan.affine, [part.start for part in cut])
    part = Scan(np.ascontiguousarray(scan.hu[cut]), affine, scan.source, scan.meta)
    names = [(organ.id, organ.name) for organ in anatomy.organs]
    labels = np.ascontiguousarray(anatomy.labels[cut])
    return part, anatomy_from_labels(labels, part, names, source="cut")


def opened(title: str) -> tuple[Any, Any]:
    """Open a window with one more dock, in front."""
    from qtpy.QtCore import Qt

    from napari_ctvlp.ui.arrange import make_dock
    from napari_ctvlp.ui.window import open_window, settle

    window = open_window()
    window.viewer.window.set_geometry(0, 0, WIDTH, HEIGHT)
    settle(1)
    dock: Any = make_dock(title, window.viewer)
    added = window.viewer.window.add_dock_widget(dock, name=title, area="right", tabify=True)
    added.parent().resizeDocks([added], [560], Qt.Orientation.Vertical)
    settle(1)
    return window, dock


def encoded(window: Any, scan: Scan, anatomy: AnatomyMap, model: str) -> None:
    """Open a scan with its anatomy and encode it."""
    from dataclasses import replace

    from napari_ctvlp.ui.window import wait_for

    session = window.room.session
    session.run = replace(session.run, model=model)
    window.room.add_scan(scan)
    session.study.put("anatomy", anatomy)
    session.encode()
    wait_for(window.room, lambda: session.study.encoding is not None, "the encoding", 3600)


def small() -> Any:
    """Return the maker of small copies of published encoders."""
    sys.path.insert(0, str(ROOT / "tests" / "models"))
    return importlib.import_module("small")


def shoot(window: Any, dock: Any, out: Path, name: str) -> None:
    """Draw the window with the dock in front."""
    from napari_ctvlp.ui.arrange import raise_dock
    from napari_ctvlp.ui.window import settle

    raise_dock(dock)
    window.docks["Views"].flush()
    settle(2.0)
    raw = window.viewer.screenshot(canvas_only=False, flash=False)
    write(Image.fromarray(raw[..., :3]), out / f"{name}-{WIDTH}x{HEIGHT}.png")


if __name__ == "__main__":
    main()
