"""The released training loss, reproduced from generated weights to the last gradient.

The network below is the smallest that makes the stored numbers comparable; what they are and
which tolerance holds is in the README beside them.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.objectives.fvlm import complete, fvlm_loss, meanings

pytestmark = pytest.mark.shared
TOLERANCE = 3e-5
PATCH = (16, 16, 32)
Weights = dict[str, Tensor]


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """``$CTVLP_PARITY``, or the folder in the shared data."""
    named = os.environ.get("CTVLP_PARITY")
    return Path(named) if named else request.getfixturevalue("shared") / "parity"


@pytest.fixture
def stored(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "fvlm" / "tiny.npz") as file:
        return dict(file)


@pytest.fixture
def rule(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("weights_rule", folder / "weights_rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def linear(x: Tensor, w: Weights, key: str) -> Tensor:
    return functional.linear(x, w[f"{key}.weight"], w[f"{key}.bias"])


def norm(x: Tensor, w: Weights, key: str, eps: float) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"], eps)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    share = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias).softmax(-1)
    return (share @ v).transpose(1, 2).flatten(2)


def image_levels(x: Tensor, w: Weights, base: tuple[int, ...]) -> list[Tensor]:
    patch = "visual_encoder.patch_embedding.patch_embeddings"
    x = functional.conv3d(x, w[f"{patch}.weight"], w[f"{patch}.bias"], stride=PATCH)
    table = w["visual_encoder.patch_embedding.position_embeddings"]
    table = table.transpose(1, 2).reshape(1, -1, *base)
    table = functional.interpolate(table, x.shape[2:], mode="trilinear", align_corners=False)
    x = (x + table).flatten(2).transpose(1, 2)
    levels = []
    for block in range(12):
        key = f"visual_encoder.blocks.{block}"
        q, k, v = linear(norm(x, w, f"{key}.norm1", 1e-5), w, f"{key}.attn.qkv").chunk(3, -1)
        x = x + linear(attend(q, k, v, 4), w, f"{key}.attn.out_proj")
        inner = linear(norm(x, w, f"{key}.norm2", 1e-5), w, f"{key}.mlp.linear1")
        x = x + linear(functional.gelu(inner), w, f"{key}.mlp.linear2")
        if block in (3, 6, 9):
            levels.append(x)
    return [*levels, norm(x, w, "visual_encoder.norm", 1e-5)]


def organ_vector(levels: list[Tensor], on: Tensor, organ: int, w: Weights) -> Tensor:
    rows = torch.cat([level[on] for level in levels])[None]
    weights = w["attention.in_proj_weight"].chunk(3)
    biases = w["attention.in_proj_bias"].chunk(3)
    inputs = (w["query_tokens"][organ][None, None], rows, rows)
    qkv = [functional.linear(*t) for t in zip(inputs, weights, biases, strict=True)]
    pooled = linear(attend(*qkv, 4), w, "attention.out_proj")[0, 0]
    return functional.normalize(linear(pooled, w, f"vision_projs.{organ}"), dim=0)


def text_vectors(ids: Tensor, lengths: Tensor, w: Weights) -> Tensor:
    base = "text_encoder.embeddings"
    places = w[f"{base}.position_embeddings.weight"][: ids.shape[1]]
    x = norm(w[f"{base}.word_embeddings.weight"][ids] + places, w, f"{base}.LayerNorm", 1e-12)
    bias = -10000.0 * (torch.arange(ids.shape[1]) >= lengths[:, None])[:, None, None]
    for layer in range(2):
        key = f"text_encoder.encoder.layer.{layer}"
        own = f"{key}.attention.self"
        q, k, v = (linear(x, w, f"{own}.{n}") for n in ("query", "key", "value"))
        out = linear(attend(q, k, v, 4, bias), w, f"{key}.attention.output.dense")
        x = norm(x + out, w, f"{key}.attention.output.LayerNorm", 1e-12)
        inner = functional.gelu(linear(x, w, f"{key}.intermediate.dense"))
        x = norm(x + linear(inner, w, f"{key}.output.dense"), w, f"{key}.output.LayerNorm", 1e-12)
    return functional.normalize(linear(x[:, 0], w, "text_proj"), dim=1)


def test_the_released_loss_and_its_gradients(stored: dict[str, np.ndarray], rule: Any):
    meta = json.loads(str(stored["meta"]))
    assert (meta["rule_version"], rule.keys_digest(meta["keys"])) == (1, meta["keys_sha256"])
    filled = {k: torch.from_numpy(v) for k, v in rule.fill(meta["keys"], meta["seed"]).items()}
    w = {k: v.requires_grad_(v.is_floating_point()) for k, v in filled.items()}
    inputs, organs = meta["inputs"], meta["organs"]
    shape = inputs["loss"]["shape"]
    image = torch.from_numpy(rule.volume(meta["seed"], "loss", shape, inputs["loss"]["block"]))
    labels = [rule.ellipsoids(shape[2:], rows) for rows in inputs["loss_labels"]]
    labels = torch.from_numpy(np.stack(labels))
    base = [n // p for n, p in zip(meta["config"]["img_size"], PATCH, strict=True)]
    levels = image_levels(image, w, tuple(base))
    ids, lengths = (torch.from_numpy(stored[f"caption_{n}"].astype(int)) for n in ("ids", "len"))
    vectors = dict(zip(inputs["caption_tokens_for"], text_vectors(ids, lengths, w), strict=True))
    counted = complete(labels, len(organs))
    flags, terms = [], {}
    for number, organ in enumerate(organs):
        usual = f"{organ} shows no significant abnormalities."
        raw = inputs["loss_captions"][organ]
        normal = [text.startswith(usual) for text in raw]
        flags.append([not each for each in normal])
        who = counted[:, number].nonzero().flatten().tolist()
        mask = (labels == number + 1).float()[:, None]
        on = functional.max_pool3d(mask, PATCH, PATCH).flatten(1) > 0
        seen = [organ_vector([level[n] for level in levels], on[n], number, w) for n in who]
        said = [vectors[raw[n].removeprefix(usual) or raw[n]] for n in who]
        meaning = meanings([raw[n] for n in who], [normal[n] for n in who])
        loss = fvlm_loss(torch.stack(seen), torch.stack(said), meaning, 1 / w["temp"])
        if loss.requires_grad:
            terms[f"{organ}_itc"] = loss
    total = sum(terms.values())
    total.backward()
    assert list(terms) == meta["loss_terms"]
    close(total.item(), stored["loss.total"])
    close([t.item() for t in terms.values()], stored["loss.terms"])
    close([w[k].grad.norm().item() for k in meta["loss_grad_keys"]], stored["loss.grad_norms"])
    assert np.array_equal(np.array(flags).T, stored["loss.abnormal_flags"])


def close(ours: Any, theirs: np.ndarray) -> None:
    error = np.abs(np.asarray(ours, np.float64) - theirs).max()
    assert error <= TOLERANCE * np.sqrt((theirs**2).mean())
