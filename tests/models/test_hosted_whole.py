"""COLIPRI, Merlin and BioViL-T from a folder to an answer, with small random weights."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import coarse_affine, spacing, transform, voxel_of
from napari_ctvlp.core.phantom import MARKER_RAS
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.encoders import biovil_t, colipri, merlin
from napari_ctvlp.models.encoders.cells import strided
from napari_ctvlp.models.encoders.merlin_net import InflatedResNet
from napari_ctvlp.models.encoders.prompts import write_vectors

MODELS = ("colipri", "merlin", "biovil_t")


@pytest.fixture(scope="module")
def small(hosting: ModuleType) -> ModuleType:
    """Return ``small.py`` beside this file."""
    return hosting


@pytest.fixture(autouse=True)
def forgotten():
    yield
    verbs.forget()


@pytest.fixture(scope="module")
def anatomy(chest: Scan) -> AnatomyMap:
    body = np.zeros(chest.shape, np.uint8)
    body[:, 8:-8, 8:-8] = 1
    return anatomy_from_labels(body, chest, [(1, "soft_tissue")], source="drawn")


@pytest.mark.parametrize("model", MODELS)
def test_a_scan_is_encoded_once_grounded_and_scored(
    model: str, small: ModuleType, chest: Scan, anatomy: AnatomyMap, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    small.host(model, tmp_path, monkeypatch)
    encoding = verbs.encode(chest, anatomy, model)
    split = verbs.ground(chest, "lung nodules", anatomy=anatomy, model=model, maps="split")
    dense = verbs.ground(chest, "lung nodules", anatomy=anatomy, model=model, maps="cosine")
    grid = next(grid for grid in encoding.grids if grid.kind == "split")
    vector = (
        verbs._encoder(model, verbs.compute.choose("auto", verbs.store.card(model)))
        .embed(["lung nodules"])[0]
        .vector
    )
    rest = 0.0 if grid.rest is None else float(grid.rest @ vector)
    assert np.nansum(split.values, dtype=np.float64) + rest == pytest.approx(split.score, abs=1e-6)
    assert split.score == pytest.approx(dense.score)
    assert np.nanmax(np.abs(dense.values)) <= 2
    assert {split.verdict, dense.verdict} == {"cannot tell"}
    assert split.gate.words
    rows = verbs.score(chest, anatomy=anatomy, model=model).rows
    assert len(rows) == len(verbs.store.card(model).settings["findings"])
    assert all(np.isfinite(row.margin) and abs(row.present) <= 1 for row in rows)
    assert all(np.isfinite(row.probability) for row in rows) == (model == "colipri")
    told: list[str] = []
    verbs.encode(chest, anatomy, model, progress=lambda share, stage: told.append(stage))
    assert told == [verbs.KEPT]


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_does_not_know_how_the_scan_was_stored(
    model: str, small: ModuleType, chest: Scan, anatomy: AnatomyMap, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    small.host(model, tmp_path, monkeypatch)
    assert small.stored(model, "nodules", chest, anatomy) == "same"


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_what_comes_along_when_the_patient_moves(
    model: str, small: ModuleType, chest: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small.host(model, tmp_path, monkeypatch)
    labels = np.ones(chest.shape, np.uint8)
    labels[:, :, :38][chest.hu[:, :, :38] < -600] = 2
    labels[:, :, 38:][chest.hu[:, :, 38:] < -600] = 3
    names = [(1, "soft_tissue"), (2, "lung_right"), (3, "lung_left")]
    lungs = anatomy_from_labels(labels, chest, names, source="hu")
    trials = small.follows(model, "nodules", chest, lungs)
    assert all(one.holds for one in trials if one.kind == "side"), "a gate has a side by itself"


@pytest.mark.parametrize("model", MODELS)
def test_without_its_words_a_model_knows_the_vectors_it_was_given(
    model: str, small: ModuleType, chest: Scan, anatomy: AnatomyMap, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    folder = small.host(model, tmp_path, monkeypatch, words=False)
    told = verbs.store.card(model).settings["prompts"]
    texts = [told[side].replace("{}", "mass") for side in ("positive", "negative") if side in told]
    width = {"colipri": 16, "merlin": 512, "biovil_t": 128}[model]
    write_vectors(folder / "text-vectors.safetensors", texts, small.unit(len(texts), width))
    assert np.isfinite(verbs.ground(chest, "mass", anatomy=anatomy, model=model).score)
    wanted = "vocab.json" if model == "merlin" else "vocab.txt"
    with pytest.raises(ModelRefused, match=wanted.replace(".", r"\.")) as caught:
        verbs.ground(chest, "emphysema", anatomy=anatomy, model=model)
    assert caught.value.code == "no-tokenizer"


@pytest.mark.parametrize("model", MODELS)
def test_another_checkpoint_is_refused_by_name(
    model: str, small: ModuleType, chest: Scan, anatomy: AnatomyMap, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    folder = small.host(model, tmp_path, monkeypatch)
    part, make = next(iter(small.NETWORKS[model].items()))
    state = {
        f"module.{key}": value for key, value in make(**small.SIZES[model]).state_dict().items()
    }
    small.save(state, folder / small.file_of(model, part))
    with pytest.raises(ModelRefused, match=r"also holds module\."):
        verbs.encode(chest, anatomy, model)


def test_colipri_can_be_given_all_of_a_scan_and_the_older_axes(chest: Scan):
    centre = colipri.prepared(chest, "RAS", 96)
    whole = colipri.prepared(chest, "RAS", 96, whole=True)
    older = colipri.prepared(chest, "SAR", 96)
    assert centre.image.shape == (96, 96, 96)
    assert (np.array(whole.image.shape) % 8 == 0).all()
    assert (np.array(whole.image.shape) >= 96).all()
    turned = centre.image.transpose(2, 1, 0)  # whole HU are cut off: one may fall either way
    assert np.abs(older.image - turned).max() < 0.0015
    start = np.rint(voxel_of(whole.affine, centre.affine[:3, 3])).astype(int)
    cut = tuple(slice(a, a + 96) for a in start)
    assert np.array_equal(whole.image[cut], centre.image)


@pytest.mark.parametrize(
    "field",
    [
        lambda scan: colipri.prepared(scan, "RAS", 192),
        lambda scan: colipri.prepared(scan, "SAR", 192),
        merlin.prepared,
    ],
)
def test_what_a_model_is_fed_knows_its_place(field, chest: Scan):
    """The phantom's dense marker lies where the affine says."""
    made = field(chest)
    where = np.argwhere(made.image == made.image.max()).mean(axis=0)
    assert np.linalg.norm(transform(made.affine, where) - MARKER_RAS) < 5


def test_cells_of_merlin_look_where_their_affine_says():
    """The gradient of a cell with respect to the image is centred on its own place."""
    torch.manual_seed(0)
    tower = InflatedResNet((1, 1, 1, 1)).eval()
    image = torch.zeros(1, 1, 128, 128, 64, requires_grad=True)
    (tower(image + 0.5)[0, :, 2, 2, 2] ** 2).sum().backward()
    weight = image.grad[0, 0].double() ** 2
    places = torch.meshgrid(*[torch.arange(n) for n in weight.shape], indexing="ij")
    centre = [float((weight * axis).sum() / weight.sum()) for axis in places]
    told = voxel_of(np.eye(4), transform(strided(np.eye(4), merlin.STRIDE), (2, 2, 2)))
    assert np.allclose(centre, told, atol=4)
    other = transform(coarse_affine(np.eye(4), merlin.STRIDE), (2, 2, 2))
    assert not np.allclose(centre, other, atol=4)


def test_a_rendered_radiograph_hangs_the_right_way_round(chest: Scan):
    """What is dense only on the patient's left, high up, is bright on the right, high up."""
    hu = np.full((60, 40, 50), -1000, np.int16)
    hu[5:15, 10:30, 35:45] = 1000
    picture = biovil_t.rendered(Scan(hu, chest.affine, chest.source))
    rows, columns = np.nonzero(picture.pixels > picture.pixels.max() / 2)
    height, width = picture.shape
    assert rows.mean() < height / 3
    assert columns.mean() > width * 2 / 3
    assert np.allclose(
        np.array(picture.shape), np.array([60, 50]) * spacing(chest.affine)[[0, 2]], atol=1
    )


def test_cells_of_a_rendered_radiograph_run_along_its_rays(
    small: ModuleType, chest: Scan, anatomy: AnatomyMap, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    small.host("biovil_t", tmp_path, monkeypatch)
    for grid in verbs.encode(chest, anatomy, "biovil_t").grids:
        assert grid.valid.shape[::2] == (14, 14)
        assert np.array_equal(grid.tokens, np.broadcast_to(grid.tokens[:, :1], grid.tokens.shape))
        middle = transform(grid.affine, (np.array(grid.valid.shape) - 1) / 2)
        assert np.allclose(middle, transform(chest.affine, (np.array(chest.shape) - 1) / 2), atol=2)
        assert grid.valid.all()
        depth = grid.valid.shape[1] * spacing(grid.affine)[1]
        assert depth == pytest.approx(chest.shape[1] * chest.spacing[1])
