"""Words the product knows, in data files that users may edit; read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One row of ``findings.toml``.

    Attributes
    ----------
    name, title : str
        House name and plain English.
    concept : str
        Row of ``concepts.toml`` the embedded model was taught, or ``""``.
    organs : tuple of str
        House organs in which the findings table looks for it.
    words : tuple of str
        What users call it.
    present, absent : tuple of str
        Prompts of the findings table.
    narrower : tuple of str
        Findings that it is when it lies in an organ of theirs: a stone in the kidney.
    also : tuple of str
        Further words of reports; the text head is not trained on them.
    parts : tuple of str
        What is enlarged, dilated or thickened when this is meant.
    generic : bool
        A finding only together with an organ: "enlarged".
    snomed : str
        SNOMED CT id, where certain.
    ct_rate : tuple of str
        Labels of CT-RATE it stands for.
    fvlm : bool
        Among the findings that fVLM names, as far as they are known.
    """

    name: str
    title: str
    concept: str
    organs: tuple[str, ...]
    words: tuple[str, ...]
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    narrower: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    generic: bool = False
    snomed: str = ""
    ct_rate: tuple[str, ...] = ()
    fvlm: bool = False


@dataclass(frozen=True)
class Place:
    """An organ or a region of ``organs.toml``.

    Attributes
    ----------
    name, title, group, side, colour, snomed : str
        House name, plain English, list it is filed in, patient side, ``#RRGGBB``, SNOMED CT id.
    words : tuple of str
        What users call it.
    sided : str
        ``f"{sided}_left"`` and ``f"{sided}_right"`` are its organs by side, or ``""``.
    members : tuple of str
        Organs a region consists of.
    field : str
        A region that ``core/regions.py`` works out, searched instead of the members.
    """

    name: str
    title: str
    group: str = ""
    side: str = ""
    colour: str = ""
    snomed: str = ""
    words: tuple[str, ...] = ()
    sided: str = ""
    members: tuple[str, ...] = ()
    field: str = ""


@dataclass(frozen=True)
class Concept:
    """One row of ``concepts.toml``: the region searched, and how far around it in mm."""

    name: str
    kind: str
    where: str
    members: tuple[str, ...] = ()
    margin_mm: float = 0.0


@cache
def findings() -> Mapping[str, Finding]:
    """Return findings by house name, in file order."""
    return {row["name"]: Finding(**_tuples(row)) for row in table("findings")["finding"]}


@cache
def places() -> Mapping[str, Place]:
    """Return organs and regions by house name, in file order."""
    rows = [*table("organs")["organ"], *table("organs")["region"]]
    return {row["name"]: Place(**_tuples(row)) for row in rows}


@cache
def concepts() -> tuple[Concept, ...]:
    """Return every concept: findings, unions, anatomy. A model's card tells which it knows."""
    known, kinds = Concept.__dataclass_fields__, ("finding", "union", "anatomy")
    rows = (
        Concept(**_tuples({key: item for key, item in row.items() if key in known}))
        for row in table("concepts")["concept"]
    )
    return tuple(sorted(rows, key=lambda row: kinds.index(row.kind)))


@cache
def table(name: str) -> Mapping[str, Any]:
    """Return one file of this folder as TOML."""
    return tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in row.items()}
