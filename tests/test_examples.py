"""The examples run as they are printed."""

import json
import os
import shutil
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


def run_notebook(name: str) -> dict[str, object]:
    """Run the cells of a notebook one after the other and return its names."""
    book = json.loads((ROOT / "examples" / name).read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), name, "exec"), names)
    return names


def test_the_notebook_of_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells run one after the other on the sample CT."""
    run_notebook("evidence.ipynb")
    told = capsys.readouterr().out
    assert "Grad-CAM" in told
    assert "beats blobs" in told
    assert told.count("stored") == 2


def test_the_notebook_of_cohorts(capsys: pytest.CaptureFixture[str]) -> None:
    """A store is built, not twice; the nodule of the sample CT comes first; its tokens open."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    names = run_notebook("cohorts.ipynb")
    plt.close("all")
    shutil.rmtree(str(names["folder"]))
    told = capsys.readouterr().out
    assert "6 scans computed, 0 failed" in told
    assert "second call: 6 were there, 0 computed" in told
    assert "1 sample.nii.gz    lung_left" in told
    assert "peaks where the store says: True" in told
