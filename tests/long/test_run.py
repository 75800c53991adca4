"""run.py in a fresh checkout with an empty home, by a Python that may lack ensurepip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform == "win32", reason="hides a folder of the system's Python"),
]

SYSTEM_PYTHON = Path("/usr/bin/python3")
ENVIRONMENT = "import run; run.ensure_environment()"


@pytest.fixture
def fresh(tmp_path, checkout):
    """Give a checkout without ``.venv``, and the environment variables of an empty home."""
    (tmp_path / "home").mkdir()
    return checkout(tmp_path / "clone"), os.environ | {"HOME": str(tmp_path / "home")}


def without_ensurepip():
    """Give a command prefix under which the system's Python has no ensurepip (root only)."""
    find = "import importlib.util as u; s = u.find_spec('ensurepip'); print(s.origin if s else '')"
    origin = subprocess.run([SYSTEM_PYTHON, "-c", find], capture_output=True, text=True, check=True)
    if not origin.stdout.strip():
        return []
    hide = f'mount -t tmpfs none {Path(origin.stdout.strip()).parent} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", hide, "sh"]


def allowed(prefix):
    """Say whether the prefix may be used on this machine."""
    tool = not prefix or shutil.which(prefix[0])
    return bool(tool) and subprocess.run([*prefix, "true"], check=False).returncode == 0


def test_set_up_without_ensurepip(fresh, call):
    folder, environment = fresh
    prefix = without_ensurepip() if SYSTEM_PYTHON.exists() else ["absent"]
    if not allowed(prefix):
        pytest.skip("cannot hide ensurepip from the system's Python here")
    options = {"cwd": folder, "env": environment}
    call(*prefix, SYSTEM_PYTHON, "-c", ENVIRONMENT, **options)
    python = folder / ".venv" / "bin" / "python"
    call(python, "-m", "npe2", "validate", "napari-ctvlp", **options)
    again = call(SYSTEM_PYTHON, "-c", ENVIRONMENT, **options)
    assert again == "", "the second set-up has nothing to do"


def test_a_set_up_that_was_killed_begins_anew(fresh, call):
    folder, environment = fresh
    call(sys.executable, "-m", "venv", "--without-pip", folder / ".venv")
    (folder / ".venv" / "ctvlp-unfinished").touch()
    stray = folder / ".venv" / "half-a-package"
    stray.touch()
    code = "import run; run._fill_venv = lambda: None; run.ensure_environment()"
    call(sys.executable, "-c", code, cwd=folder, env=environment)
    assert not stray.exists()
    assert (folder / ".venv" / "ctvlp-ready").is_file()
