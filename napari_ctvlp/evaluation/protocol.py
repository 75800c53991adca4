"""The frozen protocol: cases, phrases and settings of ``ctvlp evaluate``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

PROTOCOL = Path(__file__).resolve().parent / "protocol.toml"
Side = Literal["left", "right", ""]


@dataclass(frozen=True)
class Case:
    """One scan with a reference mask.

    Attributes
    ----------
    name : str
        Folder under the evaluation directory; its CT is ``ct.nii.gz``.
    finding, phrase : str
        Key of the phrase lists, and the main phrase.
    side : {"left", "right"}
        Patient side of the reference.
    labels : str
        Label file on the CT's grid.
    ids : tuple of int
        Labels that make up the reference.
    truth : str
        Where the reference comes from.
    bar : bool
        Whether AUROC and CNR are judged here; pointing is judged on every case.
    """

    name: str
    finding: str
    phrase: str
    side: Side
    labels: str
    ids: tuple[int, ...]
    truth: str
    bar: bool = False


@dataclass(frozen=True)
class Seen:
    """A finding seen by eye: no mask.

    Attributes
    ----------
    name, phrase, side : str
    box : tuple of (least, most) corner, RAS mm, or empty
        Where the peak must lie.
    above : tuple of str
        Findings of the catalogue that must score lower over the whole scan.
    """

    name: str
    phrase: str
    side: Side
    box: tuple[tuple[float, ...], ...] = ()
    above: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhraseList:
    """Phrases of one finding: words of the glossary, words kept from it, other findings."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]
    swaps: tuple[str, ...]


@dataclass(frozen=True)
class Wording:
    """How a finding of the catalogue is asked for, and in words kept from training."""

    phrase: str
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """Numbers of the protocol; see the comments in ``protocol.toml``."""

    tolerance_mm: float
    random_maps: int
    random_sigma_mm: float
    iou_thresholds: tuple[float, ...]
    hit_dice: float
    bootstrap: int
    top_ml: float
    mass_mm: float


@dataclass(frozen=True)
class Templates:
    """Sentences around a phrase: ``{phrase}`` and, in ``sided``, ``{side}``."""

    sided: str
    plain: str
    negated: str
    other_negations: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """Everything that was fixed before training; ``bars`` by name, as in ``protocol.toml``."""

    version: str
    settings: Settings
    bars: Mapping[str, float]
    templates: Templates
    cases: tuple[Case, ...]
    seen: tuple[Seen, ...]
    kept_out: tuple[str, ...]
    lists: Mapping[str, PhraseList]
    unrelated: tuple[str, ...]
    neutral: tuple[str, ...]
    catalogue: Mapping[str, Wording]


@cache
def protocol() -> Protocol:
    """Read ``protocol.toml``."""
    table = tomllib.loads(PROTOCOL.read_text(encoding="utf-8"))
    return Protocol(
        version=table["version"],
        settings=Settings(**_tuples(table["settings"])),
        bars=table["bars"],
        templates=Templates(**_tuples(table["templates"])),
        cases=tuple(Case(**_tuples(row)) for row in table["case"]),
        seen=tuple(Seen(**_tuples(row)) for row in table["seen"]),
        kept_out=tuple(table["phrases"]["kept_out"]),
        lists={name: PhraseList(**_tuples(rows)) for name, rows in table["lists"].items()},
        unrelated=tuple(table["unrelated"]["phrases"]),
        neutral=tuple(table["neutral"]["phrases"]),
        catalogue={name: Wording(**_tuples(row)) for name, row in table["catalogue"].items()},
    )


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in row.items()}
