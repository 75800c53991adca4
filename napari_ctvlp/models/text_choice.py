"""Which text tower reads phrases: the embedded one, or MiniLM where it is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.text import CHOSEN, TOWERS, TextTower, chosen_folder, find_tower

#: The tower that reads phrases when nothing else is said.
DEFAULT = "minilm"


class Sentences(Protocol):
    """Something that makes unit vectors of phrases."""

    def embed(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per phrase, shape (n, 384), float32."""
        ...


def chosen_tower(name: str = "") -> str:
    """Return the name of the tower to use.

    The environment's ``CTVLP_TEXT_MODEL`` decides (``small``, ``minilm``, or a folder with
    MiniLM's files), then ``name``, a card's setting, then :data:`DEFAULT`.

    Raises
    ------
    ModelRefused
        If there is no tower called ``name``.
    """
    said = "minilm" if chosen_folder() else os.environ.get(CHOSEN) or name or DEFAULT
    if said not in TOWERS:
        raise ModelRefused(
            "unknown-text-model",
            f"one of the text towers {', '.join(TOWERS)}.",
            f"There is no text tower called {said!r}.",
            f"Mend the card, or leave {CHOSEN} unset.",
        )
    return said


def chosen_head(heads: Mapping[str, str]) -> tuple[str, str]:
    """Return the tower to use and its head's weights file, out of those a card names.

    Without a choice of the user's, the first tower of the card that is on this computer.

    Raises
    ------
    ModelRefused
        If the chosen tower has no head on the card, or is not here.
    """
    if chosen_folder() or os.environ.get(CHOSEN):
        said = chosen_tower()
    else:
        said = next((name for name in heads if name != "minilm" or _has_minilm()), "minilm")
    if said not in heads:
        raise ModelRefused(
            "no-head",
            f"one of the text towers {', '.join(heads)}, for which the model has weights.",
            f"The text tower {said!r} was chosen.",
            f"Choose one of them in {CHOSEN}, or leave it unset.",
        )
    return said, heads[said]


def _has_minilm() -> bool:
    try:
        find_tower()
    except ModelRefused:
        return False
    return True


def load_tower(name: str) -> Sentences:
    """Load the tower of this name; raises ModelRefused if it cannot be had."""
    if name == "minilm":
        return TextTower.load()
    from napari_ctvlp.models.text_small import SmallTower

    return SmallTower.load()
