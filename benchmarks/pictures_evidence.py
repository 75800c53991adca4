"""A picture of the window with one dock in front, as the scripts about evidence draw it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT, COLOURS = 1280, 800, 224


def shoot(window: Any, dock: Any, out: Path, name: str) -> None:
    """Draw the window with a dock in front into OUT/NAME-1280x800.png."""
    from napari_ctvlp.ui.arrange import raise_dock
    from napari_ctvlp.ui.window import settle

    raise_dock(dock)
    settle(0.5)
    window.docks["Views"].fit()
    window.docks["Views"].flush()
    for _ in range(2):  # the first one makes every view paint what it holds
        settle(1.5)
        raw = window.viewer.screenshot(canvas_only=False, flash=False)
    write(Image.fromarray(raw[..., :3]), out / f"{name}-{WIDTH}x{HEIGHT}.png")


def write(picture: Image.Image, path: Path) -> None:
    """Store a picture in few colours, the rare ones among them: phrases must stay apart."""
    rare = Image.Quantize.MAXCOVERAGE
    picture.quantize(COLOURS, rare, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)
