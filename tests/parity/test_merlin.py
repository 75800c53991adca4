"""Merlin: every stored array of the official class, from the same generated weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from napari_ctvlp.core.geometry import to_ipl
from napari_ctvlp.core.scan import Scan, Source
from napari_ctvlp.models.encoders.merlin import prepared
from napari_ctvlp.models.encoders.merlin_net import Merlin, Sizes

from . import rule
from .fixtures import Stored, close, load

pytestmark = pytest.mark.shared
#: "Small numbers made of large sums": the README asks for this bound instead.
ABSOLUTE = {"score": 2e-6, "additive_split_zxy": 2e-6}


def network(stored: Stored) -> Merlin:
    text = stored.meta["text"]
    sizes = Sizes(
        blocks=tuple(stored.meta["image"]["resnet_layers"]), text_width=text["hidden_size"],
        text_layers=text["num_hidden_layers"], text_heads=text["num_attention_heads"],
        text_inner=text["intermediate_size"], vocabulary=text["vocab_size"],
        positions=text["max_position_embeddings"], window=text["attention_window"],
    )  # fmt: skip
    net = Merlin(sizes).eval()
    net.load_state_dict({key: torch.tensor(v) for key, v in stored.state().items()})
    return net


def image_arrays(net: Merlin, picture: Tensor) -> dict[str, Tensor]:
    tower, out = net.image, {"maxpool": net.image.stem(picture)}
    for number in range(1, 5):
        name = f"layer{number}"
        last = list(tower.get_submodule(name).children())[-1]
        last.register_forward_hook(lambda *call, name=name: out.update({name: call[2]}))
    x = tower(picture)
    pooled = x.mean((2, 3, 4), keepdim=True)
    return {
        **out,
        "dense_head": tower.contrastive_head(x),
        "image_unit": normalize(tower.contrastive_head(pooled).flatten(1), dim=-1),
        "ehr_logits": tower.classifier(pooled).flatten(1),
        "image_embedding_mode": pooled.flatten(1)[None],
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "tol"), [("tiny", 1e-5), pytest.param("full", 3e-5, marks=pytest.mark.long)]
)
def test_every_stored_array(name: str, tol: float, parity: Path):
    stored = load(parity, f"merlin/{name}")
    net, text = network(stored), stored.meta["text"]
    picture = rule.volume(stored.seed, "image", stored.meta["image"]["shape"], block=16)
    ids, mask = rule.token_ids(
        stored.seed, "text", 3, text["padded_length"], text["vocab_size"], first=0, last=2, pad=1
    )
    words = torch.from_numpy(ids), torch.from_numpy(mask).bool()
    with torch.inference_mode():
        found = image_arrays(net, torch.from_numpy(picture))
        found["text_hidden"], found["text_unit"] = net.hidden(*words), net.text(*words)
        cells, unit = found["dense_head"], found["text_unit"]
        count, size = cells[0, 0].numel(), cells.mean((2, 3, 4)).norm()
        found["score"] = found["image_unit"] @ unit.T
        found["dense_cosine_zxy"] = torch.einsum("czxy,tc->tzxy", normalize(cells[0], dim=0), unit)
        split = torch.einsum("czxy,tc->tzxy", cells[0], unit) / (count * size)
    found["additive_split_zxy"] = split
    assert torch.allclose(split.sum((1, 2, 3)), found["score"][0], rtol=0, atol=1e-6)
    assert set(stored.arrays) == set(found)
    for key, value in found.items():
        close(value, stored, key, ABSOLUTE.get(key, tol), absolute=key in ABSOLUTE)


@pytest.mark.parametrize("name", ["lps_coarse", "ras_large_fov"])
def test_the_image_it_is_fed(name: str, parity: Path):
    with np.load(parity / "merlin" / "preprocess.npz") as file:
        stored = {key.removeprefix(f"{name}_"): value for key, value in file.items()}
    view, affine = to_ipl(stored["hu"], stored["affine"])
    scan = Scan(view, affine, Source((), stored["hu"].shape, stored["affine"]))
    field = prepared(scan)
    assert np.abs(field.image[::8, ::8, ::8] - stored["out"][0]).max() <= 1e-5
    assert np.abs(field.affine - stored["out_affine"]).max() <= 1e-4
    where = np.argwhere(field.image > 0)
    assert np.array_equal([where.min(0), where.max(0)], stored["nonzero_box"].T)
