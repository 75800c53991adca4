"""The examples run as they are printed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.long
def test_one_scan(tmp_path: Path) -> None:
    environment = {**os.environ, "CTVLP_CACHE": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "one_scan.py")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "lung_left" in run.stdout
    assert "'spiculated nodule in the left lower lobe': " in run.stdout


def test_the_notebook_of_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells run one after the other on the sample CT."""
    book = json.loads((ROOT / "examples" / "evidence.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), "evidence.ipynb", "exec"), names)
    told = capsys.readouterr().out
    assert "Grad-CAM" in told
    assert "beats blobs" in told
    assert told.count("stored") == 2
