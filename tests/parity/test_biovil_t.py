"""BioViL and BioViL-T: every stored array of the official classes, from the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from napari_ctvlp.models.encoders.biovil_net import ImageTower, Sizes, TextTower
from napari_ctvlp.models.encoders.biovil_t import over_picture, patches_of, prepared

from . import rule
from .fixtures import Stored, close, exact, load

pytestmark = pytest.mark.shared
#: "Small numbers made of large sums": the README asks for this bound instead.
ABSOLUTE = {"score": 2e-6, "additive_split": 2e-6}
WORDS = "bert.embeddings.word_embeddings.weight"
#: The authors' class ties this to the table of words and loads it later, so it counts.
TIED = "cls.predictions.decoder.weight"


def networks(stored: Stored) -> tuple[ImageTower, TextTower]:
    kind, text = stored.meta["image"]["img_encoder_type"], stored.meta["text"]
    basic = kind.startswith("resnet18")
    sizes = Sizes(
        blocks=(2, 2, 2, 2) if basic else (3, 4, 6, 3), basic=basic,
        two_visits="multi_image" in kind, text_width=text["hidden_size"],
        text_layers=text["num_hidden_layers"], text_heads=text["num_attention_heads"],
        text_inner=text["intermediate_size"], vocabulary=text["vocab_size"],
    )  # fmt: skip
    image, words = ImageTower(sizes).eval(), TextTower(sizes).eval()
    assert rule.keys_digest(stored.meta["keys"]) == stored.meta["image_keys_sha256"]
    image.load_state_dict({key: torch.tensor(v) for key, v in stored.state().items()})
    made = stored.state("text_keys")
    made[WORDS] = made[TIED]
    rest = words.load_state_dict({k: torch.tensor(v) for k, v in made.items()}, strict=False)
    assert not rest.missing_keys
    assert all(key.startswith("cls.predictions.") for key in rest.unexpected_keys)
    return image, words


def text_arrays(tower: TextTower, stored: Stored) -> dict[str, Tensor]:
    vocabulary = stored.meta["text"]["vocab_size"]
    ids, mask = rule.token_ids(stored.seed, "text", 1, 12, vocabulary)
    count = int(mask.sum())
    assert count == stored.meta["text"]["tokens"]
    raw = tower(torch.from_numpy(ids[:, :count]), torch.ones(1, count, dtype=torch.bool))
    return {"text_raw": raw, "text_unit": normalize(raw, dim=-1)}


@pytest.mark.parametrize(
    ("name", "tol"),
    [
        ("tiny", 1e-5),
        pytest.param("full", 3e-5, marks=pytest.mark.long),
        pytest.param("full_biovil", 3e-5, marks=pytest.mark.long),
    ],
)
def test_every_stored_array(name: str, tol: float, parity: Path):
    stored = load(parity, f"biovil_t/{name}")
    image, words = networks(stored)
    with np.load(parity / "biovil_t" / "preprocess.npz") as file:
        pixels = file["picture"]
    crop = stored.meta["image"]["center_crop"]
    picture = torch.from_numpy(prepared(pixels, crop)).expand(1, 3, -1, -1)
    with torch.inference_mode():
        patches = image.encoder(picture)
        projected = image.project(patches)
        found = {
            "preprocessed": picture,
            "trunk": image.encoder.encoder(picture),
            "patch_fused": patches,
            "pooled_fused": patches.mean((2, 3)),
            "projected_patches": projected,
            "projected_global": projected.mean((2, 3)),
            **text_arrays(words, stored),
        }
        if stored.meta["encoder"] == "BioViL-T":
            both = image.encoder(picture, picture.flip(-1))
            found["with_prior_patch_fused"] = both
            found["with_prior_projected_patches"] = image.project(both)
            found["with_prior_projected_global"] = image.project(both).mean((2, 3))
    found["patch_cosine"] = torch.einsum("chw,c->hw", normalize(projected, dim=1)[0],
                                         found["text_unit"][0])  # fmt: skip
    text = found["text_unit"][0].numpy()
    made = patches_of(projected[0].permute(1, 2, 0).numpy())
    low = made.smooth @ text
    found["smoothed_map"], found["additive_split"] = low, made.parts @ text
    found["score"] = np.atleast_1d(made.vector @ text)
    assert found["additive_split"].sum() == pytest.approx(found["score"].item(), abs=1e-6)
    for key, value in found.items():
        close(value, stored, key, ABSOLUTE.get(key, tol), absolute=key in ABSOLUTE)
    maps = {f"map_{way}": over_picture(low, pixels.shape, crop, way)
            for way in ("nearest", "bilinear")}  # fmt: skip
    for key, value in maps.items():
        compare_map(value, stored, key, tol)
    whole = np.isnan(maps["map_nearest"])
    exact(np.array([whole.all(1).sum(), whole.all(0).sum()]), stored, "map_nan_mask_rows_cols")
    assert set(stored.arrays) == {*found, *maps, "map_nan_mask_rows_cols"}


def compare_map(ours: np.ndarray, stored: Stored, name: str, tol: float) -> None:
    """Compare a map whose stored copy is NaN where the model did not look."""
    rows, columns = stored.step(name, 2)
    part, theirs = ours[::rows, ::columns], stored.arrays[name]
    assert ours.shape == tuple(stored.meta["stats_mean_std_absmax_shape"][name][-1])
    assert np.array_equal(np.isnan(part), np.isnan(theirs))
    assert np.nanmax(np.abs(part - theirs)) <= tol * np.nanmax(np.abs(theirs))


def test_the_picture_it_is_fed(parity: Path):
    with np.load(parity / "biovil_t" / "preprocess.npz") as file:
        stored = dict(file)
    for crop in (448, 480):
        found = np.rint(prepared(stored["picture"], crop) * 255)
        apart = np.abs(found - stored[f"out{crop}"].astype(int))
        assert apart.max() <= 1
        assert (apart > 0).mean() <= 1e-3
