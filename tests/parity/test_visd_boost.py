"""ViSD-Boost computes what its authors' code computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_ctvlp.models.encoders.fvlm_prepare import cut, window_of
from napari_ctvlp.models.encoders.organ_query import flags, probabilities
from napari_ctvlp.models.encoders.visd_boost import PATCH
from napari_ctvlp.models.encoders.visd_boost_net import STRIDES, Sizes, VisdBoost

from . import rule
from .fixtures import Stored, close, exact, load
from .hosted import filled

pytestmark = pytest.mark.shared
ORGANS = ("lung", "heart", "esophagus", "aorta")
#: Of the small numbers that are made of large sums.
SMALL = 2e-6


def sizes(text: dict[str, Any]) -> Sizes:
    """Return the text tower of a stored set."""
    return Sizes(
        text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"],
        text["intermediate_size"], text["vocab_size"],
    )  # fmt: skip


def check_texts(net: VisdBoost, stored: Stored, tol: float) -> torch.Tensor:
    text = stored.meta["text"]
    ids, real = rule.token_ids(stored.seed, "text", 2, text["padded_length"], text["vocab_size"])
    ids, real = torch.from_numpy(ids), torch.from_numpy(real)
    close(net.hidden(ids, real), stored, "text_hidden", tol)
    texts = net.text(ids, real)
    close(texts, stored, "text_unit", tol)
    return texts


def check_organ(
    net: VisdBoost, levels: list, texts: torch.Tensor, stored: Stored, organ: str, tol: float
) -> None:
    """Compare everything an organ's own tokens go through."""
    number = ORGANS.index(organ)
    normal = net.normal(levels[3], number)
    close(normal.latent[None], stored, f"{organ}_vae_latent", tol)
    close(normal.decoded[None], stored, f"{organ}_vae_recon", tol)
    exact(normal.codes, stored, f"{organ}_code_index")
    close(normal.margin, stored, f"{organ}_code_margin", max(tol, 1e-4) if tol > 1e-5 else tol)
    rows = net.hybrid(levels, normal.tokens, number)
    close(rows[None], stored, f"{organ}_hybrid", tol)
    found = net.pool(rows, number)
    close(found.roi[None, None], stored, f"{organ}_roi", tol)
    close(found.unit[None], stored, f"{organ}_image_unit", tol)
    chances = probabilities(found.unit, texts, net.temp)
    close(chances[None], stored, f"{organ}_prob", 5e-5, absolute=True)
    size = found.vector.norm()
    split, constant = texts @ found.shares.T / size, texts @ found.rest / size
    close(split, stored, f"{organ}_additive_split", SMALL, absolute=True)
    close(constant, stored, f"{organ}_additive_split_constant", SMALL, absolute=True)
    sums = [part.sum(1) for part in split.split([len(rows) for rows in levels], 1)]
    close(torch.stack(sums), stored, f"{organ}_additive_split_level_sums", SMALL, absolute=True)
    assert torch.allclose(split.sum(1) + constant, texts @ found.unit, atol=1e-6)


@torch.inference_mode()
def check(parity: Path, name: str, tol: float) -> None:
    stored = load(parity, f"visd_boost/{name}")
    net = filled(VisdBoost(sizes(stored.meta["text"])), stored, "visd_boost")
    shape = stored.meta["image"]["shape"]
    image = torch.from_numpy(rule.volume(stored.seed, "image", shape, block=8))
    label = torch.from_numpy(rule.ellipsoids(shape[2:], stored.meta["label_rows"]))
    steps = tuple(slice(None, None, n) for n in stored.step("label", 5))
    exact(label[None, None][steps], stored, "label")
    levels = [x[0].flatten(1).T for x in net.visual_encoder(image)]
    on = [[flags(label == 1 + n, stride) for n in range(len(ORGANS))] for stride in STRIDES]
    for number, (rows, marks) in enumerate(zip(levels, on, strict=True), 1):
        close(rows[None], stored, f"tokens_level{number}", tol)
        counts = torch.tensor([[int(mark.sum()) for mark in marks]])
        exact(counts, stored, f"organ_flag_count_level{number}")
    texts = check_texts(net, stored, tol)
    for number, organ in enumerate(ORGANS):
        if f"{organ}_prob" in stored.arrays:
            own = [rows[marks[number]] for rows, marks in zip(levels, on, strict=True)]
            check_organ(net, own, texts, stored, organ, tol)


def test_tiny(parity: Path):
    check(parity, "tiny", 1e-5)


@pytest.mark.long
def test_full(parity: Path):
    check(parity, "full", 3e-5)


@pytest.mark.parametrize("case", ["organ1_16_32_48", "organ1_24_64_64", "organ2_16_32_48",
                                  "organ2_24_64_64"])  # fmt: skip
def test_window(case: str, parity: Path):
    stored = load(parity, "visd_boost/preprocess")
    told, (organ, *roi) = stored.meta["cases"][case], map(int, case[5:].split("_"))
    image = rule.volume(51, "crop", (1, 1, 40, 70, 90))[0, 0]
    rows = [(1, (10, 20, 70), (6, 12, 14)), (2, (30, 50, 20), (5, 9, 9))]
    labels = rule.ellipsoids(image.shape, rows) == organ
    window = window_of(labels, PATCH, tuple(roi))
    assert window is not None
    assert [1, 1, *window.size] == told["crop"]
    padded = cut(image, window)
    assert [1, *padded.shape] == told["padded"]
    step = slice(None, None, told["stride"])
    assert np.array_equal(padded[None][:, step, step, step], stored.arrays[case])
    assert np.allclose(
        [padded.mean(dtype=np.float64), padded.std(dtype=np.float64), padded.max()],
        told["stats"], atol=1e-6,
    )  # fmt: skip
    assert cut(labels, window).sum() == told["label_sum"]
