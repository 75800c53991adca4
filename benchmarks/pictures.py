"""Pictures of the reading room in each state, at two sizes, into docs/images/room.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/pictures.py [--out FOLDER]

States: empty (no CT), busy (organs are being found), failed (a file that is cut off), done (the
sample with organs, a phrase, its heatmap and 3D). Then those of the panels about studies, by
``pictures_studies.py``, of the evaluate dock into docs/images/evidence, and of those about phrases
into docs/images/phrases.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from napari_ctvlp.core.resources import sample_folder

SIZES = ((1280, 800), (1920, 1080))
PHRASE = "spiculated nodule in the left lower lobe"
#: Colours of a stored picture: legible, and small.
COLOURS = 96
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "room")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("CTVLP_CACHE", "CTVLP_CONFIG"):
            os.environ[name] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        draw(out, Path(folder))
    docks = Path(__file__).with_name("pictures_studies.py")
    subprocess.run([sys.executable, docks, "--out", out], check=True)
    for name in ("pictures_evaluate.py", "phrase_pictures.py", "pictures_attention.py"):
        subprocess.run([sys.executable, Path(__file__).with_name(name)], check=True)


def draw(out: Path, folder: Path) -> None:
    """Go through the states in one window; each is drawn at both sizes before the next."""
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room = window.room
    settle(2)
    shoot(window, out, "empty")
    broken = folder / "cut-off.nii.gz"
    broken.write_bytes((sample_folder() / "ct.nii.gz").read_bytes()[:200_000])
    failures: list[object] = []
    room.session.failed.connect(failures.append)
    room.open_path(broken)
    while not failures:
        settle(0.1)
    room.session.failed.disconnect(failures.append)
    shoot(window, out, "failed")
    room.open_path(sample_folder() / "ct.nii.gz")
    wait_for(
        room, lambda: any(job.share > 0.05 for job in room.session.jobs.values()), "a job", 600
    )
    shoot(window, out, "busy")
    wait_for(room, lambda: room.session.study.findings is not None, "the findings", 1800)
    room.session.ground(PHRASE)
    wait_for(room, lambda: room.session.study.heatmap is not None, "the heatmap", 600)
    room.desk.set_window("Lung")
    room.desk.set_layout("four")
    wait_for(room, lambda: room.session.study.surfaces is not None, "the surfaces", 600)
    settle(6)
    shoot(window, out, "done")
    window.viewer.close()
    room.bridge.close()


def shoot(window: Any, out: Path, state: str) -> None:
    """Draw the window at both sizes."""
    from napari_ctvlp.ui.arrange import lay_out, raise_dock
    from napari_ctvlp.ui.window import settle

    for width, height in SIZES:
        window.viewer.window.set_geometry(0, 0, width, height)
        lay_out(window.viewer)
        settle(1.0)
        if state == "done":
            raise_dock(window.docks["Findings"])
        window.docks["Views"].fit()
        window.docks["Views"].flush()
        settle(2.0 if state != "busy" else 0.3)
        raw = window.viewer.screenshot(canvas_only=False, flash=False)
        path = out / f"{state}-{width}x{height}.png"
        Image.fromarray(raw[..., :3]).quantize(COLOURS, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
