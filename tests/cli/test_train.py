"""``ctvlp train``: what is refused before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["train", *words])
    return result.exit_code, result.stdout


def test_the_house_of_commands():
    code, text = _run("--help")
    assert code == 0
    names = ("prepare", "run", "average", "check", "tune", "ship", "ablate", "expert", "text")
    assert all(f" {name} " in text for name in (*names, "organs"))


def test_an_unknown_key_is_refused_before_data_are_read(tmp_path: Path):
    path = tmp_path / "plan.toml"
    path.write_text("stepz = 3", encoding="utf-8")
    code, text = _run("run", "--config", str(path), "--data", str(tmp_path / "nowhere"))
    assert code == 3
    assert "stepz" in json.loads(text)["error"]["found"]


@pytest.mark.parametrize("command", ["run", "ablate"])
def test_an_empty_folder_of_data_is_refused(tmp_path: Path, command: str):
    words = {"run": ["--config", str(tmp_path / "plan.toml")], "ablate": ["--out", "out.md"]}
    (tmp_path / "plan.toml").write_text("", encoding="utf-8")
    code, text = _run(command, "--data", str(tmp_path), *words[command])
    assert code == 3
    assert json.loads(text)["error"]["code"] == "no-chests"
