"""What shipping writes: adapters beside heads, thresholds on the card."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.evaluation.reader import Model
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders.mini import IMAGE_WEIGHTS
from napari_ctvlp.models.encoders.mini_adapter import Adapter
from napari_ctvlp.models.encoders.mini_text import ConceptHead
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.training import text_head
from napari_ctvlp.training.export import add_adapter, export_beside, write_thresholds
from napari_ctvlp.training.tune import Trial, load, rule_of, save, strictest

RULE = rule_of({"sigma_mm": 4.0, "mirror": 0.0})


def _head(path: Path) -> ConceptHead:
    shipped = store.card("mini")
    source = store.verify(shipped) / shipped.settings["heads"]["small"]
    count = len(shipped.settings["concepts"])
    head = ConceptHead.load(source, count)
    text_head.save(head, path, "small")
    return ConceptHead.load(path, count)


def test_an_adapter_travels_with_the_head_and_changes_nothing_else(tmp_path: Path):
    path = tmp_path / "head.safetensors"
    before = _head(path)
    assert Adapter.load(path) is None
    torch.manual_seed(0)
    adapter = Adapter()
    add_adapter(adapter, path)
    after = ConceptHead.load(path, len(before.tensors["concept.bias"]))
    assert (after.terms, after.tower) == (before.terms, before.tower)
    for name, value in before.tensors.items():
        assert np.array_equal(value, after.tensors[name])
    rows = np.eye(384, dtype=np.float32)[:3]
    for wanted, got in zip(adapter.each(rows), Adapter.load(path).each(rows), strict=True):
        assert np.allclose(wanted, got, atol=1e-3)


@pytest.mark.parametrize("value", [np.zeros((2, 2), np.float32), np.full((1,), np.nan)])
def test_a_broken_adapter_is_refused(tmp_path: Path, value: np.ndarray):
    path = tmp_path / "head.safetensors"
    save_file({"adapter.shift.bias": value}, path)
    with pytest.raises(ModelRefused, match="adapter"):
        Adapter.load(path)


def test_another_seed_differs_from_what_shipped_in_its_tower_alone(tmp_path: Path):
    """And is loaded from its folder, as ``ctvlp evaluate --seeds`` does."""
    shipped = store.card("mini")
    source, path = weights_folder(), store.CARDS / "mini.toml"
    names = shipped.settings["concepts"]
    torch.manual_seed(1)
    tower = Tower(len(names), detail=True)
    export_beside(tower, IMAGE_WEIGHTS, source, path, tmp_path)
    encoder = Model.load("mini", "cpu", tmp_path).encoder
    state = encoder.tower.state_dict()
    for name, value in tower.state_dict().items():
        torch.testing.assert_close(state[name], value.half().float())
    kept = Model.load("mini", "cpu").encoder.pool.state_dict()
    for name, value in encoder.pool.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=0, equal_nan=True)


def _trials(empty: list[float], painted: list[float]) -> list[Trial]:
    row = ("chest", "nodule", RULE)
    blank = [Trial("chest", "", "nodule", RULE, peak, float("nan"), False) for peak in empty]
    return [*blank, *(Trial(row[0], "nodule", *row[1:], p, p, True) for p in painted)]


def test_thresholds_are_the_strictest_and_land_on_the_card(tmp_path: Path):
    loose, strict = _trials([0.1, 0.2], [0.9, 0.8]), _trials([0.3, 0.6], [0.7, 0.5])
    for number, trials in enumerate((loose, strict)):
        save(trials, tmp_path / f"{number}.json")
    limits = strictest((load(tmp_path / f"{n}.json") for n in range(2)), RULE)
    assert list(limits) == ["nodule"]
    present, absent = limits["nodule"]
    assert (present, absent) == pytest.approx((0.57, 0.52))
    card = tmp_path / "card.toml"
    card.write_text(
        "[settings.thresholds]\nknown = 0.5\n\n[settings.thresholds.findings.mass]\npresent = 0.9\n"
        "absent = 0.1\n\n[settings.precision]\ncpu = 1\n"
    )
    write_thresholds(card, limits)
    settings = tomllib.loads(card.read_text())["settings"]
    assert settings["thresholds"] == {
        "known": 0.5, "findings": {"nodule": {"present": 0.57, "absent": 0.52}}
    }  # fmt: skip
    assert settings["precision"] == {"cpu": 1}
