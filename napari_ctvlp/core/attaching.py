"""Which places, sides and measures of a text belong to which of its findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari_ctvlp.core.lexicon import Match
from napari_ctvlp.core.mentions import JOINED, Mention, fits, inside, list_like, narrowed
from napari_ctvlp.core.phrase import PhraseSide
from napari_ctvlp.core.reading import Reading, Size
from napari_ctvlp.core.vocabulary import findings, places

_PLACES = ("anatomy", "implied organ", "side", "implied side", "location")
_TURNED: dict[str, PhraseSide] = {"left": "right", "right": "left"}
_PREPOSITIONS = frozenset({"in", "of", "at", "on", "within", "along", "involving", "near"})


@dataclass(frozen=True)
class Attached:
    """A mention with the words that place and measure it.

    Attributes
    ----------
    mention : Mention
    words : range
        Its territory: from the joining word before it to the one after.
    where : tuple of Match
        Matches that place it.
    anatomy : str
        House name, sided where the place has sides.
    side : {"left", "right", "both", ""}
    size : Size or None
    """

    mention: Mention
    words: range
    where: tuple[Match, ...]
    anatomy: str = ""
    side: PhraseSide = ""
    size: Size | None = None


def attach(reading: Reading, found: Sequence[Mention]) -> tuple[Attached, ...]:
    """Return every mention with its places, side and size, in reading order."""
    territories = [_territory(reading, found, n) for n in range(len(found))]
    own = [_own(reading, found, words) for words in territories]
    where = [_where(reading, found, own, n) for n in range(len(found))]
    out: list[Attached] = []
    for mention, words, matches in zip(found, territories, where, strict=True):
        if not mention.finding:
            continue
        side = side_of(matches, _turned_from(out))
        size = next((s for s in reading.sizes if _within(reading, s, words)), None)
        one = Attached(mention, words, matches, "", side, size)
        one = replace(one, anatomy=_anatomy(one))
        if out and not one.anatomy and _explains(reading, found, found.index(mention)):
            one = replace(one, anatomy=out[-1].anatomy, side=one.side or out[-1].side)
        out += _split(reading, one)
    return tuple(out)


def side_of(where: Sequence[Match], before: PhraseSide = "") -> PhraseSide:
    """Return the side that matches name; "ipsilateral" is that of the finding before."""
    said = {match.value("side") for match in where}
    said |= {match.value("implied side") for match in where}
    if before:
        said |= {before} if "same" in said else set()
        said |= {_TURNED.get(before)} if "other" in said else set()
    if "both" in said or {"left", "right"} <= said:
        return "both"
    return "left" if "left" in said else "right" if "right" in said else ""


def place_name(where: Sequence[Match], side: PhraseSide, fallback: str = "") -> str:
    """Return the first place that matches name, with its side where it has two."""
    named = [match.value("anatomy") or match.value("implied organ") for match in where]
    name = next((name for name in named if name), fallback)
    if not name:
        return ""
    place = places()[name]
    sided = f"{place.sided}_{side}"
    return sided if place.sided and sided in places() else place.name


def _territory(reading: Reading, found: Sequence[Mention], n: int) -> range:
    """Return the words of a mention: its clause, cut between it and its neighbours."""
    mention, clause = found[n], reading.clause_of(found[n].first)
    start, stop = clause.start, clause.stop
    if n and found[n - 1].first in clause:
        start = _cut(reading, found[n - 1], mention)
    if n + 1 < len(found) and found[n + 1].first in clause:
        stop = _cut(reading, mention, found[n + 1])
    return range(start, stop)


def _cut(reading: Reading, first: Mention, second: Mention) -> int:
    """Return the word at which the second of two mentions begins.

    The last joining word between them; without one, the places after a preposition still
    belong to the first.
    """
    for place in range(second.first, first.stop - 1, -1):
        word = reading.words[place]
        if "," in word.mark or (word.stem in JOINED and place < second.first):
            return place
    gap = range(first.stop, second.first)
    turned = [n for n in gap if reading.words[n].stem in _PREPOSITIONS]
    placed = [m.stop for m in reading.with_role(*_PLACES) if m.first in gap]
    return max(placed) if turned and placed else first.stop


def _own(reading: Reading, found: Sequence[Mention], words: range) -> list[Match]:
    """Return the places in a territory, without the words of findings."""
    taken = {n for mention in found for n in range(mention.first, mention.stop)}
    return [m for m in reading.with_role(*_PLACES) if m.first in words and m.first not in taken]


def _where(
    reading: Reading, found: Sequence[Mention], own: Sequence[list[Match]], n: int
) -> tuple[Match, ...]:
    """Return the places of a mention: its own, or what its list, topic or explanation shares."""
    here = own[n]
    if not here and _explains(reading, found, n):
        return _where(reading, found, own, n - 1)
    if not here:
        here = [m for m in _shared(reading, found, own, n) if _fitting(found[n], m)]
    if not here and n and list_like(reading, found[n - 1], found[n]):
        here = [m for m in own[n - 1] if _is_topic(reading, m, found[0]) and _fitting(found[n], m)]
    return tuple(here or _of_sentence(reading, found, n))


def _shared(
    reading: Reading, found: Sequence[Mention], own: Sequence[list[Match]], n: int
) -> list[Match]:
    """Return the places after the last item of a list: "masses and nodules in both lungs"."""
    if n + 1 >= len(found) or not list_like(reading, found[n], found[n + 1]):
        return []
    trailing = [match for match in own[n + 1] if match.first >= found[n + 1].stop]
    return trailing or ([] if own[n + 1] else _shared(reading, found, own, n + 1))


def _fitting(mention: Mention, match: Match) -> bool:
    name = match.value("anatomy") or match.value("implied organ")
    return not name or fits(mention.finding, places()[name])


def _is_topic(reading: Reading, match: Match, first: Mention) -> bool:
    """Say whether a place stands before the first finding as what the sentence is about."""
    gap = range(match.stop, first.first)
    verbs = {n for m in reading.with_role("template", "before") for n in range(m.first, m.stop)}
    colon = any(":" in reading.words[n].mark for n in (*gap, first.first))
    return match.stop <= first.first and (colon or any(n in verbs for n in gap))


def _explains(reading: Reading, found: Sequence[Mention], n: int) -> bool:
    """Say whether a mention is what the one before may be ("likely a granuloma")."""
    if not n or reading.sentence[found[n].first] != reading.sentence[found[n - 1].first]:
        return False
    gap = range(found[n - 1].stop, found[n].first)
    if any(m.first in gap for m in reading.with_role("explains")):
        return not any(reading.words[p].stem in {"and", "with"} for p in gap)
    return list_like(reading, found[n - 1], found[n]) and _explains(reading, found, n - 1)


def _of_sentence(reading: Reading, found: Sequence[Mention], n: int) -> list[Match]:
    """Return the places of a neighbouring clause that has no finding of its own."""
    mention = found[n]
    sentence, clause = reading.sentence[mention.first], reading.clause[mention.first]
    taken = {reading.clause[other.first] for other in found}
    near = [
        match
        for match in reading.with_role(*_PLACES)
        if reading.sentence[match.first] == sentence
        and abs(reading.clause[match.first] - clause) == 1
        and reading.clause[match.first] not in taken
        and _fitting(mention, match)
    ]
    if near or n == 0 or reading.sentence[found[0].first] != sentence:
        return near
    topic = [m for m in reading.with_role("anatomy") if m.stop <= found[0].first]
    colon = [m for m in topic if m.stop < len(reading.words) and ":" in reading.words[m.stop].mark]
    return [m for m in colon if reading.sentence[m.first] == sentence and _fitting(mention, m)]


def _turned_from(before: Sequence[Attached]) -> PhraseSide:
    return next((one.side for one in reversed(before) if one.side in _TURNED), "")


def _anatomy(one: Attached) -> str:
    """Return the place of a mention: one said outside its name, or the one within it."""
    within = inside(one.mention.stems)
    organs = findings()[one.mention.finding].organs
    if within and len(organs) == 1 and not fits(one.mention.finding, places()[within]):
        within = organs[0]
    return place_name(one.where, one.side, within)


def _within(reading: Reading, size: Size, words: range) -> bool:
    """Say whether a measure stands in a territory."""
    return _edge(reading, words.start) <= size.start < _edge(reading, words.stop)


def _edge(reading: Reading, place: int) -> int:
    """Return the character at which the territory of a word begins."""
    if place >= len(reading.words):
        return len(reading.text)
    before = reading.words[place - 1].end if place else 0
    if reading.words[place].stem in JOINED:
        return reading.words[place].start
    comma = reading.text.find(",", before, reading.words[place].start)
    return comma if comma >= 0 and place else before


def _split(reading: Reading, one: Attached) -> list[Attached]:
    """Return a mention once for each organ that makes another finding of it.

    "Metastases in the liver and in the left adrenal gland" are two findings.
    """
    groups: list[list[Match]] = [[]]
    for match in one.where:
        if groups[-1] and _joined(reading, groups[-1][-1], match):
            groups.append([])
        groups[-1].append(match)
    if len(groups) < 2 or not all(any(m.has("anatomy") for m in group) for group in groups):
        return [one]
    out = []
    for group in groups:
        side = side_of(group)
        out.append(replace(one, where=tuple(group), anatomy=place_name(group, side), side=side))
    kinds = {narrowed(one.mention.finding, places().get(part.anatomy)) for part in out}
    return out if len(kinds) == len(out) else [one]


def _joined(reading: Reading, first: Match, second: Match) -> bool:
    """Say whether two places are joined by "and"."""
    return any(reading.words[n].stem == "and" for n in range(first.stop, second.first))
