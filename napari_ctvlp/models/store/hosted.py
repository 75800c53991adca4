"""Hosted models: what a card says of files that do not ship, and where they lie."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import ModelCard
from napari_ctvlp.models.store.reading import bad_card

_NAME = re.compile(r"[\w][\w.-]*")


@dataclass(frozen=True)
class BundleFile:
    """One file of a hosted model.

    Attributes
    ----------
    name : str
        Its name in the model's folder, without a path.
    sha256 : str
        As published, or ``""`` where nobody has published it.
    optional : bool
        True when the model works without it, only less (a tokenizer, for free text).
    why : str
        What it is for, in a few words.
    repo, revision, path : str
        Where the hub has it, when that is not the bundle's own place and name.
    """

    name: str
    sha256: str = ""
    optional: bool = False
    why: str = ""
    repo: str = ""
    revision: str = ""
    path: str = ""


@dataclass(frozen=True)
class Bundle:
    """The files of a hosted model, from its card's ``settings.bundle``.

    Attributes
    ----------
    files : tuple of BundleFile
    where : str
        Where a user gets the files, in words.
    population : str
        Whom the model is meant for: patients, body part, modality.
    size_mb : float
        Of all files together, in MB (10^6 bytes); 0 when not known.
    ask : bool
        True when the licence has to be accepted once before the model is used.
    repo, revision : str
        Hub repository and the commit or tag that is downloaded; ``""`` where there is none.
    repo_type : str
        ``"model"`` or ``"dataset"``.
    shares : str
        Card id of the model whose folder, files and licence these are, or ``""``.
    """

    files: tuple[BundleFile, ...]
    where: str
    population: str
    size_mb: float = 0.0
    ask: bool = False
    repo: str = ""
    revision: str = ""
    repo_type: str = "model"
    shares: str = ""


def bundle(model: ModelCard) -> Bundle | None:
    """Return what a card says of files that do not ship; None for an embedded model.

    Raises
    ------
    ModelRefused
        If that part of the card is not whole.
    """
    table: dict[str, Any] | None = model.settings.get("bundle")
    if table is None:
        return None
    try:
        files = tuple(BundleFile(**row) for row in table["files"])
        found = Bundle(**{**table, "files": files})
    except (KeyError, TypeError) as error:
        raise bad_card(model.id, f"has a bundle that is not whole ({error}).") from error
    wrong = [file.name for file in files if not _NAME.fullmatch(file.name)]
    if wrong:
        raise bad_card(model.id, f"names the file {wrong[0]!r}.")
    return found


def models_folder() -> Path:
    """Return the user's folder of hosted models: ``CTVLP_MODELS``, or the system's data folder."""
    chosen = os.environ.get("CTVLP_MODELS")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_data_dir("napari-ctvlp", appauthor=False)) / "models"


def folder_of(model: ModelCard) -> Path:
    """Return the folder in which a hosted model's files belong."""
    return models_folder() / owner_of(model)


def owner_of(model: ModelCard) -> str:
    """Return the card id of the model that files and licence belong to: mostly its own."""
    found = bundle(model)
    return (found.shares if found else "") or model.id


def missing_files(model: ModelCard, folder: Path) -> tuple[BundleFile, ...]:
    """Return the files a hosted model cannot do without and that are not in ``folder``.

    A checkpoint whose conversion is there is not missing.
    """
    found = bundle(model)
    return tuple(
        file
        for file in (found.files if found else ())
        if not file.optional
        and not (folder / file.name).is_file()
        and not converted(folder / file.name).is_file()
    )


def converted(checkpoint: Path) -> Path:
    """Return where the safetensors of a pickled checkpoint are kept, beside it."""
    return checkpoint.with_name(f"{checkpoint.name}.safetensors")


def not_there(model: ModelCard, files: tuple[BundleFile, ...], folder: Path) -> ModelRefused:
    """Return the refusal of a model whose files are missing: their names, place and origin."""
    found = bundle(model)
    names = ", ".join(file.name for file in files)
    where = f" They are to be had here: {found.where}" if found else ""
    return ModelRefused(
        "missing-weights",
        f"the files of {model.id}: {names}, in the folder {folder}.",
        f"{files[0].name} is not in {folder}.",
        f"Put them there, or run: ctvlp models import {model.id} FILE_OR_FOLDER.{where}",
    )
