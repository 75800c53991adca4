"""fVLM against what its authors' code gave on generated weights and generated scans."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ctvlp.models.encoders import fvlm_prepare as prepare
from napari_ctvlp.models.encoders.fvlm_net import Fvlm, ImageTower, Sizes
from napari_ctvlp.models.encoders.organ_query import flags
from napari_ctvlp.training.objectives.fvlm import complete, fvlm_loss, meanings

from . import rule
from .fixtures import Stored, close, exact, load

pytestmark = pytest.mark.shared
#: Relative to the root mean square of the stored array; probabilities absolute.
TOLERANCE, PROBABILITY = 3e-5, 5e-5
TOTALSEGMENTATOR = {**dict.fromkeys(range(10, 15), 1), 51: 2, 61: 2, 15: 3, 52: 4}


def sizes_of(stored: Stored) -> Sizes:
    config, text = stored.meta["config"], stored.meta["config"]["text"]
    return Sizes(
        config["hidden"],
        config["mlp"],
        config["layers"],
        config["heads"],
        config["pool_heads"],
        config["embed"],
        len(stored.meta["organs"]),
        tuple(config["patch"]),
        tuple(config["img_size"]),
        {
            "width": text["hidden_size"],
            "layers": text["num_hidden_layers"],
            "heads": text["num_attention_heads"],
            "inner": text["intermediate_size"],
            "vocabulary": text["vocab_size"],
            "positions": text["max_position_embeddings"],
        },
    )


def network(stored: Stored) -> Fvlm:
    """Return the network, filled by official key; only the position ids are left over."""
    net = Fvlm(sizes_of(stored)).eval().requires_grad_(False)
    state = {key: torch.from_numpy(value) for key, value in stored.state().items()}
    missing, odd = net.load_state_dict(state, strict=False)
    assert missing == []
    assert odd == ["text_encoder.embeddings.position_ids"]
    return net


def volume(stored: Stored, name: str) -> torch.Tensor:
    made = stored.meta["inputs"][name]
    return torch.from_numpy(rule.volume(stored.seed, name, made["shape"], made["block"]))


def check_tower(tower: ImageTower, stored: Stored, name: str) -> None:
    image = volume(stored, name)
    close(tower.patch_embedding(image), stored, f"{name}.embed", TOLERANCE)
    levels = tower(image)
    for number in range(4):
        close(levels[:, number], stored, f"{name}.level{number}", TOLERANCE)


def check_texts(net: Fvlm, stored: Stored) -> torch.Tensor:
    """Compare hidden states and unit vectors; returns the stored vectors."""
    ids, lengths = (stored.arrays[f"prompt_{name}"].astype(np.int64) for name in ("ids", "len"))
    mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64))
    ids = torch.from_numpy(ids)
    first = int(lengths[:2].max())
    hidden = net.text_encoder(input_ids=ids[:2, :first], attention_mask=mask[:2, :first])
    close(hidden.last_hidden_state, stored, "text.hidden_first_item", TOLERANCE)
    units = net.texts(ids, mask).unflatten(0, (-1, 2))
    close(units, stored, "text.feat", TOLERANCE)
    return units


def check_scores(net: Fvlm, stored: Stored, units: torch.Tensor) -> None:
    """Encode every organ's window and score every finding."""
    config, organs = stored.meta["config"], stored.meta["organs"]
    image = volume(stored, "eval")[0, 0].numpy()
    labels = rule.ellipsoids(config["volume"], config["labels"])
    exact(np.bincount(labels.ravel()), stored, "eval.label_counts")
    vectors = []
    for number, organ in enumerate(organs):
        mask = labels == number + 1
        window = prepare.window_of(mask, net.sizes.patch, tuple(config["roi"]))
        exact([*window.start, *window.size, *window.padded], stored, f"eval.{organ}.window")
        on = flags(torch.from_numpy(prepare.cut(mask, window)), net.sizes.patch)
        exact([int(on.sum()), len(on)], stored, f"eval.{organ}.tokens")
        levels = net.visual_encoder(torch.from_numpy(prepare.cut(image, window))[None, None])[0]
        seen = net.pool(levels, on, number)
        close(seen.pooled[None], stored, f"eval.{organ}.pooled", TOLERANCE)
        close(seen.unit[None], stored, f"eval.{organ}.feat", TOLERANCE)
        assert (seen.split.sum(0) - seen.unit).abs().max() < 1e-6
        vectors.append(seen.unit)
    rows = [organs.index(item[0]) for item in stored.meta["items"]]
    logits = torch.einsum("fs,fps->fp", torch.stack(vectors)[rows], units) / net.temp
    close(logits, stored, "eval.logit", TOLERANCE)
    close(logits.softmax(1), stored, "eval.prob_pair", PROBABILITY, absolute=True)
    close(logits.softmax(1)[:, 1], stored, "eval.prob", PROBABILITY, absolute=True)


def test_tiny(parity: Path):
    stored = load(parity, "fvlm/tiny")
    net = network(stored)
    check_tower(net.visual_encoder, stored, "tower")
    check_scores(net, stored, check_texts(net, stored))


def test_position_tables_of_other_grids(parity: Path):
    stored = load(parity, "fvlm/tiny")
    told = stored.meta["grid_tower"]
    sizes = Sizes(
        48, 96, 12, 4, image=tuple(told["img_size"]), patch=tuple(told["patch"]), text={"width": 1}
    )
    tower = ImageTower(sizes).eval().requires_grad_(False)
    rows = [
        (told["key_prefix"] + k, tuple(v.shape), "float32") for k, v in tower.state_dict().items()
    ]
    assert rule.keys_digest(rows) == told["keys_sha256"]
    filled = rule.fill(rows, stored.seed)
    tower.load_state_dict(
        {k.removeprefix(told["key_prefix"]): torch.from_numpy(v) for k, v in filled.items()}
    )
    for name in ("grid_same", "grid_wider", "grid_smaller"):
        check_tower(tower, stored, name)


def test_released_loss_and_its_gradients(parity: Path):
    stored = load(parity, "fvlm/tiny")
    net, told = network(stored).requires_grad_(True), stored.meta["inputs"]
    patch, organs = net.sizes.patch, stored.meta["organs"]
    labels = [rule.ellipsoids(told["loss"]["shape"][2:], rows) for rows in told["loss_labels"]]
    labels = torch.from_numpy(np.stack(labels))
    levels = net.visual_encoder(volume(stored, "loss"))
    ids, lengths = (stored.arrays[f"caption_{name}"].astype(np.int64) for name in ("ids", "len"))
    mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64))
    said = dict(
        zip(told["caption_tokens_for"], net.texts(torch.from_numpy(ids), mask), strict=True)
    )
    counted, terms, abnormal = complete(labels, len(organs)), {}, []
    for number, organ in enumerate(organs):
        usual, raw = f"{organ} shows no significant abnormalities.", told["loss_captions"][organ]
        normal = [text.startswith(usual) for text in raw]
        abnormal.append(np.logical_not(normal))
        who = counted[:, number].nonzero().flatten().tolist()
        images = [
            net.pool(levels[n], flags(labels[n] == number + 1, patch), number).unit for n in who
        ]
        texts = [said[raw[n].removeprefix(usual) or raw[n]] for n in who]
        meaning = meanings([raw[n] for n in who], [normal[n] for n in who])
        loss = fvlm_loss(torch.stack(images), torch.stack(texts), meaning, 1 / net.temp)
        if loss.requires_grad:
            terms[f"{organ}_itc"] = loss
    total = sum(terms.values())
    total.backward()
    assert list(terms) == stored.meta["loss_terms"]
    close(total, stored, "loss.total", TOLERANCE)
    close(torch.stack([*terms.values()]), stored, "loss.terms", TOLERANCE)
    grown = dict(net.named_parameters())
    norms = [grown[key].grad.norm().item() for key in stored.meta["loss_grad_keys"]]
    close(norms, stored, "loss.grad_norms", TOLERANCE)
    exact(np.array(abnormal).T, stored, "loss.abnormal_flags")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_full_size(parity: Path):
    stored = load(parity, "fvlm/full")
    net = network(stored)
    check_tower(net.visual_encoder, stored, "tower_train")
    check_scores(net, stored, check_texts(net, stored))


@pytest.mark.parametrize("name", ["aniso_lps", "small_ras", "oblique", "permuted"])
def test_preprocessing(name: str, parity: Path):
    stored = load(parity, "fvlm/preprocess")
    told, organs = stored.meta["phantoms"][name], range(1, 5)
    noise = rule.volume(stored.seed, f"ct_{name}", told["shape"], 8).astype(np.float64)
    hu = np.rint(-1300 + 2600 * noise).astype(np.int16)
    assert int(hu.sum(dtype=np.int64)) == told["hu_sum"]
    house = np.zeros(256, np.uint8)
    house[list(TOTALSEGMENTATOR)] = list(TOTALSEGMENTATOR.values())
    labels = house[rule.ellipsoids(told["shape"], told["labels"])]
    target = prepare.target_shape(hu.shape, np.array(told["affine"]))
    assert list(target) == told["resized_shape"]
    resized, small = prepare.resized(hu, target), prepare.resized_labels(labels, target)
    close(
        resized,
        stored,
        f"{name}.resized",
        1e-3,
        absolute=True,
        step=stored.meta["steps"]["resized"],
    )
    exact(np.bincount(small.ravel(), minlength=5), stored, f"{name}.resized.label_counts")
    assert hashlib.sha256(np.ascontiguousarray(small)).hexdigest() == told["resized_label_sha256"]
    framed = prepare.framed(resized, small)
    assert list(framed.image.shape) == told["processed_shape"]
    close(
        framed.image,
        stored,
        f"{name}.image",
        1e-6,
        absolute=True,
        step=stored.meta["steps"]["image"],
    )
    middle = tuple(
        slice(n // 2, n // 2 + k) for n, k in zip(framed.image.shape, (6, 24, 32), strict=True)
    )
    close(framed.image[middle], stored, f"{name}.image_block", 1e-6, absolute=True, step=(1, 1, 1))
    own = np.ascontiguousarray(framed.labels)
    assert hashlib.sha256(own).hexdigest() == told["processed_label_sha256"]
    exact(np.bincount(own.ravel(), minlength=5), stored, f"{name}.label_counts")
    exact([boxes(own == organ) for organ in organs], stored, f"{name}.label_boxes")
    exact([windows(own == organ) for organ in organs], stored, f"{name}.windows")


def boxes(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return first and last index per axis, -1 of an empty mask."""
    if not mask.any():
        return [(-1, -1)] * 3
    return [(int(places.min()), int(places.max())) for places in mask.nonzero()]


def windows(mask: np.ndarray) -> list[int]:
    """Return start, size, padded size and the organ's voxels inside, -1 of an empty mask."""
    window = prepare.window_of(mask, (16, 16, 32))
    if window is None:
        return [-1] * 10
    inside = int(prepare.cut(mask, window).sum())
    return [*window.start, *window.size, *window.padded, inside]
