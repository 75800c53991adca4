"""Weights for shipping: half precision, safetensors, and the card's line about them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from napari_ctvlp.models.encoders.mini_adapter import PREFIX, Adapter
from napari_ctvlp.models.encoders.mini_pool import Pool
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.store import sha256

#: Lines of a card that name a file of weights.
FILES = r'^"([\w.-]+\.safetensors)" = '


def export(tower: Tower, pool: Pool, path: Path) -> str:
    """Write the image weights and return their SHA-256."""
    from safetensors.torch import save_file

    whole = torch.nn.ModuleDict({"tower": tower, "pool": pool})
    state = {name: value.half().contiguous() for name, value in whole.state_dict().items()}
    save_file(state, path)
    return sha256(path)


def export_beside(tower: Tower, image: str, weights: Path, card: Path, out: Path) -> None:
    """Write a tower with everything else as it shipped: organ queries, heads, adapters, card.

    Parameters
    ----------
    tower : Tower
        Of a run that started from the shipped one, so that its tokens mean the same.
    image : str
        Name of the file with the tower.
    weights, card : Path
        Folder and card of what shipped.
    out : Path
        Folder that receives copies; ``ctvlp evaluate --seeds`` reads it.
    """
    from safetensors.torch import load_file, save_file

    out.mkdir(parents=True, exist_ok=True)
    text = card.read_text(encoding="utf-8")
    for name in re.findall(FILES, text, re.MULTILINE):
        shutil.copyfile(weights / name, out / name)
    own = {f"tower.{name}": value.half().contiguous() for name, value in tower.state_dict().items()}
    save_file(load_file(weights / image) | own, out / image)
    shutil.copyfile(card, out / card.name)
    write_hashes(out / card.name, out)


def add_adapter(adapter: Adapter, head: Path) -> str:
    """Put an adapter into the file of its text tower's head; return the file's SHA-256."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(head, "pt") as file:
        about = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state |= {PREFIX + name: value.half() for name, value in adapter.state_dict().items()}
    save_file(state, head, about)
    return sha256(head)


def write_thresholds(card: Path, limits: Mapping[str, tuple[float, float]]) -> None:
    """Write (present, absent) of each finding into a card, in place of what it said of findings."""
    text = card.read_text(encoding="utf-8")
    text = re.sub(r"\[settings\.thresholds\.findings\.\w+\]\n(?:\w+ = .*\n)+\n?", "", text)
    rows = [
        f"[settings.thresholds.findings.{name}]\npresent = {high:.2f}\nabsent = {low:.2f}\n\n"
        for name, (high, low) in limits.items()
    ]
    before, mark, after = text.partition("[settings.precision]")
    card.write_text(before + "".join(rows) + mark + after, encoding="utf-8")


def write_hashes(card: Path, folder: Path) -> None:
    """Write the SHA-256 of every weights file a card names into the card."""
    text = card.read_text(encoding="utf-8")
    for name in re.findall(FILES, text, re.MULTILINE):
        line = f'"{name}" = "{sha256(folder / name)}"'
        text = re.sub(rf'^"{re.escape(name)}" = ".*"$', line, text, flags=re.MULTILINE)
    card.write_text(text, encoding="utf-8")
