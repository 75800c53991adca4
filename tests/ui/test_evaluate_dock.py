"""The evaluate dock in a real window: measure a folder, stop, use its thresholds and go back."""

from __future__ import annotations

import dataclasses
import json

import pytest
from qtpy.QtWidgets import QFileDialog

from napari_ctvlp.core.absence import CLUES, Calibration
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine import calibrations
from napari_ctvlp.io.nifti import save_ipl
from napari_ctvlp.models import store
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.room import room_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two patients of 40 mm each, a box around the heart of one."""
    made = tmp_path_factory.mktemp("own")
    scan = phantom((8, 46, 60), (5.0, 6.0, 6.0), seed=18)
    for name in ("one", "two"):
        save_ipl(made / f"{name}.nii.gz", scan.hu, scan.affine)
    (made / "labels.csv").write_text(
        "ct,patient,mass,effusion\none.nii.gz,a,1,0\ntwo.nii.gz,b,0,0\n"
    )
    (made / "boxes.csv").write_text(
        "ct,finding,r0,a0,s0,r1,a1,s1\none.nii.gz,mass,-60,0,-15,0,60,15\n"
    )
    return made


@pytest.fixture
def dock(viewer, qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))
    room = room_of(viewer)
    room.session.run = dataclasses.replace(room.session.run, segmenter="classical", device="cpu")
    made = make_dock("Evaluate", viewer)
    qtbot.addWidget(made)
    made.show()
    return made


def test_a_folder_is_measured_and_saved(dock, folder, wait, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    dock.choose.click()
    assert not dock.choose.isEnabled()
    assert dock.stop.isEnabled()
    wait(lambda: not dock.busy)
    cells = [[dock.table.item(r, c).text() for c in range(11)] for r in range(2)]
    assert [row[:3] for row in cells] == [["mass", "1", "1"], ["effusion", "0", "2"]]
    assert cells[0][4] == "1", "one mass was drawn"
    assert "2 CTs of 2 patients" in dock.state.text()
    assert "10 of each kind" in dock.limits.text()
    assert not dock.use.isEnabled()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "e.json"), ""))
    dock.save.click()
    kept = json.loads((tmp_path / "e.json").read_text())
    assert len(kept["rows"]) == 4
    assert kept["findings"]["mass"]["auroc"] == 0.5, "both CTs are the same"
    assert kept["findings"]["mass"]["pointing"] in (0.0, 1.0)


def test_measuring_stops_and_faults_are_told(dock, folder, wait, tmp_path):
    dock.measure(folder)
    dock.stop.click()
    wait(lambda: not dock.busy)
    assert dock.report is None
    (tmp_path / "labels.csv").write_text("ct,nodul\nnone.nii,1\n")
    dock.measure(tmp_path)
    wait(lambda: not dock.busy)
    assert "nodul" in dock.state.text()


def test_thresholds_of_a_folder_are_used_until_one_goes_back(dock):
    shipped = dock.limits.text()
    many = len(CLUES)
    weights = calibrations.weights_of(store.card("mini"))
    made = Calibration(
        "mini", weights, (0.0,) * many, (1.0,) * many, (1.0,) * many, 0.0, {}, 0.61, 0.31, 0.1, 0.1,
        12, 20, 30, "2026-11-30", "own folder ward: 14 CTs of 12 patients",
    )  # fmt: skip
    dock.report = {"model": "mini", "calibration": json.loads(json.dumps(vars(made))), "why": ""}
    dock.adopt()
    assert calibrations.calibration(store.card("mini")) == made
    for words in ("61%", "31%", "2026-11-30", "14 CTs of 12 patients", "20 findings"):
        assert words in dock.limits.text()
    assert not dock.use.isEnabled()
    older = dataclasses.replace(made, means=(0.0,), scales=(1.0,), slopes=(1.0,))
    calibrations.save(older, calibrations.own("mini"))
    assert calibrations.calibration(store.card("mini")) != older, "other clues, so not there"
    dock.back.click()
    assert dock.limits.text() == shipped
    assert dock.use.isEnabled()
    assert not dock.back.isEnabled()
