"""Pictures of the findings dock in each state, at 1280 x 800, into docs/images/findings.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/pictures_findings.py [--out FOLDER]

States: empty, working (rows are being answered), table, matrix, evidence (one click on a row),
no-support (a row that nothing supports), cut (an organ that is not whole in the scan), own
(the editor of one's own vocabulary, with a fault) and error.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from pictures_evidence import write
from PIL import Image

from napari_ctvlp.core.resources import sample_folder

SIZE = (1280, 800)
ROOT = Path(__file__).resolve().parents[1]
OWN = """[[finding]]
name = "septic_emboli"
organs = ["lung_left", "left lung"]
words = ["septic emboli"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "findings")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("CTVLP_CACHE", folder)
        os.environ["CTVLP_CONFIG"] = os.environ["XDG_DATA_HOME"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        draw(out)


def draw(out: Path) -> None:
    """Go through the states in one window."""
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room, dock = window.room, window.docks["Findings"]
    session = room.session
    window.viewer.window.set_geometry(0, 0, *SIZE)
    settle(1)
    give_room(window)
    shoot(window, out, "empty")
    room.open_path(sample_folder() / "ct.nii.gz")
    wait_for(room, lambda: session.study is not None, "the scan", 300)
    wait_for(room, lambda: session.study.findings is not None, "the findings", 1800)
    room.desk.set_window("Lung")
    shoot(window, out, "working", 0.3)
    done = lambda: all(r.verdict or r.support for r in session.study.findings.rows)  # noqa: E731
    wait_for(room, done, "the answers", 1800)
    shoot(window, out, "table")
    dock.tabs.setCurrentIndex(1)
    shoot(window, out, "matrix")
    for state, organ, finding in (
        ("evidence", "lung_left", "nodule"), ("no-support", "liver", "liver_cyst"),
    ):  # fmt: skip
        before = session.study.heatmap
        click(dock, organ, finding)
        wait_for(room, lambda old=before: session.study.heatmap is not old, "the evidence", 600)
        shoot(window, out, state, 4)
    click(dock, "aorta", "aortic_aneurysm")
    shoot(window, out, "cut")
    dialog = dock._own_words()
    dialog.text.setPlainText(OWN)
    dialog.save()
    shoot(window, out, "own")
    dialog.close()
    fail(session)
    shoot(window, out, "error")
    window.viewer.close()
    room.bridge.close()


def give_room(window: Any) -> None:
    """Make the dock as large as a reader of findings would: wide, and the upper one small."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDockWidget

    def holder(widget: Any) -> Any:
        while not isinstance(widget, QDockWidget):
            widget = widget.parent()
        return widget

    main = window.viewer.window._qt_window
    both = [holder(window.docks[title]) for title in ("Phrases", "Findings")]
    main.resizeDocks(both, [150, 560], Qt.Orientation.Vertical)
    main.resizeDocks([both[1]], [400], Qt.Orientation.Horizontal)


def click(dock: Any, organ: str, finding: str) -> None:
    """Click the cell of a pair."""
    across, down = dock.matrix.organs.index(organ), dock.matrix.findings.index(finding)
    dock.cells.clicked.emit(dock.matrix.index(down, across))


def fail(session: Any) -> None:
    """Show a failure as it comes: a model whose files are not here is asked to score."""
    from dataclasses import replace

    failures: list[object] = []
    session.failed.connect(failures.append)
    known, session.run = session.run, replace(session.run, model="fvlm")
    session.encode()
    from napari_ctvlp.ui.window import settle

    while not failures:
        settle(0.1)
    session.run = known


def shoot(window: Any, out: Path, state: str, seconds: float = 1.5) -> None:
    """Draw the window with the dock in front."""
    from napari_ctvlp.ui.arrange import raise_dock
    from napari_ctvlp.ui.window import settle

    raise_dock(window.docks["Findings"])
    give_room(window)
    settle(seconds)
    window.docks["Views"].flush()
    settle(0.5)
    screen = window.viewer.window._qt_window.screen().grabWindow(0, 0, 0, *SIZE)
    path = out / f"{state}.png"
    screen.save(str(path))
    write(Image.open(path).convert("RGB"), path)


if __name__ == "__main__":
    main()
