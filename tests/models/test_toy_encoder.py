"""Adding an encoder takes one card and one file, as ``docs/encoders.md`` says.

The file is this one: it holds a toy whose tokens are the mean density of blocks.
"""

from __future__ import annotations

import hashlib
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.geometry import coarse_affine, transform
from napari_ctvlp.core.phantom import MARKER_RAS
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import silent
from napari_ctvlp.models.store import loading, reading

CARD = """
id = "toy"
title = "Toy"
kind = "encoder"
licence = "CC0"
source = "tests/models/test_toy_encoder.py"
summary = "Finds what is dense."
entry = "encoders.toy:Toy"

[weights]
"toy.safetensors" = "{sha256}"

[settings.maps]
default = "cosine"
"""


class Toy:
    """Blocks of 4 voxels; a phrase that has "air" in it looks for the opposite."""

    def __init__(self, card, scale):
        self.card, self.scale = card, scale

    @classmethod
    def load(cls, card, folder, compute):
        return cls(card, float(load_file(folder / "toy.safetensors")["scale"]))

    def encode(self, scan, anatomy, *, progress=silent):
        progress(0.5, "encoding")
        shape = tuple(n // 4 for n in scan.shape)
        inside = scan.hu[tuple(slice(0, 4 * n) for n in shape)].astype(np.float32)
        blocks = inside.reshape(shape[0], 4, shape[1], 4, shape[2], 4).mean((1, 3, 5))
        tokens = (blocks / self.scale)[..., None]
        grid = TokenGrid(tokens, coarse_affine(scan.affine, 4), np.ones(shape, bool), kind="cosine")
        return Encoding((grid,), {"": tokens.mean((0, 1, 2))}, "toy", "", scan.digest)

    def embed(self, phrases):
        return [TextVector(np.array([-1.0 if "air" in p else 1.0], np.float32)) for p in phrases]

    def score(self, encoding, anatomy):
        level = float(encoding.organs[""][0])
        row = FindingRow("", "density", level, -level, 2 * level)
        return FindingsTable((row,), "toy", encoding.scan)


@pytest.fixture(autouse=True)
def added(tmp_path, monkeypatch):
    """Put the card and the file where they belong, and its weights into the weights folder."""
    cards, weights = tmp_path / "cards", tmp_path / "weights"
    shutil.copytree(store.CARDS, cards)
    weights.mkdir()
    save_file({"scale": np.array(1000.0)}, weights / "toy.safetensors")
    digest = hashlib.sha256((weights / "toy.safetensors").read_bytes()).hexdigest()
    (cards / "toy.toml").write_text(CARD.format(sha256=digest))
    monkeypatch.setattr(reading, "CARDS", cards)
    monkeypatch.setattr(loading, "weights_folder", lambda: weights)
    monkeypatch.setitem(sys.modules, "napari_ctvlp.models.encoders.toy", sys.modules[__name__])
    yield weights
    verbs.forget()


def test_it_is_listed_and_answers_like_any_other(chest):
    assert "toy" in [card.id for card in store.cards("encoder")]
    labels = np.ones(chest.shape, np.uint8)
    anatomy = anatomy_from_labels(labels, chest, [(1, "soft_tissue")], source="drawn")
    heatmap = verbs.ground(chest, "something dense", anatomy=anatomy, model="toy")
    assert (heatmap.model, heatmap.kind, heatmap.verdict) == ("toy", "cosine", "cannot tell")
    assert np.linalg.norm(np.subtract(heatmap.peak_ras, MARKER_RAS)) < 20
    assert heatmap.shares == {"soft_tissue": pytest.approx(1)}
    through_air = verbs.ground(chest, "air", anatomy=anatomy, model="toy")
    np.testing.assert_array_equal(through_air.values, -heatmap.values)
    (row,) = verbs.score(chest, anatomy=anatomy, model="toy").rows
    assert row.margin == pytest.approx(2 * heatmap.score)
    place = transform(heatmap.affine, np.argwhere(heatmap.values == heatmap.peak)[0])
    np.testing.assert_allclose(place, heatmap.peak_ras)


def test_its_weights_are_verified_like_any_other(added):
    (added / "toy.safetensors").write_bytes(b"something else")
    with pytest.raises(ModelRefused, match=r"toy\.safetensors has the SHA-256"):
        store.verify(store.card("toy"))
