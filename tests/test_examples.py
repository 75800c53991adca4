"""The example script runs as it is printed."""

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
