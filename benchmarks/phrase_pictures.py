"""Pictures of the panels about phrases in each state, at 1280 x 800: the sample CT.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/phrase_pictures.py [--out FOLDER]

Into docs/images/phrases: a phrase that is there, one that is not, a denied one, what the phrases
panel can draw beside the colours; answers (empty, listed, together, side by side, subtracted, too
few chosen); pieces; places alike; the vocabulary; a checked report with a disagreement; a draft.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pictures_evidence import HEIGHT, WIDTH, shoot, write
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget

from napari_ctvlp.core.resources import sample_folder

PANELS = ["phrases", "answers", "places", "report"]
ROOT = Path(__file__).resolve().parents[1]
NODULE, UNSURE = "spiculated 25 mm nodule in the left lower lobe", "emphysema"
FIRST = (NODULE, UNSURE)
OTHERS = ("lung mass", "pleural effusion", "ground glass opacity", "calcification of the aorta")
REPORT = """FINDINGS: There is a 25 mm spiculated nodule in the left lower lobe. No effusion or
pneumothorax. Mild emphysema in both upper lobes. The heart is enlarged. No lytic bone lesion.
Possible consolidation in the right lower lobe.
IMPRESSION: Nodule in the left lower lobe, suspicious for malignancy. Large effusion on the right.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "phrases")
    parser.add_argument("--only", nargs="*", choices=PANELS, default=PANELS)
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("CTVLP_CACHE", folder)
        os.environ["CTVLP_CONFIG"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        Pictures(out).draw(options.only)


class Pictures:
    """One window that goes through the states."""

    def __init__(self, out: Path) -> None:
        from napari_ctvlp.ui.window import open_window

        self.out = out
        self.window = open_window()
        self.room, self.viewer = self.window.room, self.window.viewer
        self.session = self.room.session
        self.viewer.window.set_geometry(0, 0, WIDTH, HEIGHT)

    def draw(self, panels: list[str]) -> None:
        """Go through the states of some panels."""
        from napari_ctvlp.ui.arrange import lay_out
        from napari_ctvlp.ui.window import settle

        settle(1)
        answers = self.dock("Answers")
        self.shoot("answers-empty", answers)
        self.room.open_path(sample_folder() / "ct.nii.gz")
        self.until(lambda: self.session.study is not None, "the scan")
        self.until(lambda: self.session.study.findings is not None, "the findings")
        self.room.desk.set_window("Lung")
        lay_out(self.viewer)
        self.ask(NODULE)
        self.until(lambda: not self.session.jobs, "the answers behind the findings")
        for name in panels:
            getattr(self, name)(*([answers] if name == "answers" else []))
        self.viewer.close()
        self.room.bridge.close()

    def phrases(self) -> None:
        """Draw the phrases panel in its states."""
        from napari_ctvlp.ui.docks.suggest import Vocabulary

        panel, session = self.window.docks["Phrases"], self.session
        self.shoot("asked", panel)
        session.set_look(replace(session.look, lines=True, hatch=True))
        self.shoot("lines-and-hatching", panel)
        session.set_look(replace(session.look, lines=False, hatch=False))
        self.ask(UNSURE)
        self.shoot("no-support", panel)
        self.ask("No evidence of a pleural effusion on the right")
        self.shoot("denied", panel)
        dialog = Vocabulary(panel)
        dialog.search.setText("renal")
        dialog.show()
        self.save(dialog, "vocabulary")
        dialog.close()

    def answers(self, panel: Any) -> None:
        """Draw the answers panel in its states."""
        for phrase in (*FIRST, *OTHERS):
            self.ask(phrase)
        panel.table.selectRow(0)
        self.shoot("answers-listed", panel)
        panel.together.setChecked(True)
        panel.table.clearSelection()
        self.session.look_at(panel.gallery.answers[NODULE, "mini"].heat.peak_ras)
        self.shoot("answers-together", panel)
        panel.together.setChecked(False)
        panel.table.selectRow(1)
        panel.subtract()
        self.shoot("answers-not-two", panel)
        panel.table.clearSelection()
        rows, model = panel.table.selectionModel(), panel.table.model()
        for number in (0, list(panel.gallery.answers).index(("lung mass", "mini"))):
            rows.select(model.index(number, 0), rows.SelectionFlag.Select | rows.SelectionFlag.Rows)
        panel.show_beside()
        self.shoot("answers-side-by-side", panel)
        self.window.docks["Compare"].close_it()
        self.front(self.window.docks["Views"])
        panel.subtract()
        heat, apart = (self.layer(begins) for begins in ("Heat", "Difference"))
        heat.visible = False
        self.shoot("answers-difference", panel)
        self.viewer.layers.remove(apart)
        heat.visible = True

    def layer(self, begins: str) -> Any:
        """Return the layer whose name begins so."""
        return next(one for one in self.viewer.layers if one.name.startswith(begins))

    def places(self) -> None:
        """Draw the pieces of a map, and the places alike."""
        panel = self.dock("Pieces")
        panel.cut()
        self.until(lambda: panel.masks, "the pieces")
        self.shoot("pieces", panel)
        self.viewer.layers.remove(panel.masks[NODULE].layer)
        alike = self.dock("Places alike")
        alike.ask()
        self.until(lambda: "cosine above" in alike.state.text(), "the places alike")
        self.shoot("alike", alike)
        alike.hide_it()

    def report(self) -> None:
        """Draw a checked report, with a row on which report and model disagree, and a draft."""
        panel = self.dock("Report")
        panel.text.setPlainText(REPORT)
        panel.check_button.click()
        self.until(lambda: panel.table.rowCount() > 0, "the report")
        split = [n for n, row in enumerate(panel.rows) if row.agreement == "disagree"]
        print("disagree:", [panel.rows[n].text for n in split])
        before = self.session.study.heatmap
        panel.table.selectRow(split[-1])
        panel.table.cellClicked.emit(split[-1], 0)
        self.until(lambda: self.session.study.heatmap is not before, "its map")
        self.shoot("report", panel)  # gives the dock its height
        panel.table.scrollToItem(panel.table.item(split[-1], 1))
        self.shoot("report", panel)
        panel.tabs.setCurrentIndex(1)
        panel.write_button.click()
        self.until(lambda: bool(panel.draft.toPlainText()), "the draft")
        self.shoot("draft", panel)

    def ask(self, text: str) -> None:
        """Ask for a phrase and wait for its map."""
        before = self.session.study.heatmap
        if before is not None and before.phrase.text == text:
            return
        self.session.ground(text)
        self.until(lambda: self.session.study.heatmap is not before, text)

    def dock(self, title: str) -> Any:
        """Open a dock beside the others."""
        from napari_ctvlp.ui.arrange import make_dock

        made = make_dock(title, self.viewer)
        self.viewer.window.add_dock_widget(made, name=title, area="right", tabify=True)
        return made

    def heighten(self, widget: Any) -> None:
        """Give the group of docks that this one is in most of the height."""
        parent = widget
        while not isinstance(parent, QDockWidget):
            parent = parent.parent()
        self.window.docks["Views"].window().resizeDocks([parent], [520], Qt.Orientation.Vertical)

    def front(self, dock: Any) -> None:
        """Bring a dock to the front."""
        from napari_ctvlp.ui.arrange import raise_dock

        raise_dock(dock)

    def until(self, ready: Any, what: str) -> None:
        """Wait for something."""
        from napari_ctvlp.ui.window import wait_for

        wait_for(self.room, ready, what, 1800)

    def shoot(self, state: str, dock: Any) -> None:
        """Draw the window with a dock in front and high enough to be seen whole."""
        self.heighten(dock)
        shoot(self.window, dock, self.out, state)

    def save(self, widget: Any, state: str) -> None:
        """Draw a dialog of its own."""
        from napari_ctvlp.ui.window import settle

        settle(1)
        path = self.out / f"{state}.png"
        widget.grab().save(str(path))
        write(Image.open(path).convert("RGB"), path)


if __name__ == "__main__":
    main()
