"""Checks of a map: what they find on an encoder whose behaviour is known, and on the real one."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.geometry import coarse_affine, ipl_affine, transform
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phantom import NODULE_RAS, phantom
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.evidence import equivariance as eq
from napari_ctvlp.engine.evidence import places
from napari_ctvlp.engine.evidence.attention import Recorder, recording
from napari_ctvlp.engine.evidence.probe import Probe, randomised, score
from napari_ctvlp.engine.evidence.relevance import LEVELS, relevance
from napari_ctvlp.engine.evidence.sanity import (
    delete_and_insert,
    erase_organs,
    erased,
    sums_to_score,
    weights_matter,
    with_hu,
)
from napari_ctvlp.engine.evidence.sensitivity import sensitivity, shifted
from napari_ctvlp.engine.evidence.wording import by_occlusion, driving_words
from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.models.encoders.attending import plain
from napari_ctvlp.models.protocol import ModelCard, silent

SHAPE = (24, 32, 40)
AFFINE = ipl_affine((2.0, 2.0, 2.0), (10.0, -20.0, 30.0))
TEMPLATES = {"present": ["{}", "there is {}"], "absent": ["no {}"]}


class Toy:
    """Mean HU of blocks of four voxels through one linear layer; looks for what is dense."""

    def __init__(self, wide: bool = False) -> None:
        self.card = ModelCard("toy", "Toy", "encoder", "", "", "", settings={
            "entry": "toy:Toy", "templates": TEMPLATES, "heatmap": {"sigma_mm": 0.0},
        })  # fmt: skip
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 8 if wide else 1, bias=wide)
        if not wide:
            nn.init.ones_(self.layer.weight)

    def encode(self, scan, anatomy, *, progress=silent):
        blocks = scan.hu[
            : scan.shape[0] // 4 * 4, : scan.shape[1] // 4 * 4, : scan.shape[2] // 4 * 4
        ]
        i, p, l = (n // 4 for n in blocks.shape)  # noqa: E741
        mean = blocks.astype(np.float32).reshape(i, 4, p, 4, l, 4).mean((1, 3, 5)) / 200
        with torch.inference_mode():
            tokens = self.layer(torch.from_numpy(mean)[..., None]).numpy()
        grid = TokenGrid(tokens, coarse_affine(scan.affine, 4), np.ones(mean.shape, bool))
        return Encoding((grid,), {}, "toy", "", scan.digest)

    def embed(self, phrases):
        width = self.layer.out_features
        return [
            TextVector(np.full(width, -1.0 if "no " in p else 1.0 + 0.01 * len(p), np.float32))
            for p in phrases
        ]


@pytest.fixture(scope="module")
def scan():
    hu = np.random.default_rng(0).normal(-800, 20, SHAPE)
    hu[8:12, 8:12, 28:32] = 200
    return Scan(hu.astype(np.int16), AFFINE, Source((), SHAPE, AFFINE), ScanMeta("CT"))


@pytest.fixture(scope="module")
def anatomy(scan):
    labels = np.ones(SHAPE, np.uint8)
    labels[:, :, 22:38], labels[:, :, 2:18] = 2, 3
    labels[8:12, 8:12, 28:32] = 4
    names = [(1, "soft_tissue"), (2, "lung_left"), (3, "lung_right"), (4, "heart")]
    return anatomy_from_labels(labels, scan, names, source="drawn")


@pytest.fixture
def probe():
    return Probe(Toy(), parse("something dense"))


def test_deleting_what_the_map_marks_costs_more_than_deleting_blobs(probe, scan, anatomy):
    curves = delete_and_insert(probe, scan, anatomy, steps=(0, 1, 10, 100))
    whole = score(probe.heat(scan, anatomy))
    assert curves.deletion[0] == curves.insertion[-1] == pytest.approx(whole, abs=0)
    assert curves.deletion[-1] == curves.insertion[0] == curves.blob_insertion[0]
    assert curves.deletion[1] < curves.blob_deletion[1]
    assert curves.insertion[1] > curves.blob_insertion[1]
    assert curves.insertion_gain > 0 < curves.deletion_gain


def test_a_map_that_is_the_same_everywhere_beats_no_blob(probe, scan, anatomy):
    flat = with_hu(scan, np.full(SHAPE, -500))
    curves = delete_and_insert(probe, flat, anatomy, steps=(0, 10, 100))
    assert curves.insertion_gain == pytest.approx(0, abs=0.02)


def test_erasing_the_organ_drops_the_score_and_another_leaves_it(probe, scan, anatomy):
    (found,) = erase_organs([probe], scan, anatomy, "heart", "lung_right")
    assert found.passed
    assert found.words.endswith("passed")
    assert not erase_organs([probe], scan, anatomy, "lung_right", "heart")[0].passed
    with pytest.raises(InputRefused, match="no liver"):
        erase_organs([probe], scan, anatomy, "liver", "heart")


def test_an_erased_organ_looks_like_its_surroundings(scan, anatomy):
    filled = erased(scan, anatomy, "heart")
    mask = anatomy.mask("heart")
    assert filled.hu[mask].mean() == pytest.approx(-800, abs=15)
    np.testing.assert_array_equal(filled.hu[~mask], scan.hu[~mask])


def test_shuffled_weights_change_the_map_and_not_the_encoder(scan, anatomy):
    probe = Probe(Toy(wide=True), parse("something dense"))
    before = probe.raw(scan, anatomy)[0]
    (found,) = weights_matter([probe], scan, anatomy, shuffles=2)
    assert len(found.correlations) == 2
    assert not np.array_equal(found.random, found.true)
    np.testing.assert_array_equal(probe.raw(scan, anatomy)[0], before)
    other = randomised(probe.encoder, 1)
    weight, mixed = probe.encoder.layer.weight, other.layer.weight
    assert sorted(weight.flatten().tolist()) == sorted(mixed.flatten().tolist())


def test_sensitivity_tells_wordings_shifts_and_hu_apart(probe, scan, anatomy):
    rows = sensitivity(probe, scan, anatomy)
    groups = [row.group for row in rows]
    assert groups[0] == "as it is"
    assert {"wording", "shift", "HU"} <= set(groups)
    by = {row.label: row for row in rows}
    assert by["+30 HU"].peak > by["-30 HU"].peak
    assert by["2 voxels I"].moved_mm <= 8.0
    assert by["there is something dense"].peak >= by["something dense"].peak


def test_a_shifted_scan_keeps_its_world_points(scan):
    cut = shifted(scan, 2, 3)
    np.testing.assert_allclose(transform(cut.affine, (0, 0, 0)), transform(scan.affine, (0, 0, 3)))


def test_answers_follow_the_patient(probe, scan, anatomy):
    trials = eq.equivariance([probe], scan, anatomy)
    told = {(t.kind, t.label): t for t in trials}
    assert all(t.holds for t in trials if t.kind != "side"), trials
    assert [t.number for t in trials if t.kind == "stored"] == [0.0] * len(eq.CODES)
    assert told["side", "left"].holds
    assert told["side", "right of the mirror image"].holds


def test_shifts_are_whole_tokens():
    assert [eq.whole_tokens(step, 4.0) for step in (2.0, 2.5, 1.0, 5.0)] == [2, 8, 4, 4]


def test_a_mirrored_anatomy_changes_sides(scan, anatomy):
    turned = eq.mirrored_anatomy(anatomy, scan)
    np.testing.assert_array_equal(turned.mask("lung_left"), anatomy.mask("lung_right")[:, :, ::-1])


def test_the_recorder_sees_the_weights_that_were_used():
    q, k, v = (torch.randn(1, 2, 5, 4) for _ in range(3))
    recorder = Recorder(plain((5,)))
    with recording(recorder):
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        nn.functional.scaled_dot_product_attention(q[:, :, :2], k[:, :, :2], v[:, :, :2])
    assert len(recorder.layers) == 1
    row = torch.from_numpy(recorder.heads(3, 5)[0])
    np.testing.assert_allclose(row.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(row[:, None] @ v[0], mixed[0, :, 3:4], rtol=1e-4, atol=1e-5)
    for cell in range(5):
        column = recorder.heads(cell, 5, to=True)[0]
        for other in range(5):
            np.testing.assert_allclose(
                column[:, other], recorder.heads(other, 5)[0, :, cell], rtol=1e-4
            )


def test_attention_in_slabs_and_columns_is_put_where_it_belongs():
    """Two slabs of three cells, then three columns of two; a bias; rollout by hand."""
    slabs = np.arange(6).reshape(2, 3)
    recorder = Recorder((slabs, slabs.T))
    spatial, column = torch.randn(2, 1, 3, 4), torch.randn(3, 1, 2, 4)
    bias = torch.randn(1, 3, 3)
    with recording(recorder):
        nn.functional.scaled_dot_product_attention(
            spatial, spatial, spatial, attn_mask=bias, scale=2.0
        )
        nn.functional.scaled_dot_product_attention(column, column, column)
    inner = torch.softmax(2 * spatial @ spatial.transpose(-1, -2) + bias, -1)[:, 0]
    along = torch.softmax(column @ column.transpose(-1, -2) / 2, -1)[:, 0]
    first, second = torch.zeros(6, 6), torch.zeros(6, 6)
    for b in range(2):
        first[np.ix_(slabs[b], slabs[b])] = inner[b]
    for b in range(3):
        second[np.ix_(slabs.T[b], slabs.T[b])] = along[b]
    whole = (0.5 * second + 0.5 * torch.eye(6)) @ (0.5 * first + 0.5 * torch.eye(6))
    for cell in range(6):
        one, two = recorder.heads(cell, 6)
        np.testing.assert_allclose(one[0], first[cell], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(two[0], second[cell], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(recorder.rollout(cell, 6), whole[cell], atol=1e-5)
        np.testing.assert_allclose(recorder.rollout(cell, 6, to=True), whole[:, cell], atol=1e-5)


def test_words_are_weighed_by_leaving_them_out():
    found = by_occlusion(lambda text: float(len(text)), "large mass")
    assert found == (("large", 6.0), ("mass", 5.0))
    assert by_occlusion(lambda text: float(len(text)), "mass") == (("mass", 3.0),)


def test_the_word_that_denies_is_found(probe, scan, anatomy):
    asked = replace(probe, phrase=replace(probe.phrase, text="no something dense"))
    found = dict(driving_words(asked, scan, anatomy))
    assert min(found, key=found.get) == "no"
    assert found["no"] < -1


@pytest.fixture(scope="module")
def around_nodule():
    """A cube of 96 mm around the phantom's nodule, all lung but for the nodule."""
    cube = phantom((24, 24, 24), (4.0, 4.0, 4.0), centre=NODULE_RAS)
    labels = np.where(cube.hu < -500, 2, 1).astype(np.uint8)
    names = [(1, "soft_tissue"), (2, "lung_left")]
    return cube, anatomy_from_labels(labels, cube, names, source="drawn")


def test_relevance_of_the_embedded_model(around_nodule):
    probe = Probe.of("nodule")
    before = probe.raw(*around_nodule)[0]
    for level, (_, voxels) in LEVELS.items():
        found = relevance(probe, *around_nodule, level)
        assert np.nanmin(found.values) >= 0
        assert found.affine[2, 0] == -2.0 * voxels
        assert "not attention" in found.words
    np.testing.assert_array_equal(probe.raw(*around_nodule)[0], before)


def test_relevance_is_refused_where_there_is_no_tower(probe, scan, anatomy):
    with pytest.raises(ModelRefused, match="toy was asked"):
        relevance(probe, scan, anatomy)


def test_the_embedded_model_stored_in_other_orientations(around_nodule):
    probe = Probe.of("nodule")
    trials = eq.equivariance([probe], *around_nodule, codes=("RAS", "SAL"))
    assert all(t.holds for t in trials if t.kind == "stored"), trials
    assert {t.kind for t in trials} == {"stored", "shift", "mirror", "map", "side"}


def test_shuffled_weights_of_the_embedded_model(around_nodule):
    probe = Probe.of("nodule")
    (found,) = weights_matter([probe], *around_nodule, shuffles=1)
    assert np.isfinite(found.correlations).all()
    assert found.true.shape == found.random.shape
    table = probe.encoder.tower.table
    assert torch.equal(randomised(probe.encoder, 0).tower.table, table)


def test_only_the_real_weights_keep_what_they_encode(around_nodule, tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_CACHE", str(tmp_path))
    probe = Probe.of("nodule")
    shuffled = replace(probe, encoder=randomised(probe.encoder, 0))
    other = shuffled.untouched(*around_nodule)
    assert not list(tmp_path.iterdir()), "shuffled weights keep nothing"
    real = probe.untouched(*around_nodule)
    assert len(list(tmp_path.iterdir())) == 1
    assert real.digest != other.digest
    assert probe.untouched(*around_nodule) is real
    assert verbs.encode(*around_nodule) is real, "the kept encoding is everybody's"
    assert sums_to_score(probe, real) < 1e-4
    wrong = replace(real, attention={k: 0.9 * v**2 for k, v in real.attention.items()})
    assert sums_to_score(probe, wrong) > 1e-4


def test_the_answer_tells_its_wordings_and_clues(around_nodule):
    heat = Probe.of("nodule").heat(*around_nodule)
    assert len(heat.wordings) == 5
    assert heat.wordings[0].text == "nodule"
    assert heat.clues["level"] == pytest.approx(np.log(heat.peak / (1 - heat.peak)), rel=1e-4)
    assert replace(heat, verdict=heat.naive).verdict in ("present", "absent", "cannot tell")


def test_pieces_and_lines_lie_where_the_map_is_high(probe, scan, anatomy, tmp_path):
    heat = probe.heat(scan, anatomy)
    labels, found = places.pieces(heat, scan, 0.4)
    assert len(found) == 1
    assert found[0].mean_hu > 0
    middle = transform(AFFINE, (9.5, 9.5, 29.5))
    assert np.linalg.norm(np.subtract(found[0].centre_ras, middle)) < 2
    places.save_pieces(tmp_path / "pieces.nii.gz", labels, scan)
    image = nibabel.load(tmp_path / "pieces.nii.gz")
    np.testing.assert_allclose(image.affine, AFFINE)
    assert np.asarray(image.dataobj).sum() == labels.sum()
    lines = places.isolines(heat, 0, heat.peak_index[0], {"half": 0.6})
    points = np.concatenate(lines["half"])
    assert np.abs(points - middle).max() < 12


def test_words_and_locality_of_the_embedded_model(around_nodule):
    probe = Probe.of("nodule")
    encoding = probe.encoder.encode(*around_nodule)
    found = places.words_at(probe.encoder, encoding, NODULE_RAS, n=5).words
    assert len(found) == 5
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
    assert {"nodule", "pleural effusion", "liver"} <= set(places.vocabulary(probe.encoder))
    assert -1 <= places.locality_of(probe.encoder, *around_nodule) <= 1
    own = places.resembling(encoding, NODULE_RAS)
    assert np.nanmax(own) == pytest.approx(1, abs=1e-3)


def test_locality_is_refused_where_features_are_hidden(probe, scan, anatomy):
    with pytest.raises(ModelRefused, match="toy does not"):
        places.locality_of(probe.encoder, scan, anatomy)
