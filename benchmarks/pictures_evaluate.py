"""Pictures of the evaluate dock in each state, at 1280 x 800, into docs/images/evidence.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/pictures_evaluate.py [--out FOLDER]

The folder is made of slabs of the procedural phantom, ten with its nodule and ten without.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from pictures_evidence import HEIGHT, WIDTH, shoot  # noqa: E402

SHAPE, SPACING, PATIENTS = (10, 46, 60), (5.0, 6.0, 6.0), 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "evidence")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("CTVLP_CACHE", "CTVLP_CONFIG"):
            os.environ[name] = folder
        os.environ["CTVLP_MODELS"] = str(Path(folder) / "models")
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        draw(out, ward(Path(folder) / "ward"))


def ward(folder: Path) -> Path:
    """Write slabs through the phantom's nodule, every other one without it, and their table."""
    from napari_ctvlp.core.geometry import transform
    from napari_ctvlp.core.phantom import LUNG, NODULE_MM, NODULE_RAS, phantom
    from napari_ctvlp.io.nifti import save_ipl

    folder.mkdir()
    rows, boxes = ["ct,patient,nodule,effusion"], ["ct,finding,r0,a0,s0,r1,a1,s1"]
    corners = ",".join(str(v + d) for d in (-NODULE_MM, NODULE_MM) for v in NODULE_RAS)
    for number in range(PATIENTS):
        scan = phantom(SHAPE, SPACING, centre=(0.0, 0.0, NODULE_RAS[2]), seed=number)
        hu, there = np.array(scan.hu), number % 2 == 0
        if not there:
            away = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1)) - NODULE_RAS
            hu[np.linalg.norm(away, axis=-1) <= NODULE_MM + 6] = LUNG
        save_ipl(folder / f"{number:02d}.nii.gz", hu, scan.affine)
        rows.append(f"{number:02d}.nii.gz,p{number},{int(there)},0")
        boxes += [f"{number:02d}.nii.gz,nodule,{corners}"] if there else []
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return folder


def draw(out: Path, folder: Path) -> None:
    """Measure the folder, use its thresholds."""
    from napari_ctvlp.ui.arrange import UPPER, make_dock
    from napari_ctvlp.ui.window import open_window, settle, wait_for

    window = open_window()
    room = window.room
    room.session.run = replace(room.session.run, segmenter="classical")
    window.viewer.window.set_geometry(0, 0, WIDTH, HEIGHT)
    settle(1)
    dock: Any = make_dock("Evaluate", window.viewer)
    window.viewer.window.add_dock_widget(dock, name="Evaluate", area="right", tabify=True)
    for title in UPPER:
        window.docks[title].parent().hide()
    shoot(window, dock, out, "evaluate-empty")
    dock.measure(folder)
    wait_for(room, lambda: dock.bar.value() > 20, "the first cases", 1800)
    shoot(window, dock, out, "evaluate-busy")
    wait_for(room, lambda: not dock.busy, "the numbers", 3600)
    shoot(window, dock, out, "evaluate-done")
    dock.use.click()
    shoot(window, dock, out, "evaluate-used")
    window.viewer.close()
    room.bridge.close()


if __name__ == "__main__":
    main()
