"""Pictures of the panels about studies, in each state, into docs/images/room.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/pictures_studies.py [--out FOLDER]

The series are the sample CT under made-up names; one is a mirror image, for the passport.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from open import one_series  # noqa: E402
from pictures import COLOURS, SIZES  # noqa: E402

PHRASE = "spiculated nodule in the left lower lobe"


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


def disc(folder: Path) -> Path:
    """Write a folder as it comes from a scanner: two patients, series that are no use, a label."""
    shape, person, other = (100, 128, 128), ("Example^One", "DEMO-1"), ("Example^Two", "DEMO-2")
    one = {"StudyInstanceUID": "1.2.3.4.1", "StudyDate": "20240131", "StudyDescription": "Chest"}
    two = one | {"StudyInstanceUID": "1.2.3.4.2", "StudyDate": "20240802"}
    chest = {"ConvolutionKernel": "B30f", "ContrastBolusAgent": "Iomeprol"}
    one_series(folder / "a", shape, person, SeriesDescription="Chest 3 mm", **chest, **one)
    one_series(folder / "b", (3, 128, 128), person, SeriesDescription="Bolus timing", **one)
    one_series(folder / "c", shape, other, SeriesDescription="Chest, lung", **two)
    scout = {"SeriesDescription": "Scout", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    one_series(folder / "d", (1, 128, 128), other, **scout, **two)
    return folder


def draw(out: Path, folder: Path) -> None:
    """Go through the states of each panel in one window."""
    from napari_ctvlp.ui.studies import studies_of
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room, studies = window.room, studies_of(window.room)
    settle(2)
    shoot(window, out, "Studies", "studies-empty")
    (folder / "letters").mkdir()
    studies.look([folder / "letters"])
    settle(1)
    shoot(window, out, "Studies", "studies-failed")
    source = disc(folder / "disc")
    shoot(window, out, "Studies", "studies-busy", begin=lambda: studies.look([source]))
    wait_for(room, lambda: studies.survey is not None, "the list", 300)
    shoot(window, out, "Studies", "studies-done")
    items = [item for item in studies.survey.items() if item.suitable]
    studies.open(items[0])
    wait_for(room, lambda: room.session.study is not None, "the scan", 300)
    shoot(window, out, "Passport", "passport-busy")
    wait_for(room, lambda: room.session.study.encoding is not None, "the encoding", 1800)
    room.session.ground(PHRASE)
    wait_for(room, lambda: room.session.study.heatmap is not None, "the heatmap", 600)
    wait_for(room, lambda: window.docks["Passport"].check is not None, "the sides", 300)
    shoot(window, out, "Passport", "passport-done")
    results(window, out, folder)
    studies.open(items[1], beside=True)
    wait_for(room, lambda: window.docks["Compare"].shown is not None, "the other", 300)
    shoot(window, out, "Compare", "compare-done")
    mirrored(window, out)
    window.viewer.close()
    room.bridge.close()


def results(window: Any, out: Path, folder: Path) -> None:
    """Key images, the finding as text, an export that fails and one that does not."""
    from napari_ctvlp.ui.window import settle, wait_for

    keys, export = window.docks["Key images"], window.docks["Export"]
    keys.mark.click()
    keys.text.click()
    shoot(window, out, "Key images", "key-images-done")
    export.kind.setCurrentText("Organ table as CSV")
    export.save_to("Organ table as CSV", folder / "gone" / "organs.csv")
    settle(1.0)
    shoot(window, out, "Export", "export-failed")
    export.kind.setCurrentText("Organs as DICOM SEG")
    export.save_to("Organs as DICOM SEG", folder / "ctvlp-organs.dcm")
    wait_for(window.room, lambda: export.state.text().startswith("Saved"), "the file", 300)
    settle(0.5)
    shoot(window, out, "Export", "export-done")
    export.save_to("Picture with legend", out / "picture-with-legend.png")


def mirrored(window: Any, out: Path) -> None:
    """Open the same body under a header with left and right swapped."""
    from napari_ctvlp.ui.window import wait_for

    room = window.room
    study = room.session.study
    scan, anatomy = study.scan, study.anatomy
    wrong = replace(scan, hu=np.ascontiguousarray(scan.hu[:, :, ::-1]))
    room.session.cancel()
    room.add_scan(wrong)
    turned = replace(anatomy, labels=np.ascontiguousarray(anatomy.labels[:, :, ::-1]))
    room.session.study.put("anatomy", turned)
    wait_for(room, lambda: window.docks["Passport"].check is not None, "the sides", 300)
    shoot(window, out, "Passport", "passport-objects")


def shoot(
    window: Any, out: Path, title: str, name: str, *, begin: Callable[[], object] | None = None
) -> None:
    """Draw the window at both sizes with one of its docks in front.

    ``begin`` starts what is over too soon to be drawn twice: it is called before each picture.
    """
    from napari_ctvlp.ui.arrange import lay_out, raise_dock
    from napari_ctvlp.ui.window import settle

    for width, height in SIZES:
        window.viewer.window.set_geometry(0, 0, width, height)
        lay_out(window.viewer)
        settle(1.5)
        raise_dock(window.docks[title])
        window.docks["Views"].fit()
        settle(1.0)
        if begin is not None:
            begin()
            settle(0.05)
        raw = window.viewer.screenshot(canvas_only=False, flash=False)
        path = out / f"{name}-{width}x{height}.png"
        picture = Image.fromarray(raw[..., :3]).quantize(COLOURS, dither=Image.Dither.NONE)
        picture.save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
