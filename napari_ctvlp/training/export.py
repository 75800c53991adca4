"""Weights for shipping: half precision, safetensors, and the card's line about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from napari_ctvlp.models.encoders.mini_adapter import PREFIX, Adapter
from napari_ctvlp.models.encoders.mini_pool import Pool
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.store import sha256


def export(tower: Tower, pool: Pool, path: Path) -> str:
    """Write the image weights and return their SHA-256."""
    from safetensors.torch import save_file

    whole = torch.nn.ModuleDict({"tower": tower, "pool": pool})
    state = {name: value.half().contiguous() for name, value in whole.state_dict().items()}
    save_file(state, path)
    return sha256(path)


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
    for name in re.findall(r'^"([\w.-]+\.safetensors)" = ', text, re.MULTILINE):
        line = f'"{name}" = "{sha256(folder / name)}"'
        text = re.sub(rf'^"{re.escape(name)}" = ".*"$', line, text, flags=re.MULTILINE)
    card.write_text(text, encoding="utf-8")
