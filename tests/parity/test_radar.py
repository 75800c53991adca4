"""RADAR computes what its authors' code computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ctvlp.models.encoders.organ_query import flags, probabilities
from napari_ctvlp.models.encoders.radar_net import ORGANS, STRIDES, Radar, Sizes

from . import rule
from .fixtures import close, exact, load
from .hosted import filled

pytestmark = pytest.mark.shared
TOL, SMALL = 2e-5, 2e-6


@torch.inference_mode()
def test_tiny(parity: Path):
    stored = load(parity, "visd_boost/radar_tiny")
    text = stored.meta["text"]
    sizes = Sizes(
        text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"],
        text["intermediate_size"], text["vocab_size"],
    )  # fmt: skip
    net = filled(Radar(sizes), stored, "radar")
    ids, real = rule.token_ids(stored.seed, "text", 2, text["padded_length"], text["vocab_size"])
    texts = net.text(torch.from_numpy(ids), torch.from_numpy(real))
    close(texts, stored, "text_unit", TOL)

    image = rule.volume(stored.seed, "image", stored.meta["image"]["shape"], block=8)
    seen = net.visual_encoder(torch.from_numpy(image))
    chances = seen.logits.softmax(0)
    close(chances[None], stored, "seg_probs", TOL)
    first, second = chances.topk(2, 0).values
    close((first - second)[None], stored, "seg_margin_coarse", TOL)
    steps = tuple(slice(None, None, n) for n in stored.step("pred_mask", 4))
    assert np.mean(seen.mask[None].numpy()[steps] != stored.arrays["pred_mask"]) <= 0.001

    rows, on = [], []
    for number, (tokens, stride) in enumerate(zip(seen.scales, STRIDES, strict=True), 1):
        own = tokens.flatten(1).T
        close(own[None], stored, f"tokens_scale{number}", TOL)
        marks = torch.stack([flags(seen.mask == 1 + n, stride) for n in range(ORGANS)])
        kept = stored.arrays[f"flags_scale{number}_packed"]
        theirs = torch.from_numpy(np.unpackbits(kept, axis=1, count=len(own))).bool()
        assert (marks != theirs).float().mean() <= 0.001
        exact(theirs.sum(1)[None], stored, f"flag_count_scale{number}")
        rows.append(own)
        on.append(theirs)
    for organ in stored.meta["organs_used"]:
        own = torch.cat([x[marks[organ]] for x, marks in zip(rows, on, strict=True)])
        found = net.pool(own, organ)
        size = found.vector.norm()
        close(found.unit[None], stored, f"organ{organ}_unit", TOL)
        pair = probabilities(found.unit, texts, net.temp)
        close(pair[None], stored, f"organ{organ}_prob", 5e-5, absolute=True)
        split, constant = texts @ found.shares.T / size, texts @ found.rest / size
        close(split, stored, f"organ{organ}_additive_split", SMALL, absolute=True)
        close(constant, stored, f"organ{organ}_additive_split_constant", SMALL, absolute=True)
        assert torch.allclose(split.sum(1) + constant, texts @ found.unit, atol=1e-6)
