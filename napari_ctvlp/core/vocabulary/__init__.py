"""Words the product knows, in data files; read once, and again when a user's own file changed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
#: What is worked out from findings, to be forgotten when they change.
_FORGET: list[Callable[[], None]] = []


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
        Prompts of the findings table; never empty.
    narrower : tuple of str
        Findings that it is when it lies in an organ of theirs: a stone in the kidney.
    also : tuple of str
        Further words of reports; the text head is not trained on them.
    parts : tuple of str
        What is enlarged, dilated or thickened when this is meant.
    generic : bool
        A finding only together with an organ: "enlarged".
    snomed, radlex : str
        SNOMED CT and RadLex id, or ``""``; see :func:`seen_codes` for how far they are verified.
    own : bool
        From the user's own file.
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
    radlex: str = ""
    own: bool = False


@dataclass(frozen=True)
class Place:
    """An organ or a region of ``organs.toml``.

    Attributes
    ----------
    name, title, group, side, colour, snomed : str
        House name, plain English, list it is filed in, patient side, ``#RRGGBB``, SNOMED CT id
        (:func:`seen_codes` tells how far it is verified).
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


@dataclass(frozen=True)
class Catalogue:
    """A published list of findings.

    Attributes
    ----------
    title : str
    counted : int
        How many findings its authors count.
    how : {"certain", "reconstructed"}
        Read in their own files, or put together from memory and later work.
    anatomies : mapping of str to tuple of str
        House organs by the published name; empty where it has none.
    findings : mapping of str to str
        House finding by the published name.
    """

    title: str
    counted: int
    how: str
    findings: Mapping[str, str]
    anatomies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def derived(function: Function) -> Function:
    """Keep what a function works out until the findings change."""
    kept: Any = cache(function)
    _FORGET.append(kept.cache_clear)
    return kept  # type: ignore[no-any-return]


@derived
def findings() -> Mapping[str, Finding]:
    """Return findings by house name: ours in file order, then the user's own."""
    return {**shipped(), **_own}


@cache
def shipped() -> Mapping[str, Finding]:
    """Return the findings that come with the package."""
    rows = (Finding(**_tuples(row)) for row in table("findings")["finding"])
    return {row.name: complete(row) for row in rows}


def complete(finding: Finding) -> Finding:
    """Return a finding with prompts and codes where it has none of its own."""
    forms, codes = table("findings")["templates"], table("codes")
    said: dict[str, Any] = {
        pole: getattr(finding, pole) or tuple(form.format(finding.title) for form in forms[pole])
        for pole in ("present", "absent")
    }
    snomed = finding.snomed or _code(codes["snomed"], finding.name)
    radlex = finding.radlex or _code(codes["radlex"], finding.name)
    return replace(finding, **said, snomed=snomed, radlex=radlex)


def use(own: Mapping[str, Finding]) -> None:
    """Replace the user's own findings; :func:`napari_ctvlp.core.vocabulary.own.read` makes them."""
    global _own  # noqa: PLW0603 - there is one vocabulary
    if own == _own:
        return
    _own = dict(own)
    for forget in _FORGET:
        forget()


def in_use() -> Mapping[str, Finding]:
    """Return the user's own findings, as :func:`use` took them."""
    return _own


_own: dict[str, Finding] = {}


@cache
def places() -> Mapping[str, Place]:
    """Return organs and regions by house name, in file order."""
    rows = [*table("organs")["organ"], *table("organs")["region"]]
    codes = table("codes")["snomed"]
    return {row["name"]: Place(**_tuples(row), snomed=_code(codes, row["name"])) for row in rows}


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
def catalogues() -> Mapping[str, Catalogue]:
    """Return published catalogues by their house name."""
    found = {}
    for name, row in table("catalogues").items():
        organs = {key: tuple(listed) for key, listed in row.get("anatomies", {}).items()}
        found[name] = Catalogue(row["title"], row["counted"], row["how"], row["findings"], organs)
    return found


def seen_codes() -> frozenset[str]:
    """Return the SNOMED CT and RadLex ids that were seen beside their term in public sources.

    The others were written from memory; only their check digit is known to be right.
    """
    codes = table("codes")
    return frozenset({*codes["snomed"]["seen"].values(), *codes["radlex"]["seen"].values()})


@cache
def table(name: str) -> Mapping[str, Any]:
    """Return one file of this folder as TOML."""
    return tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))


def _code(codes: Mapping[str, Mapping[str, str]], name: str) -> str:
    return next((part[name] for part in codes.values() if name in part), "")


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in row.items()}
