"""From a manifest to a fitted head on disk: safetensors and a card, both checked when read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_ctvlp.engine import compute
from napari_ctvlp.engine.jobs import part
from napari_ctvlp.engine.verbs import open_scan, segment
from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Encoder, Progress, silent
from napari_ctvlp.models.store import sha256
from napari_ctvlp.training.finetune import Tuned, finetune, weights_of
from napari_ctvlp.training.heads import MODES, Mode, Recipe, new_head
from napari_ctvlp.training.manifest import read_manifest
from napari_ctvlp.training.studies import examples
from napari_ctvlp.training.trunks import tail_of

HEAD, CARD = "head.safetensors", "card.json"


def save_head(tuned: Tuned, folder: Path) -> None:
    """Write ``head.safetensors`` and ``card.json``.

    The tensors are float32 and hold the trunk's last layers as the head changed them; the card
    says what they were fitted on, how well they did on held-out patients, and their SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Tensor] = {"slope": tuned.slope, "offset": tuned.offset}
    for number, head in enumerate(tuned.heads):
        state |= {f"member.{number}.{k}": v.contiguous() for k, v in head.state_dict().items()}
    save_file({name: value.detach().cpu() for name, value in state.items()}, folder / HEAD)
    card = {
        "kind": "head",
        "model": tuned.model,
        "weights": tuned.weights,
        "labels": tuned.labels,
        "organs": tuned.organs,
        "width": tuned.width,
        "recipe": asdict(tuned.recipe),
        "report": tuned.report,
        "sha256": sha256(folder / HEAD),
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load_head(folder: Path, encoder: Encoder) -> Tuned:
    """Read what :func:`save_head` wrote.

    Parameters
    ----------
    folder : Path
    encoder : Encoder
        The trunk the head was fitted on.

    Raises
    ------
    ModelRefused
        When a file is missing, is not what its SHA-256 says or holds other tensors.
    """
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
        found = sha256(folder / HEAD)
        if found != card["sha256"]:
            raise ValueError(f"{HEAD} has the SHA-256 {found}")
        return _built(card, load_file(folder / HEAD), encoder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelRefused(
            "bad-head",
            f"a folder with {CARD} and {HEAD} as a fine-tuning wrote them.",
            f"{folder.name} cannot be used ({type(error).__name__}: {error}).",
            "Put the original files back or fit the head again.",
        ) from error


def _built(card: dict[str, Any], state: dict[str, Tensor], encoder: Encoder) -> Tuned:
    recipe, labels = Recipe(**card["recipe"]), tuple(card["labels"])
    heads = []
    for number in range(recipe.members):
        head = new_head(recipe.mode, tail_of(encoder), int(card["width"]), len(labels))
        own = f"member.{number}."
        head.load_state_dict(
            {k.removeprefix(own): v for k, v in state.items() if k.startswith(own)}
        )
        heads.append(head.eval())
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise ValueError("some weights are not finite")
    return Tuned(
        recipe,
        labels,
        tuple(heads),
        state["slope"],
        state["offset"],
        card["report"],
        tuple(card["organs"]),
        str(card["model"]),
        str(card["weights"]),
        int(card["width"]),
    )


def fit_manifest(
    data: Path,
    out: Path,
    *,
    model: str = "mini",
    mode: str = "tuned",
    organs: Sequence[str] = ("lung_left", "lung_right"),
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> Tuned:
    """Check a manifest, run the trunk over its studies, fit heads and save them.

    Parameters
    ----------
    data, out : Path
        Manifest (or CT-RATE-like folder) with labels; folder that receives the head.
    model : str
        Card id of an encoder.
    mode : {"frozen", "tuned"}
    organs : sequence of str
        Region that is judged.
    seed : int
    device : {"auto", "cuda", "mps", "cpu"}
    progress : callable

    Raises
    ------
    InputRefused
        When the manifest is bad, a label has too few patients or the mode is unknown.
    """
    recipe = Recipe(mode=_mode(mode), seed=seed)
    studies = read_manifest(data, "labels", progress=part(progress, 0.0, 0.2))
    encoder = store.load_encoder(model, compute.choose(device, store.card(model)))
    told = part(progress, 0.2, 0.6)
    made, labels = examples(studies, encoder, organs, progress=told)
    told = part(progress, 0.6, 1.0)
    tuned = finetune(made, labels, recipe, tail_of(encoder), progress=told)
    whole = replace(tuned, organs=tuple(organs), model=encoder.card.id, weights=weights_of(encoder))
    save_head(whole, out)
    return whole


def apply_to(
    folder: Path, ct: Path, *, model: str = "mini", device: str = "auto"
) -> dict[str, tuple[float, float]]:
    """Return probability and spread of every label of a saved head, for one CT file."""
    encoder = store.load_encoder(model, compute.choose(device, store.card(model)))
    scan = open_scan(ct)
    return load_head(folder, encoder).apply(encoder, scan, segment(scan))


def _mode(word: str) -> Mode:
    for mode in MODES:
        if word == mode:
            return mode
    raise InputRefused(
        "unknown-mode",
        f"one of {', '.join(MODES)}.",
        f"The mode is {word!r}.",
        "Choose frozen for a linear head, tuned to train the last layers along.",
    )
