"""Weights are verified before they are opened, and models loaded by the class on their card."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import Compute, Encoder, ModelCard, Segmenter
from napari_ctvlp.models.store.digests import digest_of, recorded
from napari_ctvlp.models.store.hosted import (
    bundle,
    converted,
    folder_of,
    missing_files,
    not_there,
)
from napari_ctvlp.models.store.reading import card, cards, sha256
from napari_ctvlp.models.store.settings import expect_accepted

#: An encoder's or a segmenter's class, which only its card knows.
ModelClass = Any
_MODELS = Path(__file__).resolve().parents[1]


def verify(model: ModelCard, folder: Path | None = None) -> Path:
    """Check that every weights file of a card is there and is what its SHA-256 says.

    Of a hosted model only presence and licence are checked here; its checkpoint is verified when
    it is read (:func:`napari_ctvlp.models.store.state_dict`).

    Parameters
    ----------
    model : ModelCard
    folder : Path, optional
        Where the weights lie; by default the folder that ships with the package, for a hosted
        model its own in the user's models folder.

    Returns
    -------
    Path
        The folder, ready to load from.

    Raises
    ------
    ModelRefused
        If a file is missing, is not safetensors or has another SHA-256.
    """
    if bundle(model):
        return _hosted(model, folder or folder_of(model))
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


def _hosted(model: ModelCard, where: Path) -> Path:
    missing = missing_files(model, where)
    if missing:
        raise not_there(model, missing, where)
    expect_accepted(model)
    return where


def embedded() -> tuple[ModelCard, ...]:
    """Return the cards of the models whose files ship with the package."""
    return tuple(model for model in cards() if bundle(model) is None)


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
    where = verify(model)
    entry = _entry(model)
    segmenter: Segmenter = entry.load(model, where) if bundle(model) else entry()
    return segmenter


def model_digest(model: ModelCard) -> str:
    """SHA-256 over a model's weights, settings and the files beside its class.

    Results that were kept from other weights, from a card with other settings, or from an
    earlier version of the code, are thereby never taken for this model's.
    """
    settings = json.dumps(model.settings, sort_keys=True, default=str)
    sha = hashlib.sha256("\n".join([model.id, *digests(model).values(), settings]).encode())
    module = str(model.settings["entry"]).partition(":")[0]
    folder = _MODELS.joinpath(*module.split(".")[:-1])
    sha.update(_code(folder))
    return sha.hexdigest()


@lru_cache(maxsize=16)
def _code(folder: Path) -> bytes:
    """Return a folder's files of code, read once: a process does not change what it runs."""
    files = sorted(path for kind in ("*.py", "*.toml") for path in folder.rglob(kind))
    return b"".join(path.read_bytes() for path in files)


def digests(model: ModelCard) -> dict[str, str]:
    """SHA-256 of a model's files by name; of a hosted model those that are on this computer."""
    hosted = bundle(model)
    if not hosted:
        return dict(model.weights)
    found = {}
    for path in (folder_of(model) / file.name for file in hosted.files):
        if path.is_file():
            found[path.name] = digest_of(path)
        elif converted(path).is_file():
            found[path.name] = str(recorded(converted(path)).get("source", ""))
    return found


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
