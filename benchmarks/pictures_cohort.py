"""Pictures of the Cohort dock in each state, into docs/images/cohort.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/pictures_cohort.py [--store STORE]

Without a store one is made of the sample CT and 28 small phantoms, three of them broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "cohort")]

from pictures_evidence import write  # noqa: E402
from studies import write_archive  # noqa: E402

PHRASE, SIZE = "nodule in the left lung", (1280, 800)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "cohort")
    parser.add_argument("--store", type=Path)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("CTVLP_CACHE", "CTVLP_CONFIG"):
            os.environ[name] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        draw(chosen.out, chosen.store or made(Path(folder)))


def made(folder: Path) -> Path:
    """Make the store."""
    from napari_ctvlp.cohort.batch import batch
    from napari_ctvlp.core.resources import sample_folder

    manifest = write_archive(folder / "in", 28, 3)
    head, *rows = manifest.read_text().splitlines()
    first = f"{sample_folder() / 'ct.nii.gz'},sample,1"
    manifest.write_text("\n".join([head, first, *rows]) + "\n")
    batch(manifest, folder / "chests", phrases=[PHRASE], tokens=True, workers=0)
    return folder / "chests"


def draw(out: Path, store: Path) -> None:
    """Go through the states in one window."""
    from napari_ctvlp.ui.arrange import lay_out, make_dock
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room = window.room
    window.viewer.window.set_geometry(0, 0, *SIZE)
    lay_out(window.viewer)
    settle(2)
    dock = make_dock("Cohort", window.viewer)
    window.viewer.window.add_dock_widget(dock, name="Cohort", area="right")
    settle(2)
    shoot(window, out, "empty")
    dock.cohort.look(out)
    settle(1)
    shoot(window, out, "failed")
    dock.cohort.look(store)
    wait_for(room, lambda: dock.model.reading is not None, "the store", 300)
    dock.across.setCurrentText("lung_left_hu")
    dock.across.activated.emit(dock.across.currentIndex())
    shoot(window, out, "open")
    dock.filter.setText("failed")
    shoot(window, out, "errors")
    dock.filter.clear()
    dock.phrase.setText(PHRASE)
    dock.phrase.returnPressed.emit()
    wait_for(room, lambda: dock.cohort.phrase == PHRASE, "the ranking", 600)
    shoot(window, out, "ranked")
    place = dock.model.row_of("000001")
    dock.view.activated.emit(dock.model.index(place, 0))
    wait_for(room, lambda: room.session.study and room.session.study.heatmap, "the heatmap", 600)
    dock.accept.click()
    dock.view.selectRow(place + 1)
    dock.reject.click()
    dock.view.selectRow(place)
    dock.up.setCurrentText("score")
    dock.up.activated.emit(dock.up.currentIndex())
    room.desk.set_window("Lung")
    settle(4)
    shoot(window, out, "done")
    window.viewer.close()
    room.bridge.close()


def shoot(window: Any, out: Path, state: str) -> None:
    """Draw the window with the dock in front."""
    from napari_ctvlp.ui.window import settle

    settle(0.5)
    window.docks["Views"].fit()
    window.docks["Views"].flush()
    settle(1.5)
    raw = window.viewer.screenshot(canvas_only=False, flash=False)
    write(Image.fromarray(raw[..., :3]), out / f"{state}-{SIZE[0]}x{SIZE[1]}.png")


if __name__ == "__main__":
    main()
