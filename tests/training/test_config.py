"""Config files: what is read, and what is refused with words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.training.config import Plan, Stage, from_table, read_plan

GOOD = """
seed = 2
batch = 4
micro = 2
memory = 0.99
[[stages]]
steps = 20
[[stages]]
steps = 10
rate = 1
mine = true
[objectives.fvlm]
weight = 0.5
"""


def _read(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path)


def test_a_config_is_read_and_written(tmp_path: Path):
    plan = _read(tmp_path, GOOD)
    assert plan.stages == (Stage(steps=20), Stage(steps=10, rate=1.0, mine=True))
    assert plan.objectives == {"fvlm": {"weight": 0.5}}
    assert (plan.steps, plan.at(19), plan.at(20), plan.at(30)) == (30, (0, 19), (1, 0), (1, 10))
    assert from_table(json.loads(plan.as_json())) == plan


def test_an_empty_config_is_the_default(tmp_path: Path):
    assert _read(tmp_path, "") == Plan()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed = 1", "unknown key 'sed'"),
        ("seed = 1.5", "seed is 1.5, which is no int"),
        ("seed = true", "seed is True, which is no int"),
        ("stages = 3", "stages"),
        ("[[stages]]\nlength = 3", "unknown key 'length'"),
        ("[[stages]]\nsteps = 0", "steps"),
        ("batch = 3\nmicro = 2", "no multiple of micro"),
        ("size = 30", "no multiple of 8"),
        ("device = 'tpu'", "none of auto, cpu, cuda"),
        ("[objectives.clip]\nweight = 1", "objective 'clip' is none of"),
        ("[objectives.fvlm]\nrate = 1", "needs a number 'weight'"),
        ("objectives = 3", "objectives"),
        ("seed =", "Invalid value"),
    ],
)
def test_a_wrong_config_is_refused(tmp_path: Path, text: str, words: str):
    with pytest.raises(InputRefused, match=words):
        _read(tmp_path, text)


def test_all_problems_are_named_at_once(tmp_path: Path):
    with pytest.raises(InputRefused) as refusal:
        _read(tmp_path, "size = 30\nprecision = 'int8'\ndevices = 0")
    assert all(word in str(refusal.value) for word in ("size", "precision", "devices"))


def test_a_missing_config_is_refused(tmp_path: Path):
    with pytest.raises(InputRefused, match="nowhere"):
        read_plan(tmp_path / "nowhere.toml")
