"""A user's own folder: its table, its numbers, its thresholds."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import NODULE_MM, NODULE_RAS
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation.own.cases import read
from napari_ctvlp.evaluation.own.measure import auroc_by_patient, reliability
from napari_ctvlp.io.nifti import save_ipl


@pytest.fixture(scope="module")
def folder(tmp_path_factory, chest):
    """Two files of one phantom, its nodule drawn as a mask in one and boxed in the other."""
    made = tmp_path_factory.mktemp("own")
    for name in ("one", "two"):
        save_ipl(made / f"{name}.nii.gz", chest.hu, chest.affine)
    cells = np.stack(np.meshgrid(*[np.arange(n) for n in chest.shape], indexing="ij"), axis=-1)
    away = np.linalg.norm(transform(chest.affine, cells) - NODULE_RAS, axis=-1)
    (made / "masks").mkdir()
    save_ipl(
        made / "masks" / "one_nodule.nii.gz", (away <= NODULE_MM).astype(np.uint8), chest.affine
    )
    corners = ",".join(str(v + d) for d in (-NODULE_MM, NODULE_MM) for v in NODULE_RAS)
    (made / "boxes.csv").write_text(f"ct,finding,r0,a0,s0,r1,a1,s1\ntwo.nii.gz,nodule,{corners}\n")
    (made / "labels.csv").write_text(
        "ct,patient,nodule,effusion\none.nii.gz,a,1,0\ntwo.nii.gz,b,1,\n"
    )
    return made


def test_a_table_with_masks_and_boxes(folder):
    one, two = read(folder)
    assert one.labels == {"nodule": True, "effusion": False}
    assert two.labels == {"nodule": True}
    scan = verbs.open_scan(one.ct)
    mask, box = one.reference("nodule", scan), two.reference("nodule", scan)
    assert mask.sum() > 0
    assert (box & mask).sum() == mask.sum() < box.sum()
    assert one.reference("effusion", scan) is None


def test_every_fault_of_a_table_is_told_at_once(tmp_path):
    (tmp_path / "labels.csv").write_text("ct,nodul,mass\nnone.nii,1,0\n")
    with pytest.raises(InputRefused, match="nodul") as caught:
        read(tmp_path)
    assert "none.nii" in caught.value.found
    (tmp_path / "labels.csv").write_text("ct,mass\n")
    with pytest.raises(InputRefused, match="no row"):
        read(tmp_path)


def test_the_command_measures_and_says_why_it_cannot_calibrate(folder, tmp_path):
    out = tmp_path / "report.json"
    run = CliRunner().invoke(
        app, ["evaluate", str(folder), "--out", str(out), "--png", str(tmp_path / "r.png")]
    )
    assert run.exit_code == 0, run.output
    report = json.loads(out.read_text())
    nodule = report["findings"]["nodule"]
    assert (nodule["there"], nodule["not_there"], nodule["drawn"]) == (2, 0, 2)
    assert -5 < nodule["cnr"] < 50
    assert 0 <= nodule["dice"] <= 1
    assert report["findings"]["effusion"]["drawn"] == 0
    assert report["calibration"] is None
    assert "too few" in report["why"]
    assert (tmp_path / "r.png").stat().st_size > 1000


def test_intervals_go_over_patients():
    scores, there = [0.9, 0.8, 0.2, 0.1] * 5, [True, True, False, False] * 5
    area, low, high = auroc_by_patient(scores, there, [str(n // 4) for n in range(20)])
    assert (area, low, high) == (1.0, 1.0, 1.0)
    noisy = np.random.default_rng(0).random(20).tolist()
    one = auroc_by_patient(noisy, there, ["a"] * 20)
    assert one[1] == one[2] == one[0]
    many = auroc_by_patient(noisy, there, [str(n) for n in range(20)])
    assert many[1] < many[0] < many[2]


def test_reliability_by_bins():
    rows = [{"support": s, "there": t, "doubt": ""} for s, t in ((0.05, 0), (0.95, 1), (0.95, 0))]
    found = reliability(rows)
    assert [row["count"] for row in found["bins"]] == [1, 2]
    assert found["ece"] == pytest.approx((0.05 + 2 * 0.45) / 3)
    assert math.isnan(reliability([])["ece"])
    doubted = [{"support": 0.9, "there": True, "doubt": "not in this scan"}]
    assert reliability(doubted)["bins"] == []
