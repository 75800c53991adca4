"""Pictures of the phrase and report panels at 1280 x 800, into docs/images/phrases: the sample CT.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/phrase_pictures.py [--out FOLDER]

States: a phrase with its chips and answer, a denied one, the vocabulary, a checked report with a
disagreement, a draft.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from napari_ctvlp.core.resources import sample_folder

SIZE = (1280, 800)
COLOURS = 96
ROOT = Path(__file__).resolve().parents[1]
REPORT = """FINDINGS: There is a 25 mm spiculated nodule in the left lower lobe. No effusion or
pneumothorax. Mild emphysema in both upper lobes. The heart is enlarged. No lytic bone lesion.
Possible consolidation in the right lower lobe.
IMPRESSION: Nodule in the left lower lobe, suspicious for malignancy.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "phrases")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("CTVLP_CACHE", folder)
        os.environ["CTVLP_CONFIG"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        draw(out)


def draw(out: Path) -> None:
    """Go through the states in one window."""
    from napari_ctvlp.ui.arrange import lay_out, make_dock, raise_dock
    from napari_ctvlp.ui.docks.suggest import Vocabulary
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room, viewer = window.room, window.viewer
    viewer.window.set_geometry(0, 0, *SIZE)
    room.open_path(sample_folder() / "ct.nii.gz")
    wait_for(room, lambda: room.session.study is not None, "the scan", 300)
    wait_for(room, lambda: room.session.study.findings is not None, "the findings", 1800)
    room.desk.set_window("Lung")
    lay_out(viewer)
    phrases = window.docks["Phrases"]
    for state, text in (
        ("asked", "spiculated 25 mm nodule in the left lower lobe"),
        ("denied", "No evidence of a pleural effusion on the right"),
    ):
        before = room.session.study.heatmap
        room.session.ground(text)
        wait_for(room, lambda old=before: room.session.study.heatmap is not old, "an answer", 600)
        raise_dock(phrases)
        settle(2.5)
        shoot(viewer, out, state)
    dialog = Vocabulary(phrases)
    dialog.search.setText("renal")
    dialog.show()
    settle(1)
    save(dialog.grab(), out, "vocabulary")
    dialog.close()
    report = make_dock("Report", viewer)
    viewer.window.add_dock_widget(report, name="Report", area="right", tabify=True)
    report.text.setPlainText(REPORT)
    report.check_button.click()
    wait_for(room, lambda: report.table.rowCount() > 0, "the report", 900)
    report.table.cellClicked.emit(0, 0)
    raise_dock(report)
    settle(3)
    shoot(viewer, out, "report")
    report.tabs.setCurrentIndex(1)
    report.write_button.click()
    wait_for(room, lambda: bool(report.draft.toPlainText()), "the draft", 900)
    settle(2)
    shoot(viewer, out, "draft")
    viewer.close()
    room.bridge.close()


def shoot(viewer: Any, out: Path, state: str) -> None:
    """Draw the window."""
    raw = viewer.screenshot(canvas_only=False, flash=False)
    write(Image.fromarray(raw[..., :3]), out / f"{state}.png")


def save(pixmap: Any, out: Path, state: str) -> None:
    """Keep a picture that Qt drew."""
    path = out / f"{state}.png"
    pixmap.save(str(path))
    write(Image.open(path).convert("RGB"), path)


def write(picture: Image.Image, path: Path) -> None:
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {picture.size}, {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
