"""A small fVLM with generated weights: encode, ground and score as with the real one."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app
from napari_ctvlp.core.anatomy import AnatomyMap, Organ, anatomy_from_labels
from napari_ctvlp.core.geometry import from_ipl, oriented_affine, spacing, transform
from napari_ctvlp.core.phantom import Blob, Tube
from napari_ctvlp.core.segments import merged, names_in_order
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.labelled import open_anatomy
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders.fvlm import Fvlm, grouped
from napari_ctvlp.models.encoders.fvlm_net import Fvlm as Network
from napari_ctvlp.models.encoders.fvlm_net import ImageTower, Sizes
from napari_ctvlp.models.encoders.hosting import percentile
from napari_ctvlp.models.encoders.prompts import write_vectors
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.store import reading

SMALL = """
[settings.sizes]
hidden = 48
inner = 96
heads = 4
shared = 32
text = { width = 32, layers = 2, heads = 4, inner = 64, vocabulary = 60, positions = 40 }
"""
WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "not", "emphysema", "nodule", "effusion"),
    *("pericardial", "pleural", "mass", "aorta", "calcification", "lung", "heart"),
]
ORGANS = (
    ("lung_left", Blob(0, (-74, 0, 5), (54, 80, 118), power=2.5)),
    ("lung_right", Blob(0, (74, 0, 5), (54, 80, 118), power=2.5)),
    ("heart", Blob(0, (-22, 25, -45), (52, 42, 48))),
    ("aorta", Tube(0, (-20, -46, -150), (-20, -46, 70), 13)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a small fVLM, as a user would have put it there."""
    made = tmp_path_factory.mktemp("models") / "fvlm"
    made.mkdir()
    sizes = Sizes(48, 96, heads=4, shared=32, text={
        "width": 32, "layers": 2, "heads": 4, "inner": 64, "vocabulary": 60, "positions": 40,
    })  # fmt: skip
    torch.manual_seed(3)
    state = Network(sizes).state_dict()
    state["text_encoder.embeddings.token_type_embeddings.weight"] = torch.ones(2, 32)
    for name in ("query_tokens", "visual_encoder.patch_embedding.position_embeddings"):
        state[name] = torch.randn(state[name].shape)
    torch.save({"model": state, "epoch": 19}, made / "model.pth")
    (made / "vocab.txt").write_text("\n".join(WORDS))
    return made


@pytest.fixture(autouse=True)
def hosted(folder, tmp_path_factory, monkeypatch):
    """Let the card of fVLM be the small one's and its licence be accepted."""
    cards = tmp_path_factory.mktemp("cards")
    for path in store.CARDS.glob("*.toml"):
        shutil.copy(path, cards)
    with (cards / "fvlm.toml").open("a") as file:
        file.write(SMALL)
    monkeypatch.setattr(reading, "CARDS", cards)
    monkeypatch.setenv("CTVLP_MODELS", str(folder.parent))
    store.accept(store.card("fvlm"))
    yield
    verbs.forget()


@pytest.fixture(scope="module")
def anatomy(chest):
    """Return lungs, heart and aorta of the phantom; nobody found an oesophagus."""
    points = transform(chest.affine, np.moveaxis(np.indices(chest.shape), 0, -1))
    axes = tuple(points[..., n].astype(np.float32) for n in range(3))
    labels = np.zeros(chest.shape, np.uint8)
    for number, (_, solid) in enumerate(ORGANS):
        labels[solid.holds(axes)] = number + 1
    names = [(number + 1, name) for number, (name, _) in enumerate(ORGANS)]
    return anatomy_from_labels(labels, chest, names, source="drawn")


@pytest.fixture
def passes(monkeypatch):
    """Return a list that grows by one shape with every pass of the image tower."""
    seen, forward = [], ImageTower.forward

    def counted(self, image, *more):
        seen.append(tuple(image.shape))
        return forward(self, image, *more)

    monkeypatch.setattr(ImageTower, "forward", counted)
    return seen


def ground(scan, phrase, anatomy, **options):
    return verbs.ground(scan, phrase, anatomy=anatomy, model="fvlm", device="cpu", **options)


def test_findings_and_a_hundred_phrases_cost_no_second_pass(chest, anatomy, passes):
    verbs.encode(chest, anatomy, "fvlm")
    assert 1 <= len(passes) <= 3
    assert all(shape[2] >= 112 and shape[4] >= 352 for shape in passes)
    passes.clear()
    verbs.score(chest, anatomy=anatomy, model="fvlm")
    for number in range(100):
        ground(chest, f"{WORDS[6 + number % 11]} {number}", anatomy)
    verbs.forget()
    ground(chest, "emphysema", anatomy)
    assert passes == []


def test_an_answer_does_not_know_how_the_scan_was_stored(chest, anatomy, hosting):
    assert hosting.stored("fvlm", "nodule", chest, anatomy) == "same"


@pytest.mark.long
def test_what_comes_along_when_the_patient_moves(chest, anatomy, hosting):
    trials = hosting.follows("fvlm", "nodule", chest, anatomy)
    assert all(one.holds for one in trials if one.kind == "side"), "a gate has a side by itself"


def test_another_card_is_another_result():
    card = store.card("fvlm")
    finer = dataclasses.replace(card, settings={**card.settings, "maps": {"shifts": 2}})
    assert store.model_digest(finer) != store.model_digest(card)


@pytest.mark.parametrize(
    ("phrase", "organ", "words"),
    [
        ("nodule in the left lung", "lung", "window of the lung, which the phrase names"),
        ("pericardial effusion", "heart", "window of the heart"),
        ("calcification of the aorta", "aorta", "window of the aorta"),
        ("peculiar", "lung", "names none of the model's organs"),
    ],
)
def test_a_split_adds_up_to_the_cosine_of_the_organ_it_names(chest, anatomy, phrase, organ, words):
    heatmap = ground(chest, phrase, anatomy)
    assert (heatmap.kind, heatmap.organ) == ("split", organ)
    assert words in heatmap.gate.words
    encoding = verbs.encode(chest, anatomy, "fvlm")
    (vector,) = store.load_encoder("fvlm", Compute()).embed([heatmap.phrase.query])
    cosine = float(encoding.organs[organ] @ vector.vector)
    assert np.nansum(heatmap.values) == pytest.approx(cosine, abs=1e-4)
    assert heatmap.score == pytest.approx(cosine, abs=1e-6)
    assert heatmap.verdict == "cannot tell"
    assert "no threshold" in heatmap.reason


def test_a_split_is_where_its_organ_is(chest, anatomy):
    heatmap = ground(chest, "effusion of the heart", anatomy, gate=False)
    places = transform(heatmap.affine, np.argwhere(np.isfinite(heatmap.values)))
    middle = transform(chest.affine, np.argwhere(anatomy.mask("heart"))).mean(axis=0)
    assert np.abs(places.mean(axis=0) - middle).max() < 16
    np.testing.assert_allclose(spacing(heatmap.affine), [48, 16, 32], rtol=0.03)


def test_the_dense_map_holds_cosines_of_the_whole_window(chest, anatomy):
    dense = ground(chest, "nodule", anatomy, maps="cosine", gate=False)
    split = ground(chest, "nodule", anatomy, gate=False)
    assert dense.kind == "cosine"
    assert np.isfinite(dense.values).sum() > np.isfinite(split.values).sum()
    assert np.nanmax(np.abs(dense.values)) <= 2
    with pytest.raises(ModelRefused, match="no maps of the kind 'logit'"):
        ground(chest, "nodule", anatomy, maps="logit")


def test_scores_are_the_official_pairs_beside_published_values(chest, anatomy):
    table = verbs.score(chest, anatomy=anatomy, model="fvlm")
    rows = {row.finding: row for row in table.rows}
    assert len(rows) == 16
    assert rows["Hiatal hernia"].support == "The esophagus was not found in this scan."
    encoding = verbs.encode(chest, anatomy, "fvlm")
    encoder = store.load_encoder("fvlm", Compute())
    pair = encoder.prompts.vectors(["Not Emphysema.", "Emphysema."])
    share = torch.tensor(pair @ encoding.organs["lung"] / float(encoder.network.temp)).softmax(0)
    assert rows["Emphysema"].probability == pytest.approx(float(share[1]), abs=1e-5)
    assert all(0 <= row.percentile <= 100 for row in rows.values() if not row.support)


def test_percentiles_go_through_the_published_numbers():
    summary = (0.497, 0.224, 0.038, 0.475, 0.943)
    values = [percentile(p, summary) for p in (0.0, 0.038, 0.475, 0.943, 1.0)]
    assert values == pytest.approx([0, 0, 50, 100, 100])
    assert 50 < percentile(0.6, summary) < percentile(0.7, summary) < 100
    assert np.isnan(percentile(0.5, ()))


def test_a_scan_stored_in_another_orientation_gives_the_same_map(chest, anatomy, tmp_path):
    expected = ground(chest, "nodule", anatomy)
    for code in ("RAS", "PIR"):
        order = oriented_affine(code, chest.shape, np.ones(3))
        shape = from_ipl(chest.hu, order).shape
        steps = [chest.spacing["SAR".index(c) if c in "SAR" else "IPL".index(c)] for c in code]
        middle = transform(chest.affine, (np.array(chest.shape) - 1) / 2)
        affine = oriented_affine(code, shape, steps, middle)
        stored = np.ascontiguousarray(from_ipl(chest.hu, affine))
        image = nibabel.Nifti1Image(stored, affine)
        image.header.set_xyzt_units("mm")
        image.to_filename(tmp_path / f"{code}.nii.gz")
        found = ground(verbs.open_scan(tmp_path / f"{code}.nii.gz"), "nodule", anatomy)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-3)


def test_maps_between_the_cells_are_finer_and_still_add_up(chest, anatomy, folder):
    card = store.card("fvlm")
    settings = {**card.settings, "maps": {"default": "split", "shifts": 2}}
    fine = Fvlm.load(dataclasses.replace(card, settings=settings), folder, Compute())
    fine.organs, fine.roi = {"heart": ["heart"]}, (48, 96, 128)
    encoding = fine.encode(chest, anatomy)
    split, dense = encoding.grids
    np.testing.assert_allclose(spacing(split.affine), [24, 8, 16], rtol=0.03)
    whole = split.tokens.sum((0, 1, 2)) + split.rest
    np.testing.assert_allclose(whole, encoding.organs["heart"], atol=1e-5)
    assert np.linalg.norm(split.rest) < 0.5
    assert np.linalg.norm(dense.tokens, axis=-1).max() <= 1 + 1e-5


def test_the_finer_card_is_fvlm_with_its_files_and_scores(chest, anatomy, monkeypatch):
    card, base = store.card("fvlm-fine"), store.card("fvlm")
    assert store.state_of(card).usable, "fvlm's licence and files serve"
    assert store.folder_of(card) == store.folder_of(base)
    assert card.settings["findings"] == base.settings["findings"]
    assert (card.licence, card.settings["maps"]["shifts"]) == (base.licence, 2)
    bare = anatomy_from_labels(
        np.where(anatomy.mask("heart"), 1, 0).astype(np.uint8), chest, [(1, "heart")], source="x"
    )
    fine, coarse = (
        verbs.ground(chest, "effusion of the heart", anatomy=bare, model=name)
        for name in ("fvlm-fine", "fvlm")
    )
    np.testing.assert_allclose(2 * spacing(fine.affine), spacing(coarse.affine), rtol=1e-6)
    assert fine.score == pytest.approx(coarse.score, abs=1e-6)
    found = verbs.attention(chest, anatomy=bare, model="fvlm-fine")
    assert set(found.maps) == {"heart"}
    assert found.maps["heart"].sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(found.affines["heart"], fine.affine)


def test_attention_lies_on_the_cells_of_its_organ(chest, anatomy):
    found = verbs.attention(chest, anatomy=anatomy, model="fvlm")
    grids = [g for g in verbs.encode(chest, anatomy, "fvlm").grids if g.kind == "split"]
    assert {grid.organ for grid in grids} == set(found.maps) == {"lung", "heart", "aorta"}
    for grid in grids:
        weights = found.maps[grid.organ]
        np.testing.assert_array_equal(weights > 0, grid.valid)
        np.testing.assert_array_equal(found.affines[grid.organ], grid.affine)
        assert weights.sum() == pytest.approx(1, abs=1e-4)


def test_a_scan_without_organs_says_so(chest, anatomy):
    bare = type(anatomy)(np.zeros_like(anatomy.labels), anatomy.affine, (), "none")
    heatmap = ground(chest, "nodule", bare)
    assert heatmap.reason == "The lung is not in this scan."
    assert heatmap.peak_ras is None
    assert all(row.support for row in verbs.score(chest, anatomy=bare, model="fvlm").rows)
    assert "knows no liver" in ground(chest, "cyst in the liver", anatomy).reason


def test_without_its_vocabulary_only_known_texts_are_read(chest, anatomy, folder, monkeypatch):
    encoder = store.load_encoder("fvlm", Compute())
    rows = encoder.card.settings["findings"]
    texts = list(itertools.chain.from_iterable((r["positive"], r["negative"]) for r in rows))
    bare = folder.parent / "elsewhere" / "fvlm"
    bare.mkdir(parents=True)
    shutil.copy(folder / "model.pth", bare)
    write_vectors(bare / "text-vectors.safetensors", texts, encoder.prompts.vectors(texts))
    expected = verbs.score(chest, anatomy=anatomy, model="fvlm")
    monkeypatch.setenv("CTVLP_MODELS", str(bare.parent))
    store.accept(store.card("fvlm"))
    verbs.forget()
    found = verbs.score(chest, anatomy=anatomy, model="fvlm")
    margins = [[row.margin for row in table.rows] for table in (found, expected)]
    np.testing.assert_allclose(*margins, atol=1e-6)
    assert ground(chest, "emphysema", anatomy).organ == "lung"
    with pytest.raises(ModelRefused, match=r"'mass\.' has none.*vocab\.txt is not in"):
        ground(chest, "mass", anatomy)


def test_the_command_line_scores_and_grounds(chest, tmp_path):
    image = nibabel.Nifti1Image(np.ascontiguousarray(chest.hu), chest.affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "ct.nii.gz")
    scores, answer = tmp_path / "scores.csv", tmp_path / "answer.json"
    for verb, *more in (
        ("score", "--out", scores), ("ground", "effusion", "--maps", "cosine", "--json", answer)
    ):  # fmt: skip
        line = [verb, tmp_path / "ct.nii.gz", *more, "--model", "fvlm"]
        done = CliRunner().invoke(app, [str(word) for word in line])
        assert done.exit_code == 0, done.output
    assert scores.read_text().count("lung,") == 11
    found = json.loads(answer.read_text())
    assert (found["kind"], found["organ"]) == ("cosine", "lung")
    assert len(found["model"]["weights"]["model.pth"]) == 64
    assert "window of the lung" in found["gate"]["words"]


#: Label numbers of TotalSegmentator that the authors take for each of their organs.
OFFICIAL = {"lung": [10, 11, 12, 13, 14], "heart": [51, 61], "esophagus": [15], "aorta": [52]}
HEART = ("heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right")


@pytest.mark.parametrize("segmenter", ["anatomy", "classical"])
def test_its_organs_are_those_that_a_segmenter_found(segmenter, chest):
    """Whatever of them was found, voxel by voxel, and nothing where nothing was."""
    found = verbs.segment(chest, segmenter)
    organs = store.card("fvlm").settings["organs"]
    groups = grouped(found, list(organs.values()))
    for number, (organ, house) in enumerate(organs.items(), 1):
        ids = [one.id for one in found.organs if one.name in house]
        np.testing.assert_array_equal(groups == number, np.isin(found.labels, ids), err_msg=organ)
    lung = transform(chest.affine, np.argwhere(groups == 1))
    for sign in (-1, 1):
        side = lung[np.sign(lung[:, 0]) == sign]
        assert np.abs(side.mean(axis=0)[0] - sign * 74) < 25
        assert len(side) * chest.voxel_ml > 500


def test_its_organs_come_out_of_a_file_of_the_users(chest, anatomy, tmp_path):
    for organ in anatomy.organs:
        mask = (anatomy.labels == organ.id).astype(np.uint8)
        nibabel.Nifti1Image(mask, chest.affine).to_filename(tmp_path / f"{organ.name}.nii.gz")
    organs = list(store.card("fvlm").settings["organs"].values())
    again = grouped(open_anatomy(tmp_path, chest), organs)
    np.testing.assert_array_equal(again, grouped(anatomy, organs))


@pytest.mark.parametrize("table", ["totalsegmentator", "mine.json"])
def test_the_commands_read_numbers_by_their_program_or_by_a_table(table, chest, anatomy, tmp_path):
    """A label map that says nothing but numbers."""
    numbers = {"lung_left": 10, "lung_right": 13, "heart": 51, "aorta": 52}
    labels = np.zeros(anatomy.labels.shape, np.uint8)
    for organ, number in numbers.items():
        labels[anatomy.mask(organ)] = number
    for values, name in ((chest.hu, "ct"), (labels, "organs")):
        image = nibabel.Nifti1Image(np.ascontiguousarray(values), chest.affine)
        image.header.set_xyzt_units("mm")
        image.to_filename(tmp_path / f"{name}.nii.gz")
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({str(number): organ for organ, number in numbers.items()}))
    line = ["score", tmp_path / "ct.nii.gz", "--model", "fvlm", "--out", tmp_path / "scores.csv"]
    line += ["--labels", tmp_path / "organs.nii.gz"]
    names = mine if table == mine.name else table
    done = CliRunner().invoke(app, [str(word) for word in [*line, "--names", names]])
    assert done.exit_code == 0, done.output
    assert "about percentile" in done.output
    told = (tmp_path / "scores.csv").read_text()
    assert told.count("was not found") == 1, "nobody drew an oesophagus"
    expected = verbs.score(chest, anatomy=anatomy, model="fvlm").rows
    rows = {row["finding"]: row for row in csv.DictReader(io.StringIO(told))}
    assert float(rows["Cardiomegaly"]["margin"]) == pytest.approx(
        next(row.margin for row in expected if row.finding == "Cardiomegaly"), abs=1e-5
    )
    refused = CliRunner().invoke(app, [str(word) for word in [*line, "--names", "other"]])
    assert "bad-names" in refused.output or "neither" in refused.output
    assert refused.exit_code != 0


@pytest.mark.parametrize("program", ["totalsegmentator", "wholebody", "house"])
def test_its_organs_come_out_of_every_segmenter(program):
    organs = store.card("fvlm").settings["organs"]
    names = tuple(places()) if program == "house" else names_in_order(program)
    numbers = np.arange(len(names) + 1, dtype=np.uint8)[:, None, None]
    labels, rows = merged(numbers, names)
    table = tuple(Organ(number, name, 1.0, 0.0, True) for number, name in rows)
    groups = grouped(AnatomyMap(labels, np.eye(4), table, program), list(organs.values())).ravel()
    found = {organ: np.flatnonzero(groups == n + 1).tolist() for n, organ in enumerate(organs)}
    if program == "totalsegmentator":
        assert found == OFFICIAL
        return
    named = {organ: {names[n - 1] for n in found[organ]} for organ in organs}
    assert all(name.startswith("lung_") for name in named["lung"])
    assert len(named["lung"]) == (2 if program == "house" else 5)
    assert named["heart"] >= ({"heart"} if program == "house" else {*HEART})
    assert named["aorta"] == {"aorta"}
    assert len(named["esophagus"]) == 1
