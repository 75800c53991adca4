"""Long work of the weights manager as jobs: fetch, import, verify."""

from __future__ import annotations

from pathlib import Path

from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute, Progress, silent


def fetch_model(model: str, progress: Progress = silent) -> str:
    """Fetch the missing files of a hosted model; returns what was done, for the user.

    Raises
    ------
    ModelRefused
        As :func:`napari_ctvlp.models.store.download` does.
    """
    names = store.download(store.card(model), progress)
    return f"Fetched {', '.join(names)}." if names else "Everything was there already."


def import_model(model: str, path: Path, name: str = "", progress: Progress = silent) -> str:
    """Copy a file or folder of the user's into a model's folder; returns what was done.

    Raises
    ------
    ModelRefused
        As :func:`napari_ctvlp.models.store.import_files` does.
    """
    names = store.import_files(store.card(model), Path(path), name=name, progress=progress)
    return f"Imported {', '.join(names)}."


def verify_model(model: str, progress: Progress = silent) -> str:
    """Hash a model's files again and load it once, so that its tensors are compared too.

    Returns
    -------
    str
        Name and SHA-256 of every file, a line each.

    Raises
    ------
    ModelRefused
        If anything is missing, changed, or not the tensors the model needs.
    """
    card = store.card(model)
    if store.bundle(card) is None:
        store.verify(card)
        sums = dict(card.weights)
    else:
        sums = store.verify_files(card, progress)
    progress(0.5, "loading")
    if card.kind == "encoder":
        store.load_encoder(model, Compute())
    else:
        store.load_segmenter(model)
    progress(1.0, "verified")
    return "\n".join(f"{name}  {sha}" for name, sha in sorted(sums.items())) or "No files needed."
