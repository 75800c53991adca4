"""Calibrations of the absence check: the shipped one, or the user's own for a model.

A calibration belongs to exact weights, to the card's settings that shape a map and to the clues
that were known when it was made; for any others it is not there. The user's lies in
``calibrations`` beside the models and goes before the shipped one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import lru_cache
from pathlib import Path

from napari_ctvlp.core.absence import CLUES, Calibration
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import ModelCard

#: Settings of a card that no map depends on.
_NOT_SHAPING = ("thresholds", "memory", "precision", "entry")


def weights_of(card: ModelCard) -> str:
    """Return one SHA-256 for a model's weights and the settings that shape its maps."""
    shaping = {name: item for name, item in card.settings.items() if name not in _NOT_SHAPING}
    told = json.dumps([sorted(store.digests(card).items()), shaping], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def shipped(model: str) -> Path:
    """Return where the calibration of a shipped model lies."""
    return Path(store.CARDS) / "absence" / f"{model}.json"


def own(model: str) -> Path:
    """Return where the user's own calibration of a model lies."""
    return store.models_folder().parent / "calibrations" / f"{model}.json"


def calibration(card: ModelCard) -> Calibration | None:
    """Return the calibration of a model's present weights, or None."""
    for path in (own(card.id), shipped(card.id)):
        if path.is_file():
            found = _read(path, path.stat().st_mtime_ns)
            if found.weights == weights_of(card) and len(found.slopes) == len(CLUES):
                return found
    return None


def save(found: Calibration, path: Path) -> None:
    """Write a calibration as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(found), indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises
    ------
    InputRefused
        If the file is not one.
    """
    try:
        found = Calibration.of(json.loads(path.read_text(encoding="utf-8")))
        if not len(found.means) == len(found.scales) == len(found.slopes):
            raise ValueError(f"it weighs {len(found.slopes)} clues of {len(found.means)}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputRefused(
            "bad-calibration",
            "a calibration as 'ctvlp train absence' or 'ctvlp evaluate' writes it.",
            f"{path.name} is none ({error}).",
            "Delete it, or make it again.",
        ) from error
    return found


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Calibration:
    return read(path)
