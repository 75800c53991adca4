"""The embedded text tower: its file, its vectors, and which tower is chosen."""

import json
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import text_choice, text_small
from napari_ctvlp.models.encoders.mini_text import ConceptHead, spelt_alike
from napari_ctvlp.models.text import CHOSEN, DIMENSIONS, TextTower, find_tower
from napari_ctvlp.models.text_small import LONGEST, Network, SmallTower
from napari_ctvlp.training import text_head
from napari_ctvlp.training.text_corpus import vocabulary

PHRASES = [
    "lung mass",
    "a nodule in the left lower lobe of the lung",
    "",
    "Ünsinn 123 ☃",
    "no mass",
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A tower as it begins, with a vocabulary of these phrases."""
    torch.manual_seed(0)
    tokenizer = vocabulary([(phrase, 3) for phrase in PHRASES], 200)
    network = Network(tokenizer.get_vocab_size(), 64, 2).eval()
    path = tmp_path_factory.mktemp("tower") / text_small.WEIGHTS
    SmallTower(tokenizer, network).write(path, {"plan": "{}"})
    return path


def vectors(tower, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = tower.embed(PHRASES)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return found


def test_vectors_are_unit_and_the_same_bits_alone_and_on_any_number_of_threads(path):
    tower = SmallTower.read(path)
    together = vectors(tower, 1)
    assert together.shape == (len(PHRASES), DIMENSIONS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(together, vectors(tower, 2))
    alone = np.concatenate([tower.embed([phrase]) for phrase in PHRASES])
    np.testing.assert_array_equal(together, alone)
    assert tower.embed([]).shape == (0, DIMENSIONS)
    assert not np.allclose(together[0], together[4])


def test_padding_changes_no_vector(path):
    tower = SmallTower.read(path)
    ids = torch.tensor([tower.ids("lung mass")])
    wide = torch.nn.functional.pad(ids, (0, 5))
    real = torch.arange(wide.shape[1])[None] < ids.shape[1]
    alone = tower.network(ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(tower.network(wide, real), alone, rtol=0, atol=1e-5)


def test_long_phrases_are_cut(path):
    tower = SmallTower.read(path)
    assert len(tower.ids("lung mass " * 100)) == LONGEST
    assert np.isfinite(tower.embed(["lung mass " * 100])).all()


def test_nothing_asks_the_network(path, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert SmallTower.read(path).embed(["lung mass"]).shape == (1, DIMENSIONS)


@pytest.mark.parametrize("fault", ["cut", "nan", "shape", "surplus", "words", "json", "nothing"])
def test_a_damaged_tower_is_refused(path, tmp_path, fault):
    state = load_file(path)
    about = {"tokenizer": SmallTower.read(path).tokenizer.to_str()}
    if fault == "nan":
        state["out.bias"][3] = torch.nan
    if fault == "shape":
        state["out.weight"] = state["out.weight"][:-1].contiguous()
    if fault == "surplus":
        state["more"] = torch.zeros(1)
    if fault == "words":
        state["words.weight"] = state["words.weight"][:-1].contiguous()
    if fault == "json":
        about["tokenizer"] = json.dumps({"model": "none"})
    if fault == "nothing":
        about = {}
    bad = tmp_path / path.name
    save_file(state, bad, about)
    if fault == "cut":
        bad.write_bytes(bad.read_bytes()[:3000])
    with pytest.raises(ModelRefused) as refusal:
        SmallTower.read(bad)
    assert refusal.value.code == "corrupt-text-model"


def test_another_file_than_the_cards_is_refused(path, tmp_path):
    with pytest.raises(ModelRefused) as refusal:
        SmallTower.load(path.parent)
    assert refusal.value.code == "corrupt-text-model"
    with pytest.raises(ModelRefused) as refusal:
        SmallTower.load(tmp_path)
    assert refusal.value.code == "missing-text-model"


def test_the_environment_then_the_card_choose_a_tower(tmp_path, monkeypatch):
    monkeypatch.delenv(CHOSEN, raising=False)
    assert text_choice.chosen_tower() == text_choice.DEFAULT
    assert text_choice.chosen_tower("small") == "small"
    monkeypatch.setenv(CHOSEN, "minilm")
    assert text_choice.chosen_tower("small") == "minilm"
    monkeypatch.setenv(CHOSEN, str(tmp_path))
    assert text_choice.chosen_tower("small") == "minilm"
    with pytest.raises(ModelRefused, match="lacks"):
        TextTower.load()
    monkeypatch.delenv(CHOSEN)
    with pytest.raises(ModelRefused) as refusal:
        text_choice.chosen_tower("large")
    assert refusal.value.code == "unknown-text-model"


def test_a_tower_named_by_the_environment_is_no_folder(monkeypatch):
    monkeypatch.setenv(CHOSEN, "minilm")
    try:
        find_tower()
    except ModelRefused:
        pytest.skip("MiniLM is not installed")
    assert isinstance(text_choice.load_tower(text_choice.chosen_tower()), TextTower)


def test_a_head_suggests_the_nearest_terms_and_keeps_them_in_its_file(tmp_path):
    axes = np.eye(DIMENSIONS, dtype=np.float32)
    tensors = text_head.Network().tensors()
    head = ConceptHead(tensors, axes[:3], np.array([0, 1, 1]), ("nodule", "mass", "tumour"))
    text_head.save(head, tmp_path / "head.safetensors", "small")
    kept = ConceptHead.load(tmp_path / "head.safetensors", len(text_head.names()))
    assert (kept.terms, kept.tower) == (head.terms, "small")
    near = kept.suggest(0.8 * axes[1] + 0.6 * axes[2], 2)
    assert [term for term, _ in near] == ["mass", "tumour"]
    assert [cosine for _, cosine in near] == pytest.approx([0.8, 0.6], abs=1e-3)
    assert kept.suggest(axes[9], 1, "tumor")[0][0] == "tumour"
    assert ConceptHead(tensors, axes[:3], head.labels).suggest(axes[0]) == ()


def test_likeness_of_spelling_is_one_for_the_same_and_nothing_for_strangers():
    assert spelt_alike("Emphysema", "emphysema") == 1
    assert spelt_alike("emphysma", "emphysema") > 0.6
    assert spelt_alike("rain", "nodule") == 0


def test_a_head_with_a_term_too_few_is_refused(tmp_path):
    axes = np.eye(DIMENSIONS, dtype=np.float32)
    head = ConceptHead(text_head.Network().tensors(), axes[:2], np.array([0, 1]), ("nodule",))
    text_head.save(head, tmp_path / "head.safetensors", "small")
    with pytest.raises(ModelRefused, match="names 1 terms"):
        ConceptHead.load(tmp_path / "head.safetensors", len(text_head.names()))


def test_the_tower_that_ships_is_small_and_knows_denial_and_sides():
    assert (weights_folder() / text_small.WEIGHTS).stat().st_size < 25_000_000
    tower = SmallTower.load()
    held = {term for listed in json.loads(tower.about["held_out"]).values() for term in listed}
    assert len(held) > 200
    mass, tumour, no_mass, left, right, rain = tower.embed(
        ["lung mass", "lung tumour", "no lung mass", "left mass", "right mass", "rain in the north"]
    )
    assert mass @ tumour > max(mass @ no_mass, mass @ rain)
    assert left @ right < 0.95
    assert mass @ rain < 0.4
