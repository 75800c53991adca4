"""A user's own findings, and words of theirs for findings that are known, from a TOML file.

A file holds one table per finding. One of ours is extended: ``words`` and ``also`` are added,
every other line replaces ours. A new one needs ``organs`` and ``words``::

    [[finding]]
    name = "septic_emboli"
    title = "septic emboli"
    organs = ["lung_left", "lung_right"]
    words = ["septic emboli", "septic embolus"]
    present = ["septic emboli", "cavitating nodules with feeding vessels"]
    absent = ["no septic emboli"]
    concept = "cavity"       # row of concepts.toml whose answer is taken for it; or left out
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from napari_ctvlp.core.vocabulary import Finding, complete, concepts, places, shipped
from napari_ctvlp.errors import InputRefused

#: Characters of a file, and findings in it.
MOST_TEXT, MOST_FINDINGS = 1_000_000, 2000
_LISTS = ("organs", "words", "also", "present", "absent", "narrower", "parts")
_TEXTS = ("name", "title", "concept", "snomed", "radlex")
_ADDED = ("words", "also")
_NEEDED = ("title", "organs", "words", "present", "absent")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
#: Verhoeff's permutation, for the check digit of SNOMED CT ids.
_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def read(text: str) -> dict[str, Finding]:
    """Read a user's file.

    Parameters
    ----------
    text : str
        TOML, see the module's docstring; empty for nothing of one's own.

    Returns
    -------
    dict of str to Finding
        By house name, each whole; for :func:`napari_ctvlp.core.vocabulary.use`.

    Raises
    ------
    InputRefused
        ``bad-vocabulary`` with the finding and the line that cannot be used.
    """
    try:
        content = tomllib.loads(text) if len(text) <= MOST_TEXT else None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _refused(f"The file is no TOML: {error}.") from None
    rows = content.get("finding", []) if content is not None else None
    if content is None or not isinstance(rows, list) or len(rows) > MOST_FINDINGS:
        raise _refused("The file is too long, or 'finding' is no list of tables.")
    if set(content) - {"finding"}:
        raise _refused(f"Nothing reads [{min(set(content) - {'finding'})}].")
    found: dict[str, Finding] = {}
    for number, row in enumerate(rows, start=1):
        finding = _finding(row, f"Finding {number}")
        if finding.name in found:
            raise _refused(f"'{finding.name}' is there twice.")
        found[finding.name] = finding
    _check_together(found)
    return found


def _finding(row: Any, where: str) -> Finding:
    """Return one table as a whole finding."""
    if not isinstance(row, dict) or not _NAME.fullmatch(str(row.get("name", ""))):
        raise _refused(f"{where} has no name of small letters, digits and _.")
    name = row["name"]
    for key, value in row.items():
        _check_line(name, key, value)
    known = shipped().get(name)
    lines: dict[str, Any] = {
        key: tuple(value) if key in _LISTS else value for key, value in row.items()
    }
    if "organs" in lines:
        lines["organs"] = tuple(organ for name in lines["organs"] for organ in _by_side(name))
    if known is None:
        missing = [key for key in ("organs", "words") if not lines.get(key)]
        if missing:
            raise _refused(f"'{name}' is new and has no {missing[0]}.")
        plain = {"title": name.replace("_", " "), "concept": "", "own": True}
        return complete(Finding(**{**plain, **lines}))
    for key in _ADDED:
        lines[key] = tuple(dict.fromkeys((*getattr(known, key), *lines.get(key, ()))))
    return replace(known, **lines, own=True)


def _by_side(organ: str) -> tuple[str, ...]:
    """Return an organ, or both of a pair: findings tables have a row for each."""
    pair = places()[organ].sided
    return (f"{pair}_left", f"{pair}_right") if pair else (organ,)


def _check_line(name: str, key: str, value: Any) -> None:
    """Refuse a line that nobody reads or whose value cannot be right."""
    if key in _LISTS:
        good = isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
        kind = "a list of texts"
    else:
        good, kind = key in _TEXTS and isinstance(value, str), "a text"
    if key not in (*_LISTS, *_TEXTS):
        raise _refused(f"'{name}': nothing reads '{key}'.")
    if not good:
        raise _refused(f"'{name}': '{key}' is not {kind}.")
    if key in _NEEDED and not (value.strip() if key == "title" else value):
        raise _refused(f"'{name}': '{key}' is empty.")
    organs = places()
    strange = [v for v in value if v not in organs] if key == "organs" else []
    taught = {row.name for row in concepts() if row.kind != "anatomy"}
    if key == "concept" and value and value not in taught:
        strange = [value]
    if key == "snomed" and value and not snomed_ok(value):
        strange = [value]
    if key == "radlex" and value and not re.fullmatch(r"RID\d{1,6}", value):
        strange = [value]
    if strange:
        raise _refused(f"'{name}': '{strange[0]}' is no {key.removesuffix('s')} that is known.")


def _check_together(own: Mapping[str, Finding]) -> None:
    """Refuse findings that point to nothing, and words that already mean another finding."""
    everything = {**shipped(), **own}
    owner = {word.lower(): name for name, row in shipped().items() for word in row.words}
    for name, row in own.items():
        lost = [other for other in row.narrower if other not in everything]
        if lost:
            raise _refused(f"'{name}': '{lost[0]}' is no finding that is known.")
        for word in row.words:
            if owner.setdefault(word.lower(), name) != name:
                raise _refused(f"'{name}': '{word}' already means {owner[word.lower()]}.")


def snomed_ok(code: str) -> bool:
    """Return True when a SNOMED CT id's check digit is right; it may still be no concept."""
    if not re.fullmatch(r"[1-9]\d{5,17}", code):
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit)
        for _ in range(place % 8):
            value = _TURN[value]
        check = _times(check, value)
    return check == 0


def _times(a: int, b: int) -> int:
    """Multiply in the group of a pentagon's turns (0..4) and flips (5..9)."""
    if b < 5:
        return (a + b) % 5 if a < 5 else 5 + (a - b) % 5
    return 5 + (a + b) % 5 if a < 5 else (a - b) % 5


def _refused(found: str) -> InputRefused:
    return InputRefused(
        "bad-vocabulary",
        "tables [[finding]] with a name, organs and words (docs/findings.md).",
        found,
        "Mend the file; until then an open window keeps the words from before.",
    )
