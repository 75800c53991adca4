"""Small CT-CLIP, ViSD-Boost and RADAR with generated weights, hosted as the real ones would be."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app
from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import in_order, spacing, transform, voxel_of
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import ct_clip, ct_clip_net, radar_net, radar_windows
from napari_ctvlp.models.encoders import visd_boost_net as visd_net
from napari_ctvlp.models.encoders.prompts import write_vectors
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.segmenters.radar_organs import RadarOrgans
from napari_ctvlp.models.store import reading

TEXT = {"text_width": 32, "text_layers": 1, "text_heads": 4, "text_inner": 48, "vocabulary": 60}
SIZES = {
    "ct_clip": {
        **TEXT, "image": (20, 40, 60), "patch": (5, 10, 10), "width": 16, "codes": 32,
        "spatial": 1, "temporal": 1, "heads": 2, "head_width": 8, "shared": 24,
    },
    "visd_boost": {**TEXT, "widths": (8, 8, 16, 16), "latent": 32, "inner": 48},
    "radar": {**TEXT, "widths": (4, 8, 8, 16, 16, 16)},
}  # fmt: skip
ROI = {
    "visd_boost": "roi = [16, 32, 32]",
    "radar": "roi = [16, 64, 64]",
    "radar-organs": "roi = [16, 64, 64]",
}
NETS = {"ct_clip": ct_clip_net.CtClip, "visd_boost": visd_net.VisdBoost, "radar": radar_net.Radar}
TABLES = {"ct_clip": ct_clip_net.Sizes, "visd_boost": visd_net.Sizes, "radar": radar_net.Sizes}
WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "not", "is", "present", "nodule", "lung"),
    *("heart", "aorta", "cyst", "liver", "effusion"),
]
MODELS = tuple(SIZES)
CONVERTED = shutil.ignore_patterns("*.safetensors", "*.json")


def made(model):
    """Return the state dict of a small network."""
    torch.manual_seed(4)
    state = NETS[model](TABLES[model](**SIZES[model])).state_dict()
    for name, value in state.items():
        if not value.any():
            state[name] = torch.randn(value.shape)
        if "seg_layers" in name:
            state[name] = 30 * torch.randn(value.shape)
    return state


def put(model, folder):
    """Write a model's files as its authors name and fill them."""
    state = made(model)
    if model == "ct_clip":
        beside = {"text_transformer.embeddings.position_ids": torch.arange(512)[None]}
        torch.save({**state, **beside}, folder / "CT-CLIP_v2.pt")
    if model == "visd_boost":
        normality = {k: v for k, v in state.items() if k.startswith(("encoder.", "decoder."))}
        torch.save({"model": normality}, folder / "checkpoint_vqvae.pth")
        rest = {k: v for k, v in state.items() if k not in normality}
        torch.save({"model": rest, "epoch": 3}, folder / "checkpoint.pth")
    if model == "radar":
        name = "visual_encoder.UNet.decoder.encoder.stages.0.0.convs.0."
        alias = {f"{name}conv.weight": state[f"{name}all_modules.0.weight"]}
        torch.save({"model": {**state, **alias}}, folder / "checkpoint_radar_pretrain.pth")
        keys = [row["key"] for row in store.card("radar").settings["findings"]]
        pairs = torch.nn.functional.normalize(torch.randn(len(keys), 2, 256), dim=-1)
        torch.save(dict(zip(keys, pairs, strict=True)), folder / "infer_text_embedding_radar.pt")
    (folder / "vocab.txt").write_text("\n".join(WORDS))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a user's models folder."""
    folder = tmp_path_factory.mktemp("models")
    for model in MODELS:
        (folder / model).mkdir()
        put(model, folder / model)
    return folder


@pytest.fixture(autouse=True)
def hosted(models, tmp_path_factory, monkeypatch):
    """Let the cards be the small ones' and their licences be accepted."""
    cards = tmp_path_factory.mktemp("cards")
    for path in store.CARDS.glob("*.toml"):
        shutil.copy(path, cards)
    for model in (*MODELS, "radar-organs"):
        path = cards / f"{model}.toml"
        lines = [line for line in path.read_text().split("\n") if not line.startswith("sha256")]
        text = "\n".join(lines).replace("[settings]\n", f"[settings]\n{ROI.get(model, '')}\n")
        table = SIZES[model.removesuffix("-organs")]
        sizes = {k: list(v) if isinstance(v, tuple) else v for k, v in table.items()}
        rows = "\n".join(f"{name} = {value}" for name, value in sizes.items())
        path.write_text(f"{text}\n[settings.sizes]\n{rows}\n")
    monkeypatch.setattr(reading, "CARDS", cards)
    monkeypatch.setenv("CTVLP_MODELS", str(models))
    for model in MODELS:
        store.accept(store.card(model))
    yield
    verbs.forget()


@pytest.fixture(scope="module")
def scan():
    """Return a small piece of the phantom."""
    return phantom((20, 22, 24), (3.0, 3.25, 3.0), centre=(-60.0, -20.0, -30.0))


def drawn(scan):
    """Return organs as boxes, those of either side of the lungs among them."""
    labels = np.zeros(scan.shape, np.uint8)
    labels[3:12, 4:12, 3:12], labels[10:16, 10:16, 14:20], labels[5:9, 14:18, 4:8] = 1, 2, 3
    names = [(1, "lung_left"), (2, "heart"), (3, "aorta")]
    return anatomy_from_labels(labels, scan, names, source="drawn")


PHRASES = {
    "ct_clip": ["nodule", "effusion in the left lung"],
    "visd_boost": ["nodule in the left lung", "effusion of the heart", "aorta"],
    "radar": ["liver cyst", "nodule of the lung", "cardiomegaly"],
}


@pytest.mark.parametrize("model", MODELS)
def test_a_split_adds_up_to_the_score_of_what_the_phrase_names(model, scan):
    anatomy = drawn(scan)
    encoding = verbs.encode(scan, anatomy, model, device="cpu")
    encoder = store.load_encoder(model, Compute())
    read = set()
    for phrase in PHRASES[model]:
        heatmap = verbs.ground(scan, phrase, anatomy=anatomy, model=model, gate=False, device="cpu")
        assert heatmap.kind == "split"
        assert heatmap.gate.words.startswith("An attribution:") == (model == "ct_clip")
        if heatmap.organ not in encoding.organs:
            assert "is not in this scan" in heatmap.reason
            continue
        read.add(heatmap.organ)
        (vector,) = encoder.embed([heatmap.phrase.query])
        cosine = float(encoding.organs[heatmap.organ] @ vector.vector)
        grid = next(one for one in encoding.grids if one.organ == heatmap.organ)
        rest = 0 if grid.rest is None else float(grid.rest @ vector.vector)
        assert np.nansum(heatmap.values) + rest == pytest.approx(cosine, abs=1e-5)
        assert heatmap.score == pytest.approx(cosine, abs=1e-5)
        assert np.nanstd(heatmap.values) > 0
    assert read


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_does_not_know_how_the_scan_was_stored(model, scan, hosting):
    found = {hosting.stored(model, phrase, scan, drawn(scan)) for phrase in PHRASES[model]}
    assert "same" in found
    assert "different" not in found


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_what_comes_along_when_the_patient_moves(model, scan, hosting):
    trials = hosting.follows(model, "nodule of the lung", scan, drawn(scan))
    assert {one.kind for one in trials} >= {"shift", "mirror", "side"}
    sides = [one for one in trials if one.kind == "side" and np.isfinite(one.number)]
    assert all(one.holds for one in sides), "a gate has a side by itself"
    assert sides or model == "radar", "it finds none of its organs in the phantom"


@pytest.mark.parametrize("model", MODELS)
def test_every_finding_is_a_row_with_the_softmax_of_its_prompts(model, scan):
    table = verbs.score(scan, anatomy=drawn(scan), model=model, device="cpu")
    assert len(table.rows) == len(store.card(model).settings["findings"])
    judged = [row for row in table.rows if not row.support]
    assert judged
    temperature = 1 / np.exp(1.0) if model == "ct_clip" else 0.07
    for row in judged:
        assert row.margin == pytest.approx(row.present - row.absent)
        odds = np.exp((row.absent - row.present) / temperature)
        assert row.probability == pytest.approx(1 / (1 + odds), abs=1e-5)
    missing = [row for row in table.rows if row.support]
    assert all(np.isnan(row.present) for row in missing)
    if model == "visd_boost":
        assert {row.organ for row in missing} == {"esophagus"}
        assert "was not found" in missing[0].support


@pytest.mark.parametrize("model", MODELS)
def test_the_commands_run_it(model, scan, tmp_path):
    """The organs come from a file: no segmenter finds any in so small a piece."""
    file, scores, answer = (tmp_path / name for name in ("ct.nii.gz", "scores.csv", "answer.json"))
    anatomy = drawn(scan)
    for values, path in ((scan.hu, file), (anatomy.labels, tmp_path / "organs.nii.gz")):
        view, affine = in_order(values, scan.affine, "RAS")
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(view), affine), path)
    names = {organ.id: organ.name for organ in anatomy.organs}
    (tmp_path / "organs.json").write_text(json.dumps(names))
    options = ["--model", model, "--device", "cpu", "--labels", tmp_path / "organs.nii.gz"]
    for line in (
        ["score", file, *options, "--out", scores],
        ["ground", file, PHRASES[model][0], *options, "--json", answer],
    ):
        done = CliRunner().invoke(app, [str(word) for word in line])
        assert done.exit_code == 0, done.output
    rows = len(store.card(model).settings["findings"])
    assert len(scores.read_text().strip().split("\n")) == rows + 1
    assert json.loads(answer.read_text())["kind"] == "split"
    if model == "visd_boost":
        told = csv.DictReader(io.StringIO(scores.read_text()))
        judged = {row["finding"]: row for row in told if row["probability"]}
        expected = verbs.score(scan, anatomy=anatomy, model=model, device="cpu").rows
        assert set(judged) == {row.finding for row in expected if not row.support}
        nodule = next(row for row in expected if row.finding == "Lung nodule")
        assert float(judged["Lung nodule"]["probability"]) == pytest.approx(nodule.probability)


@pytest.mark.parametrize(
    ("model", "code"),
    [("ct_clip", "RAS"), ("ct_clip", "PSL"), ("visd_boost", "RAS"), ("radar", "PSL")],
)
def test_how_a_scan_is_stored_does_not_matter(model, code, scan, tmp_path):
    path = tmp_path / "chest.nii.gz"
    steps = spacing(scan.affine)
    view, affine = in_order(scan.hu, scan.affine, code)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(view), affine), path)
    again = verbs.open_scan(path)
    assert np.allclose(spacing(again.affine), steps)
    encoder = store.load_encoder(model, Compute())
    first, second = (encoder.encode(one, drawn(one)) for one in (scan, again))
    assert [grid.organ for grid in first.grids] == [grid.organ for grid in second.grids]
    for one, other in zip(first.grids, second.grids, strict=True):
        assert np.allclose(one.affine, other.affine, atol=1e-4)
        assert np.array_equal(one.valid, other.valid)
        assert np.allclose(one.tokens, other.tokens, atol=1e-6)


def test_tokens_of_an_organ_lie_on_the_organ(scan):
    anatomy = drawn(scan)
    encoding = verbs.encode(scan, anatomy, "visd_boost", device="cpu")
    assert [grid.organ for grid in encoding.grids] == ["lung", "heart", "aorta"]
    for grid, organ in zip(encoding.grids, ("lung_left", "heart", "aorta"), strict=True):
        assert np.allclose(spacing(grid.affine), (6, 4, 4), rtol=0.09)  # spacings are exchanged
        cells = transform(grid.affine, np.argwhere(grid.valid)).mean(axis=0)
        voxels = transform(scan.affine, np.argwhere(anatomy.mask(organ))).mean(axis=0)
        assert np.abs(cells - voxels).max() < 4


def test_a_bright_block_stays_where_it_is(scan):
    hu = np.full(scan.shape, -200, np.int16)
    hu[4:8, 12:17, 3:9] = 300
    block = replace(scan, hu=hu)
    there = transform(scan.affine, np.argwhere(hu > 0)).mean(axis=0)

    def middle(image, affine):
        index = np.argwhere(image > 0.02)
        return np.average(transform(affine, index), axis=0, weights=image[image > 0.02])

    view, affine = in_order(block.hu, block.affine, ct_clip.ORDER)
    image, place = ct_clip.prepared(view, affine, (60, 110, 110))
    assert np.abs(middle(np.where(image == -1, 0, image + 0.2), place) - there).max() < 0.5
    ready = radar_windows.prepared(block, (16, 64, 64))
    assert np.abs(middle(ready.image, ready.affine) - there).max() < 0.5


@pytest.mark.parametrize("model", ["visd_boost", "radar"])
def test_attention_lies_on_its_organ_and_sums_to_one(model, scan):
    found = verbs.attention(scan, anatomy=drawn(scan), model=model, device="cpu")
    encoding = verbs.encode(scan, drawn(scan), model, device="cpu")
    assert set(found.maps) == set(encoding.organs)
    for grid in encoding.grids:
        weights = found.maps[grid.organ]
        assert np.array_equal(found.affines[grid.organ], grid.affine)
        assert weights.sum() == pytest.approx(1, abs=1e-4)
        assert np.array_equal(weights > 0, grid.valid)


def test_radars_own_organs_are_a_segmenter_with_the_same_checkpoint(scan, tmp_path, models):
    card = store.card("radar-organs")
    state = store.state_of(card)
    assert state.usable, "radar's licence and files serve"
    assert state.folder == models / "radar"
    found = verbs.segment(scan, "radar-organs", device="cpu")
    encoder = store.load_encoder("radar", Compute())
    ready = radar_windows.prepared(scan, encoder.roi)
    seen = [
        (window, encoder._look(ready, window, lambda: None).logits.softmax(0))
        for window in radar_windows.sliding(ready.image.shape, encoder.roi)
    ]
    mask = torch.cat(list(radar_windows.stitched(seen, ready.image.shape))).numpy()
    channels = card.settings["organs"]
    inside = 0
    for index in np.argwhere(mask)[:: max(1, int((mask > 0).sum() / 500))]:
        at = np.rint(voxel_of(scan.affine, transform(ready.affine, index))).astype(int)
        if (at < 0).any() or (at >= scan.shape).any():
            continue
        centre = np.rint(voxel_of(ready.affine, transform(scan.affine, at))).astype(int)
        number = mask[tuple(np.clip(centre, 0, np.array(mask.shape) - 1))]
        name = next((o.name for o in found.organs if o.id == found.labels[tuple(at)]), "")
        assert name in (channels[number - 1] if number else [""])
        inside += 1
    assert inside > 50
    with pytest.raises(ModelRefused, match="are those of radar"):
        store.delete(card)
    view, affine = in_order(scan.hu, scan.affine, "PSL")
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(view), affine), tmp_path / "ct.nii.gz")
    again = verbs.segment(verbs.open_scan(tmp_path / "ct.nii.gz"), "radar-organs", device="cpu")
    assert np.mean(again.labels == found.labels) > 0.999


def test_a_pair_that_radar_draws_as_one_is_parted_at_the_spine():
    card = store.card("radar-organs")
    channels = card.settings["organs"]
    kidney, spine = channels.index(["kidney_left", "kidney_right"]), channels.index(["vertebrae"])
    labels = np.zeros((2, 3, 20), np.uint8)
    labels[:, 1, 7:9], labels[:, 2, 2:5], labels[:, 2, 11:15] = spine + 1, kidney + 1, kidney + 1
    out, rows = RadarOrgans(card, None)._named(labels)
    ids = {name: number for number, name in rows}
    assert (out[:, 2, 2:5] == ids["kidney_right"]).all(), "the last axis runs to the left"
    assert (out[:, 2, 11:15] == ids["kidney_left"]).all()
    assert (out[:, 1, 7:9] == ids["vertebrae"]).all()
    assert len(channels) == 36
    known = {*places(), "brain", "face", "portal_vein_and_splenic_vein", "iliac_artery_left"}
    known |= {"iliac_artery_right", "iliac_vena_left", "iliac_vena_right"}
    assert {name for names in channels for name in names} <= known


@pytest.mark.parametrize("model", ["ct_clip", "radar"])
def test_voxels_without_a_number_are_air(model, scan):
    hu = scan.hu.astype(np.float32)
    hu[:4] = np.nan
    encoding = store.load_encoder(model, Compute()).encode(replace(scan, hu=hu), drawn(scan))
    assert all(np.isfinite(unit).all() for unit in encoding.organs.values())
    assert all(np.isfinite(grid.tokens).all() for grid in encoding.grids)


def test_windows_cover_a_volume_and_end_with_it():
    found = radar_windows.sliding((96, 300, 800))
    assert [one.start for one in found[:3]] == [(0, 0, 0), (0, 0, 288), (0, 0, 416)]
    assert {one.start[1] for one in found} == {0, 44}
    assert len(radar_windows.sliding((96, 256, 384))) == 1


def test_an_organ_at_a_face_is_not_whole():
    mask = torch.zeros(12, 12, 12, dtype=torch.long)
    mask[4:6, 4:6, 4:6], mask[5:7, 8:11, 5:7] = 3, 5
    assert radar_windows.whole_organs(mask) == [2]
    assert radar_windows.whole_organs(mask, but=4) == [2, 4]


def test_masks_of_overlapping_windows_are_averaged():
    low, high = torch.zeros(2, 4, 2, 2), torch.zeros(2, 4, 2, 2)
    low[1], high[0] = 0.6, 0.5
    one, two = radar_windows.sliding((4, 4, 6), (4, 4, 4))
    mask = torch.cat(list(radar_windows.stitched([(one, low), (two, high)], (4, 4, 6), planes=3)))
    assert mask.shape == (4, 4, 6)
    assert mask[0, 0].tolist() == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("model", MODELS)
def test_without_its_vocabulary_it_reads_what_it_has_vectors_for(model, models, tmp_path, scan):
    folder = tmp_path / model
    shutil.copytree(models / model, folder)
    (folder / "vocab.txt").unlink()
    encoder = store.load_encoder(model, Compute(), folder)
    with pytest.raises(ModelRefused, match=r"free text cannot be read.*vocab\.txt is not in"):
        encoder.embed(["a peculiar phrase"])
    if model == "radar":
        (vector,) = encoder.embed(["Cyst of the liver."])
        assert np.linalg.norm(vector.vector) > 0.5
        return
    rows = store.card(model).settings["findings"]
    texts = [row[side] for row in rows for side in ("positive", "negative")]
    units = np.random.default_rng(0).normal(size=(len(texts), 24 if model == "ct_clip" else 256))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    write_vectors(folder / "text-vectors.safetensors", texts, units.astype(np.float32))
    encoder = store.load_encoder(model, Compute(), folder)
    table = encoder.score(encoder.encode(scan, drawn(scan)), drawn(scan))
    row = next(row for row in table.rows if row.finding == "Lung nodule")
    assert -1 < row.present < 1
    assert encoder.embed(["lung nodule"])[0].vector.any()


def test_without_the_ready_made_texts_every_row_says_so(models, tmp_path, scan):
    folder = tmp_path / "radar"
    shutil.copytree(models / "radar", folder)
    for path in folder.glob("infer_text*"):
        path.unlink()
    encoder = store.load_encoder("radar", Compute(), folder)
    table = encoder.score(encoder.encode(scan, drawn(scan)), drawn(scan))
    assert {row.support for row in table.rows} == {
        "The ready-made texts, infer_text_embedding_radar.pt, are not in the model's folder."
    }


@pytest.mark.parametrize(
    ("model", "file", "inside"),
    [
        ("ct_clip", "CT-CLIP_v2.pt", ""),
        ("visd_boost", "checkpoint.pth", "model"),
        ("radar", "checkpoint_radar_pretrain.pth", "model"),
    ],
)
def test_a_wrong_prefix_or_a_missing_tensor_loads_nothing(model, file, inside, models, tmp_path):
    folder = tmp_path / model
    shutil.copytree(
        models / model, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.json")
    )
    state = torch.load(folder / file, weights_only=True)
    state = state[inside] if inside else state

    def refused(changed, match):
        torch.save({inside: changed} if inside else changed, folder / file)
        with pytest.raises(ModelRefused, match=match):
            store.load_encoder(model, Compute(), folder)

    refused({f"module.{key}": value for key, value in state.items()}, r"begin with 'module\.'")
    gone = next(key for key in state if key.startswith(("to_text_latent", "text_proj.weight")))
    refused({key: value for key, value in state.items() if key != gone}, gone)


def test_a_normality_branch_in_neither_file_is_missed(models, tmp_path):
    folder = tmp_path / "visd_boost"
    shutil.copytree(models / "visd_boost", folder, ignore=CONVERTED)
    torch.save({"model": {}}, folder / "checkpoint_vqvae.pth")
    with pytest.raises(ModelRefused, match=r"Neither file has encoder\."):
        store.load_encoder("visd_boost", Compute(), folder)
