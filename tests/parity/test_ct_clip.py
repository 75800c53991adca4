"""CT-CLIP computes what its authors' code computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_ctvlp.core import geometry as geo
from napari_ctvlp.models.encoders.ct_clip import ORDER, prepared
from napari_ctvlp.models.encoders.ct_clip_net import CtClip, Sizes, Steps

from . import rule
from .fixtures import Stored, close, exact, load
from .hosted import filled

pytestmark = pytest.mark.shared
#: Of the small numbers that are made of large sums.
SMALL = 2e-6


def sizes(meta: dict[str, Any]) -> Sizes:
    """Return the sizes of a stored set."""
    image, text = meta["image"], meta["text"]
    edge = image["patch_size"]
    return Sizes(
        image=tuple(image["shape"][2:]), patch=(image["temporal_patch_size"], edge, edge),
        width=image["dim"], codes=image["codebook_size"], spatial=image["spatial_depth"],
        temporal=image["temporal_depth"], heads=image["heads"], head_width=image["dim_head"],
        shared=image["dim_latent"], text_width=text["hidden_size"],
        text_layers=text["num_hidden_layers"], text_heads=text["num_attention_heads"],
        text_inner=text["intermediate_size"], vocabulary=text["vocab_size"],
    )  # fmt: skip


def check_tower(steps: Steps, stored: Stored, tol: float) -> None:
    close(steps.patches, stored, "patch_embed", tol)
    close(steps.bias, stored, "spatial_bias", tol)
    close(steps.spatial, stored, "spatial_out", tol)
    close(steps.temporal, stored, "temporal_out", tol)
    close(steps.before, stored, "tokens_before_vq", tol)


def check_scores(net: CtClip, tokens: torch.Tensor, stored: Stored, tol: float) -> None:
    """Compare everything that follows the codes."""
    close(tokens, stored, "tokens", tol)
    text = stored.meta["text"]
    ids, real = rule.token_ids(stored.seed, "text", 2, text["padded_length"], text["vocab_size"])
    texts = net.text(torch.from_numpy(ids), torch.from_numpy(real))
    close(texts, stored, "text_latent", tol)
    vector = net.image_latent(tokens)
    close(vector, stored, "image_latent_unnormalised", tol)
    close(vector / vector.norm(), stored, "image_latent", tol)
    cosines = texts @ vector[0] / vector.norm()
    scores = cosines * net.temperature.exp()
    close(net.temperature, stored, "temperature", tol)
    close(scores, stored, "score", SMALL, absolute=True)
    close(scores.softmax(0), stored, "probability", 5e-5, absolute=True)
    split = torch.einsum("thws,ps->pthw", net.shares(tokens[0]) / vector.norm(), texts)
    close(split, stored, "additive_split", SMALL, absolute=True)
    assert torch.allclose(split.sum((1, 2, 3)), cosines, atol=1e-6)


@torch.inference_mode()
def test_tiny(parity: Path):
    stored = load(parity, "ct_clip/tiny")
    net = filled(CtClip(sizes(stored.meta)), stored, "ct_clip")
    image = 2 * rule.volume(stored.seed, "image", stored.meta["image"]["shape"], block=20) - 1
    steps = net.visual_transformer(torch.from_numpy(image))
    check_tower(steps, stored, 1e-5)
    exact(steps.codes[0], stored, "code_index")
    close(steps.margin.flatten(), stored, "code_margin", 1e-5)
    check_scores(net, steps.tokens, stored, 1e-5)


@pytest.mark.long
@torch.inference_mode()
def test_full(parity: Path):
    stored = load(parity, "ct_clip/full")
    net = filled(CtClip(sizes(stored.meta)), stored, "ct_clip")
    image = 2 * rule.volume(stored.seed, "image", stored.meta["image"]["shape"], block=20) - 1
    steps = net.visual_transformer(torch.from_numpy(image))
    check_tower(steps, stored, 2e-5)
    codes = torch.from_numpy(stored.arrays["code_index"].astype(np.int64))
    assert (steps.codes[0] != codes).float().mean() <= 0.005
    close(steps.margin.flatten(), stored, "code_margin", SMALL, absolute=True)
    check_scores(net, net.visual_transformer.vq.rows(codes)[None], stored, 2e-5)


@pytest.mark.parametrize("case", ["small", "large"])
def test_preprocessing(case: str, parity: Path):
    stored = load(parity, "ct_clip/preprocess")
    told = stored.meta["cases"][case]
    raw = stored.arrays[f"{case}_raw"].astype(np.float32) * told["slope"] + told["intercept"]
    steps = told["z_spacing"], told["xy_spacing"], told["xy_spacing"]
    view = raw.transpose(2, 0, 1)
    affine = geo.oriented_affine(ORDER, view.shape, steps)
    image, place = prepared(view, affine, Sizes().image)
    one, a, b, c = told["stride"]
    kept = image[None, ::a, ::b, ::c]
    assert one == 1
    assert image[None].shape == tuple(told["shape"])
    assert np.abs(kept - stored.arrays[f"{case}_out"]).max() <= 1e-5
    found = [image.mean(dtype=np.float64), image.std(dtype=np.float64), np.abs(image).max()]
    assert np.abs(np.array(found) - told["stats"]).max() <= 1e-5
    inside = np.argwhere(image > -1)
    box = np.stack([inside.min(0), inside.max(0)], 1)
    assert np.array_equal(box, stored.arrays[f"{case}_inside_box"])
    middle = geo.transform(place, (np.array(image.shape) - 1) / 2)
    assert np.abs(middle).max() < max(steps)
