"""Model cards: read with care, never guessed at."""

from __future__ import annotations

import copy
import hashlib
import os
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import ModelCard

CARDS = Path(__file__).resolve().parents[1] / "cards"
_REQUIRED = ("id", "title", "kind", "licence", "source", "summary", "entry")
_ENTRY = re.compile(r"(encoders|segmenters)(\.\w+)+:\w+")


def _folder() -> Path:
    """Return the folder of cards: ``CTVLP_CARDS``, to try others out, or the one that ships."""
    return Path(os.environ.get("CTVLP_CARDS") or CARDS)


def cards(kind: str = "") -> tuple[ModelCard, ...]:
    """Return every card there is, by id; only one ``kind`` if given."""
    found = (read_card(path) for path in sorted(_folder().glob("*.toml")))
    return tuple(card for card in found if kind in ("", card.kind))


def card(model_id: str) -> ModelCard:
    """Return one card.

    Raises
    ------
    ModelRefused
        If no card has this id, or the card is not readable.
    """
    path = _folder() / f"{model_id}.toml"
    if not re.fullmatch(r"[\w-]+", model_id) or not path.is_file():
        known = ", ".join(sorted(path.stem for path in _folder().glob("*.toml"))) or "none"
        raise ModelRefused(
            "unknown-model",
            f"one of these models: {known}.",
            f"There is no model called {model_id!r}.",
            "Choose one of the list.",
        )
    return read_card(path)


def read_card(path: Path) -> ModelCard:
    """Read a card file; its layout is told in ``models/cards/README.md``.

    Raises
    ------
    ModelRefused
        If the file is not TOML or lacks a part.
    """
    table = _read(path)
    like = str(table.pop("like", ""))
    if like:
        table = _over(_read(path.with_name(f"{Path(like).name}.toml")), table)
    missing = [name for name in _REQUIRED if not isinstance(table.get(name), str)]
    if missing:
        raise bad_card(path.name, f"lacks {', '.join(missing)}.")
    if not _ENTRY.fullmatch(table["entry"]):
        raise bad_card(path.name, f"names the class {table['entry']!r}.")
    return ModelCard(
        **{name: table[name] for name in _REQUIRED if name != "entry"},
        weights=tuple(table.get("weights", {}).items()),
        known_failures=tuple(table.get("known_failures", ())),
        settings={**table.get("settings", {}), "entry": table["entry"]},
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise bad_card(path.name, f"cannot be read ({error}).") from error


@lru_cache(maxsize=64)
def _parsed(text: str) -> dict[str, Any]:
    """Parse a card once per content: a run reads its cards a dozen times."""
    return tomllib.loads(text)


def _over(base: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Return a card's table with another's written over it, part by part."""
    both = {**base, **table}
    for name in base.keys() & table.keys():
        if isinstance(base[name], dict) and isinstance(table[name], dict):
            both[name] = _over(base[name], table[name])
    return both


def bad_card(name: str, what: str) -> ModelRefused:
    """Return the refusal of a card that is not whole."""
    return ModelRefused(
        "bad-card",
        f"a model card with {', '.join(_REQUIRED)} (see models/cards/README.md).",
        f"The card {name} {what}",
        "Repair the card or install the package again.",
    )


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
