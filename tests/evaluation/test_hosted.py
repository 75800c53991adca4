"""An encoder whose values are no probabilities is measured as any other, on its own grids."""

import json

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app
from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import NODULE_RAS, phantom
from napari_ctvlp.engine import verbs
from napari_ctvlp.evaluation.cases import near_cells
from napari_ctvlp.evaluation.protocol import protocol
from napari_ctvlp.evaluation.reader import Model, Reader
from napari_ctvlp.evaluation.synthetic import Sample, trial
from napari_ctvlp.models import store


@pytest.fixture(scope="module")
def scan():
    return phantom((52, 44, 62), (6.0, 6.4, 6.0))


@pytest.fixture(scope="module")
def truth(scan):
    points = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1))
    return np.linalg.norm(points - np.array(NODULE_RAS), axis=-1) <= 12


@pytest.fixture(scope="module")
def anatomy(scan):
    points = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1))
    lung = (scan.hu < -600) & (scan.hu > -950)
    labels = np.where(lung, np.where(points[..., 0] < 0, 2, 3), scan.hu > -300).astype(np.uint8)
    labels[np.linalg.norm((points - (-22, 25, -45)) / (50, 40, 46), axis=-1) < 1] = 4
    names = [(1, "soft_tissue"), (2, "lung_left"), (3, "lung_right"), (4, "heart")]
    return anatomy_from_labels(labels, scan, names, source="by hand")


@pytest.fixture
def fvlm(hosting, tmp_path, monkeypatch):
    """A small fVLM with generated weights, where the real one would lie."""
    hosting.host("fvlm", tmp_path, monkeypatch)
    yield Model.load("fvlm", "cpu")
    verbs.forget()


def test_a_phrase_is_read_where_the_product_reads_it(fvlm, scan, anatomy):
    reader = Reader(scan, anatomy, fvlm)
    for text, organ in (("lung nodule", "lung"), ("effusion of the heart", "heart")):
        asked = verbs.ground(scan, text, anatomy=anatomy, model="fvlm")
        heat = reader.product(text)
        assert (heat.kind, heat.organ) == ("split", organ)
        np.testing.assert_allclose(heat.values, asked.values, atol=1e-6)
        np.testing.assert_array_equal(heat.affine, asked.affine)
        raw = reader.raw(text)
        assert raw.shape == reader.grid.valid.shape
        assert reader.grid.organ == "lung", "without the parser a phrase names no organ"
        np.testing.assert_array_equal(reader.plain(text).affine, reader.grid.affine)


def test_painted_findings_are_measured_too(fvlm, scan, anatomy, truth):
    sample = Sample(scan, anatomy, "phantom", "nodule", "lung_left", "left", 24.0, truth)
    row = trial(sample, Reader(scan, anatomy, fvlm), protocol())
    assert len(row["hits"]) == len(row["raw_hits"]) > 0
    assert all(np.isfinite(mean) for mean in row["means"].values())
    assert np.isfinite(row["peaks"]["nodule"]["left"])


def test_ctvlp_evaluate_measures_a_hosted_encoder(fvlm, scan, truth, tmp_path):
    case = protocol().cases[0]
    folder = tmp_path / "cases" / case.name
    folder.mkdir(parents=True)
    for values, name in ((scan.hu, "ct.nii.gz"), (truth.astype(np.uint8), case.labels)):
        image = nibabel.Nifti1Image(np.ascontiguousarray(values), scan.affine)
        image.header.set_xyzt_units("mm")
        image.to_filename(folder / name)
    line = ["evaluate", folder.parent, "--model", "fvlm", "--segmenter", "classical"]
    out = tmp_path / "report.json"
    done = CliRunner().invoke(app, [str(word) for word in [*line, "--out", out]])
    assert done.exit_code == 0, done.output
    (model,) = json.loads(out.read_text())["models"]
    assert model["weights"] == store.digests(fvlm.card)
    main = model["cases"][0]["main"]
    assert 0 <= main["auroc"] <= 1
    assert main["dice"] is None, "without a threshold a map outlines nothing"
    assert "fvlm" in done.output


def test_a_cell_larger_than_what_it_holds_counts_as_inside():
    reference = np.zeros((20, 20, 20), np.bool_)
    reference[7, 12, 3] = True
    inside, near = near_cells(reference, np.eye(4), (1, 2, 1), np.diag([48.0, 32, 48, 1]), 10.0)
    assert inside.ravel().tolist() == near.ravel().tolist() == [True, False]
