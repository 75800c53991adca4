"""ctvlp inspect: JSON on standard output, exit code 3 on a refusal, no trace."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app


@pytest.fixture
def run():
    def call(*arguments):
        result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
        return result.exit_code, json.loads(result.stdout)

    return call


def test_volume_and_samples_on_the_source_grid(tmp_path, samples, run):
    path = samples.write_nifti(tmp_path / "ct.nii.gz")
    r, a, s = (samples.AFFINE @ [1, 2, 3, 1])[:3]
    code, content = run(path, "--at", f"{r},{a},{s}", f"--at={-r},{a},{s - 500}")
    (volume,) = content["volumes"]
    assert code == 0
    assert volume["shape"] == list(samples.SHAPE)
    assert volume["spacing_mm"] == pytest.approx([0.7, 0.9, 2.5])
    assert (volume["orientation"], volume["unit"]) == ("LPS", "HU")
    assert volume["range"] == [-990, 700]
    assert [p["value"] for p in volume["samples"]] == [700, None]
    assert (content["warnings"], content["notices"], content["objects"]) == ([], [], [])


def test_negative_points_may_follow_a_blank(tmp_path, samples, run):
    path = samples.write_nifti(tmp_path / "ct.nii")
    point = samples.AFFINE @ [8, 6, 1, 1]
    first = f"{-abs(point[0])},{point[1]},{point[2]}"
    code, content = run(path, "--at", first, "-4,5,-6", "1,2,3")
    assert code == 0
    assert [p["ras"][0] for p in content["volumes"][0]["samples"][1:]] == [-4, 1]


def test_uneven_slices_have_positions_instead_of_an_affine(tmp_path, samples, run):
    folder = samples.Series(tmp_path / "ct", count=8).write(skip=[4])
    code, content = run(folder, "--at", "8.6,-22.7,135")
    (volume,) = content["volumes"]
    assert code == 0
    assert volume["affine_ras"] is None
    assert volume["spacing_mm"][2] is None
    assert volume["slice_positions_mm"] == [100, 105, 110, 115, 125, 130, 135]
    assert content["warnings"][0]["code"] == "missing-slice"
    assert "Doe" not in json.dumps(content)


def test_series_are_chosen_by_number_and_uid(tmp_path, samples, run):
    samples.Series(tmp_path / "ct").write()
    second = samples.Series(tmp_path / "ct" / "b", count=3, SeriesNumber=7)
    second.write()
    _, content = run(tmp_path / "ct")
    assert [v["index"] for v in content["volumes"]] == [1, 2]
    for choice in ("2", second.uid):
        _, content = run(tmp_path / "ct", "--series", choice)
        assert [v["shape"] for v in content["volumes"]] == [[8, 6, 3]]


def test_refusals_exit_with_three_and_words(tmp_path, run):
    (tmp_path / "empty.nii.gz").touch()
    for path in (tmp_path / "empty.nii.gz", tmp_path / "gone.nii", tmp_path):
        code, content = run(path)
        assert code == 3
        assert set(content["error"]) == {"code", "expected", "found", "advice"}
        assert all(content["error"].values())


def test_a_point_that_is_none_is_refused(tmp_path, samples, run):
    code, content = run(samples.write_nifti(tmp_path / "ct.nii"), "--at", "1,2")
    assert code == 3
    assert content["error"]["code"] == "bad-number"


@pytest.mark.shared
def test_a_segmentation_of_another_patient_is_refused_but_the_ct_listed(shared, run):
    code, content = run(shared / "data" / "edge_cases" / "dicom" / "seg-of-another-patient")
    assert code == 3
    assert content["error"]["code"] == "reference-mismatch"
    assert [v["shape"] for v in content["volumes"]] == [[80, 64, 6]]
    assert content["objects"][0]["segments"][0]["nonzero"] == 315
