"""The findings that a text mentions, also those it half says ("lytic or sclerotic lesions")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from napari_ctvlp.core.lexicon import Match, meaning
from napari_ctvlp.core.reading import Reading
from napari_ctvlp.core.vocabulary import Place, findings, places

#: Words between the items of a list, and those after which a finding has places of its own.
LISTED = frozenset({"and", "or", "nor", "&", "versus", "vs"})
_VAGUE = frozenset({"opacity", "lesion"})
JOINED = LISTED | {"with", "without", "plus", "no", "not", "also", "than", "of"} - {"of"}


@dataclass(frozen=True)
class Mention:
    """A finding in a text.

    Attributes
    ----------
    finding : str
        House name.
    first, stop : int
        Its words; ``stop`` exclusive.
    stems : tuple of str
        The words it was understood as: longer than its own when a list shares some.
    state : int
        A word whose denial denies it: "the nodes are not enlarged"; else ``first``.
    """

    finding: str
    first: int
    stop: int
    stems: tuple[str, ...]
    state: int


def mentions(reading: Reading) -> tuple[Mention, ...]:
    """Return the findings of a text in reading order.

    A word like "enlarged" beside an organ of which it makes no finding is there too, with an
    empty ``finding``: what is said of it is said of no other.
    """
    found: list[Mention] = []
    for match in reading.with_role("finding"):
        if _repeats(reading, match):
            continue
        found += _shared_ends(reading, match)
        found.append(_mention(reading, match))
    ordered = sorted(found, key=lambda mention: mention.first)
    shared = [_with_shared_start(reading, ordered, n) for n in range(len(ordered))]
    return tuple(_resolved(reading, shared))


def list_like(reading: Reading, first: Mention, second: Mention) -> bool:
    """Say whether two mentions are items of one list: joined by commas, "and", "or"."""
    gap = range(first.stop, second.first)
    clause = reading.clause_of(first.first)
    if second.first not in clause:
        return False
    comma = any("," in reading.words[n].mark for n in (*gap, second.first))
    ends = range(first.stop, clause.stop if comma else second.first)
    joined = any(reading.words[n].stem in LISTED for n in ends) or _rather(reading, gap)
    return joined and not any(reading.words[n].stem in {"with", "without", "no"} for n in gap)


def inside(stems: tuple[str, ...]) -> str:
    """Return the place within a finding's own name ("renal cyst"), or ``""``."""
    for length in range(len(stems), 0, -1):
        for start in range(len(stems) - length + 1):
            match = meaning(stems[start : start + length])
            name = match.value("anatomy") if match is not None else None
            if name:
                return name
    return ""


def fits(finding: str, place: Place) -> bool:
    """Say whether a finding can lie in a place."""
    row = findings().get(finding)
    if row is None:
        return False
    where = {place.name, place.group, *place.members}
    members = {*row.organs, *(o for name in row.organs for o in places()[name].members)}
    return bool(where & members) or any(fits(name, place) for name in row.narrower)


def narrowed(finding: str, place: Place | None) -> str:
    """Return the narrower finding where the place tells: a stone in a kidney."""
    if not finding or place is None:
        return finding
    organs = set(place.members or (place.name,))
    for name in findings()[finding].narrower:
        narrow = findings()[name]
        if organs <= set(narrow.organs) or place.name in narrow.organs:
            return name
        if place.group and place.group in narrow.organs:
            return name
    return finding


def _mention(reading: Reading, match: Match) -> Mention:
    stems = tuple(word.stem for word in reading.words[match.first : match.stop])
    return Mention(match.value("finding") or "", match.first, match.stop, stems, match.first)


def _repeats(reading: Reading, match: Match) -> bool:
    """Say whether a match is the vague end of the one before: "diffuse ground glass" opacity."""
    before = any(m.stop == match.first for m in reading.with_role("finding"))
    return before and match.value("finding") in _VAGUE and not reading.words[match.first].mark


def _rather(reading: Reading, gap: range) -> bool:
    return any(m.first in gap for m in reading.matches if reading.words_of(m) == "rather than")


def _shared_ends(reading: Reading, match: Match) -> Iterator[Mention]:
    """Yield findings whose last words stand in a later item: "pleural or pericardial effusion"."""
    stems = tuple(word.stem for word in reading.words[match.first : match.stop])
    own, place = match.value("finding"), match.first - 1
    taken = {n for m in reading.with_role("finding") for n in range(m.first, m.stop)}
    while place > 0 and reading.clause[place] == reading.clause[match.first]:
        mark = reading.words[place + 1].mark
        joined = reading.words[place].stem in LISTED
        head = place - 1 if joined else place
        if not (joined or "," in mark) or head in taken:
            return
        said = _completed(reading.words[head].stem, stems)
        if said is None or said[0] == own:
            return
        yield Mention(said[0], head, head + 1, said[1], head)
        place = head - 1


def _completed(word: str, stems: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    """Return the finding that a word and the last of some words name."""
    for start in range(1, len(stems)):
        whole = (word, *stems[start:])
        match = meaning(whole)
        name = match.value("finding") if match is not None else None
        if name:
            return name, whole
    match = meaning((word, *stems)) if stems else None
    name = match.value("finding") if match is not None else None
    return (name, (word, *stems)) if name else None


def _with_shared_start(reading: Reading, found: list[Mention], n: int) -> Mention:
    """Return a mention with the first word of its list: "pericardial thickening or effusion"."""
    mention = found[n]
    if not n:
        return mention
    before = found[n - 1]
    after = reading.words[mention.stop].stem if mention.stop < len(reading.words) else ""
    apart = mention.first - before.stop > 1 or after in {"of", "in"}
    if apart or not list_like(reading, before, mention):
        return mention
    for place in range(before.stop - 1, max(before.first - 2, -1), -1):
        match = meaning((reading.words[place].stem, *mention.stems))
        name = match.value("finding") if match is not None else None
        if name and name != mention.finding:
            stems = (reading.words[place].stem, *mention.stems)
            return replace(mention, finding=name, stems=stems)
    return mention


def _resolved(reading: Reading, found: list[Mention]) -> Iterator[Mention]:
    """Yield the findings; "enlarged" and the like only as what an organ makes of them."""
    generic = [m for m in found if findings()[m.finding].generic]
    proper = [m for m in found if m not in generic]
    for mention in found:
        if mention in proper:
            yield _with_state(reading, mention, generic)
            continue
        whole = _segment(reading, mention)
        if any(other.first in whole for other in proper):
            continue
        placed = any(match.first in whole for match in reading.with_role("anatomy"))
        name = _made(reading, mention, whole)
        if not placed:
            name = name or _made_before(reading, mention, found)
        if name or placed:
            yield replace(mention, finding=name)


def _with_state(reading: Reading, mention: Mention, generic: list[Mention]) -> Mention:
    """Let a word like "enlarged" in a mention's own statement decide on its denial."""
    whole = _segment(reading, mention)
    for other in generic:
        said = mention.finding in findings()[other.finding].narrower
        if said and other.first in whole and other.first > mention.first:
            return replace(mention, state=other.first)
    return mention


def _segment(reading: Reading, mention: Mention) -> range:
    """Return the words around a mention up to a comma or a joining word."""
    clause = reading.clause_of(mention.first)
    start, stop = mention.first, mention.stop
    while start > clause.start and not _cuts(reading, start, start - 1):
        start -= 1
    while stop < clause.stop and not _cuts(reading, stop, stop):
        stop += 1
    return range(start, stop)


def _cuts(reading: Reading, edge: int, word: int) -> bool:
    return "," in reading.words[edge].mark or reading.words[word].stem in {
        "and",
        "or",
        "nor",
        "with",
        "without",
    }


def _made(reading: Reading, mention: Mention, whole: range) -> str:
    """Return what the organ or the part in a range makes of a generic word, or ``""``."""
    narrower = findings()[mention.finding].narrower
    for match in reading.with_role("part"):
        if match.first in whole and match.value("part") in narrower:
            return match.value("part") or ""
    for match in reading.with_role("anatomy"):
        if match.first in whole:
            name = narrowed(mention.finding, places()[match.value("anatomy") or ""])
            if name != mention.finding:
                return name
    return ""


def _made_before(reading: Reading, mention: Mention, found: list[Mention]) -> str:
    """Return what the organ of the list's item before makes of a generic word, or ``""``."""
    earlier = [other for other in found if other.first < mention.first]
    if not earlier or not list_like(reading, earlier[-1], mention):
        return ""
    place = places().get(inside(earlier[-1].stems))
    name = narrowed(mention.finding, place)
    return name if name != mention.finding else ""
