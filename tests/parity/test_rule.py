"""Our own writing of the rule makes the weights that the stored sets were run with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import rule
from .fixtures import load

pytestmark = pytest.mark.shared
FOLDERS = ("fvlm", "colipri", "merlin", "ct_clip", "visd_boost", "biovil_t")


@pytest.mark.parametrize("name", FOLDERS)
def test_key_lists_are_the_ones_that_were_digested(name: str, parity: Path):
    metas = [load(parity, f"{name}/{path.stem}").meta for path in (parity / name).glob("*.npz")
             if path.stem != "preprocess"]  # fmt: skip
    assert metas
    for meta in metas:
        assert meta["rule_version"] == rule.VERSION
        for keys in {"keys", "text_keys"} & set(meta):
            assert rule.keys_digest(meta[keys]) == meta[f"{keys}_sha256"]


@pytest.mark.parametrize("name", ["fvlm/tiny", "fvlm/full"])
def test_generated_weights_have_the_stored_sums(name: str, parity: Path):
    stored = load(parity, name)
    rows = {row[0]: row for row in stored.meta["keys"]}
    for key, total in stored.meta["weight_sums"].items():
        made = rule.value(stored.seed, *rows[key])
        assert made.dtype == np.float32
        assert made.sum(dtype=np.float64) == total


def test_prompt_ids_and_label_volume_are_the_stored_ones(parity: Path):
    stored = load(parity, "fvlm/tiny")
    config = stored.meta["config"]
    vocab = config["text"]["vocab_size"]
    ids, mask = rule.token_ids(stored.seed, "prompts", 32, config["max_txt_len"], vocab)
    assert np.array_equal(ids, stored.arrays["prompt_ids"])
    assert np.array_equal(mask.sum(1), stored.arrays["prompt_len"])
    labels = rule.ellipsoids(config["volume"], config["labels"])
    assert np.array_equal(np.bincount(labels.ravel()), stored.arrays["eval.label_counts"])


def test_kinds_of_keys_no_stored_sum_covers():
    assert rule.value(1, "a.temp", ()).item() == np.float32(0.07)
    assert rule.value(1, "a.b", (3,), constants={"a.b": 2.0}).tolist() == [2, 2, 2]
    assert rule.value(1, "x.position_ids", (1, 4), "int64").tolist() == [[0, 1, 2, 3]]
    assert rule.value(1, "x.num_batches_tracked", (), "int64") == 0
    assert (rule.value(1, "x.running_var", (50,)) >= 1).all()
    assert rule.value(1, "x.g", (4000,)).mean() == pytest.approx(1, abs=0.01)
    assert rule.value(1, "x.bias", (4000,)).std() == pytest.approx(0.05, rel=0.05)
    assert rule.value(1, "x.weight", (40, 100)).std() == pytest.approx(0.1, rel=0.05)
    assert rule.value(1, "x.table", (40, 100)).std() == pytest.approx(0.5, rel=0.05)
