"""Cards are read with care, weights are verified before they are opened."""

import shutil

import pytest

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute

CARD = """
id = "{id}"
title = "T"
kind = "encoder"
licence = "L"
source = "S"
summary = "Words."
entry = "{entry}"
[weights]
"{file}" = "{sha}"
[settings]
block_mm = 2.0
"""


def written(folder, text=CARD, **parts):
    values = {"id": "x", "entry": "encoders.x:X", "file": "x.safetensors", "sha": "0" * 64}
    path = folder / "x.toml"
    path.write_text(text.format(**{**values, **parts}))
    return path


def test_every_card_that_ships_is_whole():
    cards = store.cards()
    assert {card.id for card in cards} >= {"classical", "mini"}
    for card in cards:
        assert store.card(card.id) == card
        assert card.summary
        assert card.known_failures
        assert card.licence


@pytest.mark.parametrize("card", store.embedded(), ids=lambda card: card.id)
def test_the_sha256_on_a_card_is_that_of_the_file(card):
    folder = store.verify(card)
    for name, expected in card.weights:
        assert store.sha256(folder / name) == expected


def test_every_weights_file_that_ships_is_on_a_card():
    named = {name for card in store.cards() for name, _ in card.weights}
    assert {path.name for path in weights_folder().glob("*.safetensors")} == named


def test_an_unknown_model_is_refused_with_the_list():
    with pytest.raises(ModelRefused, match="classical"):
        store.card("../../etc/passwd")


def test_a_segmenter_is_no_encoder():
    with pytest.raises(ModelRefused, match="kind segmenter"):
        store.load_encoder("classical", Compute())


@pytest.mark.parametrize(
    "text",
    ["this is no card", "id = 3", 'id = "x"', CARD.replace('title = "T"', "")],
    ids=["no toml", "wrong type", "nearly empty", "no title"],
)
def test_a_card_that_is_not_whole_is_refused(tmp_path, text):
    with pytest.raises(ModelRefused, match=r"x\.toml"):
        store.read_card(written(tmp_path, text))


@pytest.mark.parametrize("entry", ["os:system", "encoders..x:X", "encoders.x:X.y", "io.read:f"])
def test_a_card_cannot_name_code_outside_the_models(tmp_path, entry):
    with pytest.raises(ModelRefused, match="class"):
        store.read_card(written(tmp_path, entry=entry))


@pytest.mark.parametrize("name", ["x.pt", "x.bin", "../x.safetensors", "/etc/x.safetensors"])
def test_only_safetensors_of_the_folder_are_opened(tmp_path, name):
    card = store.read_card(written(tmp_path, file=name))
    with pytest.raises(ModelRefused, match="safetensors"):
        store.verify(card, tmp_path)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(ModelRefused, match="is not in"):
        store.verify(store.read_card(written(tmp_path)), tmp_path)


def test_corrupt_weights_are_refused_and_stay_as_they_are(tmp_path):
    shutil.copytree(weights_folder(), tmp_path / "weights")
    card = store.card("mini")
    path = tmp_path / "weights" / card.weights[0][0]
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    with pytest.raises(ModelRefused, match=f"{path.name} has the SHA-256") as caught:
        store.load_encoder("mini", Compute(), tmp_path / "weights")
    assert card.weights[0][1] in caught.value.expected
    assert "Install the package again" in caught.value.advice
    assert path.read_bytes() == body


def test_the_digest_of_a_model_follows_its_weights(tmp_path):
    one = store.read_card(written(tmp_path))
    other = store.read_card(written(tmp_path, sha="1" * 64))
    assert store.model_digest(one) != store.model_digest(other)
