"""``ctvlp doctor``: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import typer

from napari_ctvlp.cli.output import as_json
from napari_ctvlp.errors import CtvlpError

#: A full chest CT, for the memory estimate.
FULL_CT_VOXELS = 512 * 512 * 400
_WINDOW_TIMEOUT_S = 60
_OPENGL = """
import sys
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
app = QGuiApplication(sys.argv)
context, surface = QOpenGLContext(), QOffscreenSurface()
surface.create()
good = context.create() and context.makeCurrent(surface)
version = context.format().version()
print(f"Qt on {app.platformName()}, OpenGL {version[0]}.{version[1]}" if good else "no OpenGL")
sys.exit(0 if good else 1)
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    state : {"good", "limited", "broken"}
        ``"limited"`` leaves something out, ``"broken"`` makes the main job impossible.
    found : str
        What was found.
    advice : str
        What to do; empty when good.
    """

    name: str
    state: Literal["good", "limited", "broken"]
    found: str
    advice: str = ""


def doctor(
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at GPU, memory, window, weights, text model and cache; exit 0 when usable."""
    checks = [_guarded(name, check) for name, check in CHECKS.items()]
    usable = all(check.state != "broken" for check in checks)
    if json_out:
        print(as_json({"usable": usable, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"{check.state:<8} {check.name}: {check.found}")
            if check.advice:
                print(f"{'':<8} {check.advice}")
        print("Usable." if usable else "Not usable yet: see what is broken above.")
    raise typer.Exit(0 if usable else 1)


def check_python() -> Check:
    """Look at the interpreter."""
    return Check("Python", "good", f"{platform.python_version()} on {platform.platform()}")


def check_memory() -> Check:
    """See whether a full chest CT would fit."""
    from napari_ctvlp.engine import compute
    from napari_ctvlp.models import store

    free = compute.free_bytes()
    needed = max(compute.estimate_bytes(FULL_CT_VOXELS, card) for card in store.embedded())
    words = f"{free / 2**30:.1f} GB free; a 512 x 512 x 400 CT needs about {needed / 2**30:.1f} GB"
    advice = "Close other programs before opening a large scan." if free < needed else ""
    return Check("Memory", "limited" if advice else "good", words, advice)


def check_device() -> Check:
    """See what would compute."""
    import torch

    from napari_ctvlp.engine import compute

    threads = f"{compute.cpu_threads()} CPU thread(s)"
    if torch.cuda.is_available():
        return Check("Compute", "good", f"{torch.cuda.get_device_name()}, {threads}")
    if torch.backends.mps.is_available():
        return Check("Compute", "good", f"Apple GPU, {threads}")
    return Check("Compute", "good", f"no GPU; {threads} are enough for the embedded model")


def check_window() -> Check:
    """Open Qt and OpenGL in a process of its own, which may crash without harm."""
    advice = (
        "The commands work without a window. For the window: sit at a display, or use run.py, "
        "which names or installs missing system libraries and brings a virtual screen."
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", _OPENGL],
            capture_output=True,
            text=True,
            timeout=_WINDOW_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check("Window", "limited", "Qt did not answer", advice)
    said = (done.stdout.strip() or done.stderr.strip() or "Qt ended at once").split("\n")
    if done.returncode == 0:
        return Check("Window", "good", said[-1])
    return Check("Window", "limited", said[0], advice)


def check_weights() -> Check:
    """Verify the SHA-256 of every weights file."""
    from napari_ctvlp.models import store

    for card in store.embedded():
        store.verify(card)
    names = [name for card in store.embedded() for name, _ in card.weights]
    if not names:
        return Check("Weights", "broken", "no card has weights", "Install the package again.")
    return Check("Weights", "good", f"{', '.join(names)}: present, SHA-256 as on the card")


def check_text() -> Check:
    """Verify that the text model is here and is the official file."""
    from napari_ctvlp.models.text import find_tower

    folder = find_tower()
    return Check("Text model", "good", f"all-MiniLM-L6-v2 in {folder}, SHA-256 as published")


def check_offline() -> Check:
    """Say what the network is used for."""
    from napari_ctvlp.models import store

    words = "only `ctvlp models get` and the Models dock use the network, when you ask them to"
    return Check("Offline", "good", "the network is off" if store.offline() else words)


def check_cache() -> Check:
    """See whether results can be kept."""
    from napari_ctvlp.engine import cache

    folder = cache.cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = "Set CTVLP_CACHE to a folder that can be written; meanwhile nothing is kept."
        return Check("Cache", "limited", f"{folder}: {error.strerror}", advice)
    return Check("Cache", "good", f"{folder}, {cache.size_bytes() / 2**20:.0f} MB of results")


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """Run a check; one that fails by itself has found something broken."""
    try:
        return check()
    except CtvlpError as error:
        return Check(name, "broken", error.found, error.advice)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        return Check(name, "broken", found, "Install the package and its dependencies again.")


CHECKS: dict[str, Callable[[], Check]] = {
    "Python": check_python,
    "Memory": check_memory,
    "Compute": check_device,
    "Window": check_window,
    "Weights": check_weights,
    "Text model": check_text,
    "Offline": check_offline,
    "Cache": check_cache,
}
