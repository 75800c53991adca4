"""Commands write the same numbers as the engine, in the frame of the input."""

import csv
import json

import nibabel
import numpy as np
import pytest

from napari_ctvlp.core.geometry import from_ipl
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.export import heatmap_on_scan


@pytest.fixture(scope="module")
def scan(ct, chest):
    scan = verbs.open_scan(ct)
    assert scan.digest == chest.digest
    return scan


def read(path):
    image = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine


def same_frame(path, ct):
    values, affine = read(path)
    stored, expected = read(ct)
    np.testing.assert_allclose(affine, expected, atol=1e-4)
    assert values.shape == stored.shape
    return values


def test_segment_writes_labels_in_the_frame_of_the_input(ctvlp, ct, scan, tmp_path):
    done = ctvlp("segment", ct, "--out", tmp_path / "labels.nii.gz")
    assert done.exit_code == 0, done.stderr
    anatomy = verbs.segment(scan)
    labels = same_frame(tmp_path / "labels.nii.gz", ct)
    np.testing.assert_array_equal(labels, from_ipl(anatomy.labels, scan.source.affine))
    table = json.loads((tmp_path / "labels.json").read_text())
    told = {organ["name"]: organ["ml"] for organ in table["organs"]}
    assert told == {organ.name: organ.ml for organ in anatomy.organs}
    assert "lung_left" in done.stderr
    assert done.stdout == ""


def test_segment_prints_its_table_when_asked(ctvlp, ct, tmp_path):
    done = ctvlp("segment", ct, "--out", tmp_path / "labels.nii", "--json", "-")
    assert json.loads(done.stdout)["segmenter"] == "anatomy"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.nii"]


def test_ground_writes_heatmap_and_numbers(ctvlp, ct, scan, tmp_path):
    heat, stats = tmp_path / "heat.nii.gz", tmp_path / "stats.json"
    words = ("ground", ct, "nodule in the left lung", "--out", heat, "--json", stats)
    done = ctvlp(*words)
    assert done.exit_code == 0, done.stderr
    heatmap = verbs.ground(scan, "nodule in the left lung")
    told = json.loads(stats.read_text())
    assert told["peak_ras_mm"] == pytest.approx(heatmap.peak_ras)
    assert told["verdict"] == heatmap.verdict
    assert told["gate"]["side"] == "left"
    assert told["phrase"]["finding"] == "nodule"
    assert sum(told["shares"].values()) == pytest.approx(1) or not told["shares"]
    assert told["peak_ras_mm"][0] < 0
    expected = from_ipl(heatmap_on_scan(heatmap, scan), scan.source.affine)
    np.testing.assert_array_equal(same_frame(heat, ct), expected)
    assert heatmap.verdict in done.stderr


def test_ground_keeps_the_token_grid_when_asked(ctvlp, ct, scan, tmp_path):
    heat = tmp_path / "heat.nii.gz"
    done = ctvlp("ground", ct, "mass", "--out", heat, "--grid", "tokens", "--json", "-")
    heatmap = verbs.ground(scan, "mass")
    values, affine = read(heat)
    np.testing.assert_array_equal(values, heatmap.values)
    np.testing.assert_allclose(affine, heatmap.affine, atol=1e-4)
    assert json.loads(done.stdout)["peak"] == pytest.approx(heatmap.peak)


def test_gate_and_parser_can_be_switched_off(ctvlp, ct):
    def told(*words):
        return json.loads(ctvlp("ground", ct, *words, "--json", "-").stdout)

    gated = told("no nodule in the left lung")
    open_ = told("no nodule in the left lung", "--no-gate")
    raw = told("no nodule in the left lung", "--no-parser", "--no-gate")
    assert (gated["gate"]["applied"], open_["gate"]["applied"]) == (True, False)
    assert gated["phrase"]["negated"]
    assert not raw["phrase"]["negated"]
    assert raw["phrase"]["query"] == "no nodule in the left lung"


def test_score_writes_every_row(ctvlp, ct, scan, tmp_path):
    done = ctvlp("score", ct, "--out", tmp_path / "scores.csv", "--json", "-", "--answers")
    assert done.exit_code == 0, done.stderr
    table = verbs.score(scan)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["organ"], row["finding"]) for row in rows] == [
        (row.organ, row.finding) for row in table.rows
    ]
    for row, expected in zip(rows, table.rows, strict=True):
        if row["margin"]:
            assert float(row["margin"]) == pytest.approx(expected.margin)
            assert row["verdict"] in ("present", "absent", "cannot tell")
        else:
            assert row["support"]
            assert (row["verdict"], row["reason"]) == ("cannot tell", row["support"])
    assert len(json.loads(done.stdout)["rows"]) == len(rows)


def test_sample_tells_where_the_chest_ct_is(ctvlp, sample, tmp_path):
    assert ctvlp("sample", "chest-ct").stdout.strip() == str(sample)
    copied = ctvlp("sample", "chest-ct", "--out", tmp_path / "copy.nii.gz")
    assert copied.stdout.strip() == str(tmp_path / "copy.nii.gz")
    assert (tmp_path / "copy.nii.gz").read_bytes() == sample.read_bytes()


def test_sample_writes_the_phantom(ctvlp, tmp_path):
    ctvlp("sample", "phantom", "--out", tmp_path / "phantom.nii.gz")
    values, _ = read(tmp_path / "phantom.nii.gz")
    assert values.ndim == 3
    assert values.max() > 2000
