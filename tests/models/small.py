"""Small copies of published encoders: a card with small sizes, files with random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.evidence.equivariance import Trial, equivariance, restored
from napari_ctvlp.engine.evidence.probe import Probe
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import biovil_net, colipri_net, fvlm_net, merlin_net

TEXT = {"text_layers": 1, "text_heads": 2, "text_inner": 16, "vocabulary": 64}
SIZES: Mapping[str, dict] = {
    "colipri": {"width": 24, "depth": 1, "heads": 2, "shared": 16, "pool_heads": 2, **TEXT},
    "merlin": {"blocks": [1, 1, 1, 1], "text_width": 16, **TEXT, "vocabulary": 300,
               "positions": 130, "window": 16},
    "biovil_t": {"blocks": [1, 1, 1, 1], "basic": True, "text_width": 16, **TEXT},
    "biovil": {"blocks": [1, 1, 1, 1], "basic": True, "text_width": 16, "two_visits": False,
               **TEXT},
    "fvlm": {"hidden": 48, "inner": 96, "heads": 4, "shared": 32, "text": {
        "width": 32, "layers": 2, "heads": 4, "inner": 64, "vocabulary": 60, "positions": 40}},
}  # fmt: skip
FIELDS = {"colipri": "edge = 64", "merlin": "shape = [96, 96, 48]"}
NETWORKS: Mapping[str, dict[str, Callable[..., nn.Module]]] = {
    "colipri": {"model": lambda **k: colipri_net.Colipri(colipri_net.Sizes(**k))},
    "merlin": {"model": lambda **k: merlin_net.Merlin(merlin_net.Sizes(**k))},
    "biovil_t": {
        "image": lambda **k: biovil_net.ImageTower(biovil_net.Sizes(**k)),
        "text": lambda **k: biovil_net.TextTower(biovil_net.Sizes(**k)),
    },
    "biovil": {
        "image": lambda **k: biovil_net.ImageTower(biovil_net.Sizes(**k)),
        "text": lambda **k: biovil_net.TextTower(biovil_net.Sizes(**k)),
    },
    "fvlm": {"model": lambda **k: fvlm_net.Fvlm(fvlm_net.Sizes(**k))},
}
#: Parameters that begin as nothing and would make every place alike.
SPREAD = ("query_tokens", "visual_encoder.patch_embedding.position_embeddings")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "present", "a", "lung", "nodule",
         "nodules", "pleural", "effusion", "emphysema", "mass"]  # fmt: skip


def host(model: str, home: Path, monkeypatch: pytest.MonkeyPatch, *, words: bool = True) -> Path:
    """Put a small copy of a model where the real one would lie; return its folder."""
    cards = home / "cards"
    if not cards.is_dir():
        shutil.copytree(store.CARDS, cards)
    text = (cards / f"{model}.toml").read_text()
    rows = "".join(f"{key} = {toml(value)}\n" for key, value in SIZES[model].items())
    text = text.replace("[settings]\n", f"[settings]\n{FIELDS.get(model, '')}\n", 1)
    text = text.replace("[settings.sizes]\ntwo_visits = false\n", "")
    (cards / f"{model}.toml").write_text(f"{text}\n[settings.sizes]\n{rows}")
    monkeypatch.setenv("CTVLP_CARDS", str(cards))
    monkeypatch.setenv("CTVLP_MODELS", str(home / "models"))
    folder = home / "models" / model
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    for part, make in NETWORKS[model].items():
        state = make(**SIZES[model]).state_dict()
        for name in [name for name in state if name in SPREAD]:
            state[name] = torch.randn(state[name].shape)
        inside = store.card(model).settings["checkpoints"][part].get("inside", "")
        save({inside: state} if inside else state, folder / file_of(model, part))
    if store.bundle(store.card(model)).ask:
        store.accept(store.card(model))
    if words:
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        if model == "merlin":
            write_byte_pairs(folder)
    return folder


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def file_of(model: str, part: str) -> str:
    return store.card(model).settings["checkpoints"][part]["file"]


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)


def write_byte_pairs(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(WORDS[5:] * 3, 300, special_tokens=special, show_progress=False)
    tokenizer.save_model(str(folder))


def unit(count: int, width: int) -> np.ndarray:
    rows = np.random.default_rng(3).standard_normal((count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def stored(model: str, phrase: str, scan: Scan, anatomy: AnatomyMap) -> str:
    """Say whether a scan stored in another orientation is answered with the same bits."""
    probe = Probe.of(phrase, model, "cpu")
    one, other = (probe.heat(*pair) for pair in ((scan, anatomy), restored(scan, anatomy, "SAL")))
    told = [str((h.peak, h.peak_ras, h.score, h.verdict, h.reason)) for h in (one, other)]
    if told[0] != told[1] or not np.array_equal(one.values, other.values, equal_nan=True):
        return "different"
    return "same" if np.isfinite(one.values).any() else "nothing looked at"


def follows(model: str, phrase: str, scan: Scan, anatomy: AnatomyMap) -> tuple[Trial, ...]:
    """Move and mirror a scan and print what comes along: nobody trained these weights."""
    trials = equivariance([Probe.of(phrase, model, "cpu")], scan, anatomy, codes=())
    for one in trials:
        print(f"{model:<12}{one.kind:<8}{one.label:<28}{one.holds:<3}{one.number:.3g} {one.unit}")
    return trials
