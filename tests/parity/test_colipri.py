"""COLIPRI: every stored array of the official class, from the same generated weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from napari_ctvlp.core.geometry import to_ipl
from napari_ctvlp.core.scan import Scan, Source
from napari_ctvlp.models.encoders.colipri import prepared
from napari_ctvlp.models.encoders.colipri_net import Colipri, Sizes, sliding_tokens

from . import rule
from .fixtures import Stored, close, load

pytestmark = pytest.mark.shared
#: "Small numbers made of large sums": the README asks for these bounds instead.
ABSOLUTE = {"similarity_map": 2e-6, "similarity_pooled": 2e-6, "additive_split": 2e-6,
            "additive_split_constant": 2e-6, "probabilities": 5e-5}  # fmt: skip


def network(stored: Stored) -> Colipri:
    image, text = stored.meta["image"], stored.meta["text"]
    sizes = Sizes(
        width=image["image_embed_dim"], depth=image["eva_depth"], heads=image["eva_numheads"],
        shared=image["projection_dim"], pool_heads=image["pooler_heads"],
        text_layers=text["layers"], text_heads=text["heads"], text_inner=text["inter"],
        vocabulary=text["vocab"],
    )  # fmt: skip
    net = Colipri(sizes).eval()
    net.load_state_dict({key: torch.tensor(v) for key, v in stored.state().items()})
    return net


def image_arrays(net: Colipri, picture: Tensor) -> dict[str, Tensor]:
    tower, outputs = net.image_encoder, []
    hooks = [
        block.register_forward_hook(lambda *call: outputs.append(call[2]))
        for block in tower.backbone.eva.blocks
    ]
    tokens = tower.backbone(picture)
    for hook in hooks:
        hook.remove()
    rows = tower.rows(tokens)
    dense = tower.pooler.dense(rows)
    pooled, weights = tower.pooler(rows)
    grid = tokens.shape[2:]

    def on_grid(x: Tensor) -> Tensor:
        return x.transpose(1, 2).unflatten(2, grid)

    return {
        "patch_embed": tower.backbone.down_projection["proj"](picture),
        "block_first": outputs[0],
        "block_mid": outputs[len(outputs) // 2],
        "block_last": outputs[-1],
        "tokens": tokens,
        "projected": on_grid(rows),
        "dense": on_grid(dense),
        "dense_unit": on_grid(normalize(dense, dim=-1)),
        "pooled": pooled,
        "pooled_unit": normalize(pooled, dim=-1),
        "pool_attention": weights[0],
    }


def text_arrays(net: Colipri, ids: Tensor, real: Tensor) -> dict[str, Tensor]:
    hidden = net.text_encoder.backbone(ids, real.long()).last_hidden_state
    pooled = net.text_encoder(ids, real)
    return {
        "text_hidden": hidden,
        "text_pooled": pooled,
        "text_unit": normalize(pooled, dim=-1),
        "text_unit_unmasked_pool_0_1_2": normalize(net.text_encoder.pooler(hidden)[0], dim=-1),
    }


def scores(net: Colipri, found: dict[str, Tensor]) -> dict[str, Tensor]:
    text, grid = found["text_unit"], found["dense_unit"].shape[2:]
    similarity = found["pooled_unit"] @ text.T
    rows = found["projected"][0].flatten(1).T
    pooler = net.image_encoder.pooler
    shares = pooler.share(rows, found["pool_attention"]) / found["pooled"].norm()
    return {
        "similarity_map": torch.einsum("bcxyz,tc->btxyz", found["dense_unit"], text),
        "similarity_pooled": similarity,
        "probabilities": (similarity / net.softmax_temperature).softmax(-1),
        "temperature": net.softmax_temperature,
        "additive_split": (shares @ text.T).T.unflatten(1, grid),
        "additive_split_constant": text @ pooler.attn.out_proj.bias / found["pooled"].norm(),
    }


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    ("name", "tol"),
    [
        ("tiny", 1e-5),
        pytest.param("full96", 2e-5, marks=pytest.mark.long),
        pytest.param("full192", 3e-5, marks=pytest.mark.long),
    ],
)
def test_every_stored_array(name: str, tol: float, parity: Path):
    stored = load(parity, f"colipri/{name}")
    edge, text = stored.meta["image"]["input_size"], stored.meta["text"]
    device = "cuda" if name == "full192" and torch.cuda.is_available() else "cpu"
    net = network(stored).to(device)
    picture = 2 * rule.volume(stored.seed, "image", (1, 1, edge, edge, edge)) - 1
    ids, mask = rule.token_ids(stored.seed, "text", 3, text["padded_length"], text["vocab"])
    with torch.inference_mode():
        found = image_arrays(net, torch.from_numpy(picture).to(device))
        words = torch.from_numpy(ids).to(device), torch.from_numpy(mask).bool().to(device)
        found |= text_arrays(net, *words)
        found |= scores(net, found)
    total = found["additive_split"].sum((1, 2, 3)) + found["additive_split_constant"]
    assert torch.allclose(total, found["similarity_pooled"][0], rtol=0, atol=1e-6)
    assert {key for key in stored.arrays if "sliding" not in key} == set(found)
    for key, value in found.items():
        close(value, stored, key, ABSOLUTE.get(key, tol), absolute=key in ABSOLUTE)


def test_windows_of_a_larger_image_are_stitched(parity: Path):
    stored = load(parity, "colipri/tiny")
    net = network(stored)
    picture = 2 * rule.volume(stored.seed, "image_big", (1, 1, 72, 48, 80)) - 1
    with torch.inference_mode():
        tokens = sliding_tokens(net.image_encoder.backbone, torch.from_numpy(picture), 48)
        pooled = net.image_encoder.pooler(net.image_encoder.rows(tokens))[0]
    close(tokens, stored, "sliding_tokens_72_48_80_window_48", 1e-5)
    close(normalize(pooled, dim=-1), stored, "sliding_pooled_unit", 1e-5)


@pytest.mark.parametrize(
    ("name", "order", "edge"),
    [("ras_40", "RAS", 40), ("sar_40", "SAR", 40), ("ras_64_pad", "RAS", 64)],
)
def test_the_image_it_is_fed(name: str, order: str, edge: int, parity: Path):
    with np.load(parity / "colipri" / "preprocess.npz") as file:
        stored = dict(file)
    view, affine = to_ipl(stored["hu"], stored["affine"])
    scan = Scan(view, affine, Source((), stored["hu"].shape, stored["affine"]))
    field = prepared(scan, order, edge)
    step = 2 if name == "ras_64_pad" else 1
    assert field.image.shape == (edge, edge, edge)
    assert np.abs(field.image[::step, ::step, ::step] - stored[name]).max() <= 1e-5
    assert np.abs(field.affine - stored[f"{name}_affine"]).max() <= 1e-4
