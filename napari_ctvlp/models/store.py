"""The weights manager: reads cards, finds weights, verifies them, loads models."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import Compute, Encoder, ModelCard, Segmenter

CARDS = Path(__file__).resolve().parent / "cards"
#: An encoder's or a segmenter's class, which only its card knows.
ModelClass = Any
_REQUIRED = ("id", "title", "kind", "licence", "source", "summary", "entry")
_ENTRY = re.compile(r"(encoders|segmenters)(\.\w+)+:\w+")


def cards(kind: str = "") -> tuple[ModelCard, ...]:
    """Return every card that ships, by id; only one ``kind`` if given."""
    found = (read_card(path) for path in sorted(CARDS.glob("*.toml")))
    return tuple(card for card in found if kind in ("", card.kind))


def card(model_id: str) -> ModelCard:
    """Return one card.

    Raises
    ------
    ModelRefused
        If no card has this id, or the card is not readable.
    """
    path = CARDS / f"{model_id}.toml"
    if not re.fullmatch(r"[\w-]+", model_id) or not path.is_file():
        known = ", ".join(sorted(path.stem for path in CARDS.glob("*.toml"))) or "none"
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
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _bad_card(path, f"cannot be read ({error}).") from error
    missing = [name for name in _REQUIRED if not isinstance(table.get(name), str)]
    if missing:
        raise _bad_card(path, f"lacks {', '.join(missing)}.")
    if not _ENTRY.fullmatch(table["entry"]):
        raise _bad_card(path, f"names the class {table['entry']!r}.")
    return ModelCard(
        **{name: table[name] for name in _REQUIRED if name != "entry"},
        weights=tuple(table.get("weights", {}).items()),
        known_failures=tuple(table.get("known_failures", ())),
        settings={**table.get("settings", {}), "entry": table["entry"]},
    )


def verify(model: ModelCard, folder: Path | None = None) -> Path:
    """Check that every weights file of a card is there and is what its SHA-256 says.

    Parameters
    ----------
    model : ModelCard
    folder : Path, optional
        Where the weights lie; by default the folder that ships with the package.

    Returns
    -------
    Path
        The folder, ready to load from.

    Raises
    ------
    ModelRefused
        If a file is missing, is not safetensors or has another SHA-256.
    """
    where = folder or weights_folder()
    for name, expected in model.weights:
        path = where / name
        if path.suffix != ".safetensors" or path.parent != where:
            raise _refused("unsafe-weights", model, name, "is not a plain safetensors file.")
        if not path.is_file():
            raise _refused("missing-weights", model, name, f"is not in {where}.")
        found = sha256(path)
        if found != expected:
            raise _refused("corrupt-weights", model, name, f"has the SHA-256 {found}.", expected)
    return where


def load_encoder(model_id: str, compute: Compute, folder: Path | None = None) -> Encoder:
    """Verify the weights of an encoder and load it.

    Raises
    ------
    ModelRefused
        If the card or the weights are missing or not what they should be.
    """
    model = card(model_id)
    _expect_kind(model, "encoder")
    where = verify(model, folder)
    encoder: Encoder = _entry(model).load(model, where, compute)
    return encoder


def load_segmenter(model_id: str) -> Segmenter:
    """Return a segmenter, ready to run; raises as :func:`load_encoder` does."""
    model = card(model_id)
    _expect_kind(model, "segmenter")
    verify(model)
    segmenter: Segmenter = _entry(model)()
    return segmenter


def model_digest(model: ModelCard) -> str:
    """SHA-256 over a model's weights and the files beside its class: its results' version.

    Results that were kept from other weights, or from an earlier version of the code, are
    thereby never taken for this model's.
    """
    sha = hashlib.sha256("\n".join([model.id, *(sha for _, sha in model.weights)]).encode())
    module = str(model.settings["entry"]).partition(":")[0]
    folder = Path(__file__).resolve().parent.joinpath(*module.split(".")[:-1])
    for path in sorted(path for kind in ("*.py", "*.toml") for path in folder.rglob(kind)):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(model: ModelCard) -> ModelClass:
    """Import the class that a card names."""
    module, name = model.settings["entry"].split(":")
    return getattr(import_module(f"napari_ctvlp.models.{module}"), name)


def unusable(path: Path, what: str, error: Exception) -> ModelRefused:
    """Return the refusal of a verified file whose tensors are not those of ``what``."""
    return ModelRefused(
        "corrupt-weights",
        f"the tensors of {what} in {path.name}.",
        f"{path.name} cannot be used ({error}).",
        "Install the package again, or put the original file back into the weights folder.",
    )


def _expect_kind(model: ModelCard, kind: str) -> None:
    if model.kind != kind:
        raise ModelRefused(
            "wrong-kind",
            f"a model of the kind {kind}.",
            f"{model.id} is of the kind {model.kind}.",
            f"Choose one of: {', '.join(card.id for card in cards(kind)) or 'none'}.",
        )


def _refused(code: str, model: ModelCard, name: str, what: str, sha: str = "") -> ModelRefused:
    wanted = f" with the SHA-256 {sha}" if sha else ""
    return ModelRefused(
        code,
        f"the weights file {name} of {model.id}{wanted}.",
        f"{name} {what}",
        "Install the package again, or put the original file back into the weights folder.",
    )


def _bad_card(path: Path, what: str) -> ModelRefused:
    return ModelRefused(
        "bad-card",
        f"a model card with {', '.join(_REQUIRED)} (see models/cards/README.md).",
        f"The card {path.name} {what}",
        "Repair the card or install the package again.",
    )
