"""Pictures of the answers dock in each state, at 1280 x 800, into docs/images/evidence.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/pictures_evidence.py [--out FOLDER]

The sample CT is asked five phrases; they are drawn together, then two are subtracted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, COLOURS = 1280, 800, 128
PHRASES = (
    "calcification of the aorta", "pleural effusion", "ground glass opacity", "lung mass",
    "nodule in the left lower lobe",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "evidence")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CTVLP_CONFIG"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        draw(out)


def draw(out: Path) -> None:
    """Ask, draw together, subtract."""
    from napari_ctvlp.core.resources import sample_folder
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room = window.room
    window.viewer.window.set_geometry(0, 0, WIDTH, HEIGHT)
    settle(1)
    from napari_ctvlp.ui.arrange import make_dock

    dock: Any = make_dock("Answers", window.viewer)
    window.viewer.window.add_dock_widget(dock, name="Answers", area="right", tabify=True)
    shoot(window, dock, out, "answers-empty")
    room.open_path(sample_folder() / "ct.nii.gz")
    wait_for(room, lambda: room.session.study is not None, "the scan", 300)
    wait_for(room, lambda: room.session.study.encoding is not None, "the encoding", 1800)
    for phrase in PHRASES:
        room.session.ground(phrase)
        wait_for(room, lambda phrase=phrase: phrase in dock.answers, phrase, 600)
    shoot(window, dock, out, "answers-listed")
    dock.together.setChecked(True)
    settle(1)
    shoot(window, dock, out, "answers-together")
    dock.table.selectRow(len(PHRASES) - 1)
    dock.subtract()
    shoot(window, dock, out, "answers-not-two")
    window.viewer.close()
    room.bridge.close()


def shoot(window: Any, dock: Any, out: Path, name: str) -> None:
    """Draw the window with the dock in front."""
    from napari_ctvlp.ui.arrange import raise_dock
    from napari_ctvlp.ui.window import settle

    raise_dock(dock)
    settle(1.5)
    raw = window.viewer.screenshot(canvas_only=False, flash=False)
    rare = Image.Quantize.MAXCOVERAGE  # the colours of the list must stay apart
    picture = Image.fromarray(raw[..., :3]).quantize(COLOURS, rare, dither=Image.Dither.NONE)
    picture.save(out / f"{name}-{WIDTH}x{HEIGHT}.png", optimize=True)
    print(name, flush=True)


if __name__ == "__main__":
    main()
