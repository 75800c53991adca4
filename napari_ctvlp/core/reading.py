"""A text as words, what they match, and where its sentences and clauses end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from napari_ctvlp.core.lexicon import Match, Word, matches, small_words, words
from napari_ctvlp.core.phrase import Span

_UNIT = r"\s*-?\s*(mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?)\b"
_NUM = r"\d+(?:[.,]\d+)?"
_SIZE = re.compile(
    rf"{_NUM}(?:\s*(?:x|\u00d7|by|-|\u2013|to)\s*{_NUM}){{0,2}}{_UNIT}", re.IGNORECASE
)
#: A measure of an earlier study.
_FORMERLY = re.compile(r"(?:previously|formerly|prior|was|from|before)\s*(?:of|:)?\s*$", re.I)
_NUMBER = re.compile(_NUM)


@dataclass(frozen=True)
class Size:
    """A measure in a text: where it stands, and its largest number in mm."""

    start: int
    end: int
    mm: float

    @property
    def span(self) -> Span:
        """The measure as a span of the text."""
        return Span(self.start, self.end, "size")


@dataclass(frozen=True)
class Reading:
    """A text, its words, what they match, and per word the sentence and the clause.

    Attributes
    ----------
    sizes : tuple of Size
        Of the present study, in reading order.
    """

    text: str
    words: tuple[Word, ...]
    matches: tuple[Match, ...]
    sentence: tuple[int, ...]
    clause: tuple[int, ...]
    sizes: tuple[Size, ...]

    def with_role(self, *roles: str) -> Iterator[Match]:
        """Yield the matches that have one of the roles, in reading order."""
        return (match for match in self.matches if match.has(*roles))

    def span(self, match: Match, role: str, scope: range | None = None) -> Span:
        """Return a match as a span of the text, with the words it acts on."""
        start, end = self.words[match.first].start, self.words[match.stop - 1].end
        if not scope:
            return Span(start, end, role)
        reach = (self.words[scope[0]].start, self.words[scope[-1]].end)
        return Span(start, end, role, reach)

    def words_of(self, match: Match) -> str:
        """Return a match as its evened-out words."""
        return " ".join(word.stem for word in self.words[match.first : match.stop])

    def clause_of(self, place: int) -> range:
        """Return the words of the clause that a word is in."""
        number = self.clause[place]
        return range(self.clause.index(number), len(self.clause) - self.clause[::-1].index(number))


def read(text: str) -> Reading:
    """Return a text with its words matched and its clauses found."""
    sizes = tuple(_sizes(text))
    blanked = _blanked(text)
    sequence = words(blanked)
    found = matches(sequence)
    sentence = _sentences(blanked, sequence, found)
    clause = _clauses(sequence, found, sentence)
    return Reading(text, sequence, found, sentence, clause, sizes)


def _sizes(text: str) -> Iterator[Size]:
    for hit in _SIZE.finditer(text):
        if not _FORMERLY.search(text, 0, hit.start()):
            numbers = [float(n.replace(",", ".")) for n in _NUMBER.findall(hit.group())]
            scale = 10.0 if hit.group(1).lower().startswith("c") else 1.0
            yield Size(hit.start(), hit.end(), round(max(numbers) * scale, 6))


def _blanked(text: str) -> str:
    return _SIZE.sub(lambda hit: " " * len(hit.group()), text)


def _sentences(text: str, sequence: tuple[Word, ...], found: tuple[Match, ...]) -> tuple[int, ...]:
    """Return the sentence of each word; a colon after a mere place does not end one."""
    named = [match.first for match in found if match.has("finding")]
    out: list[int] = []
    number = start = 0
    for place, word in enumerate(sequence):
        ends = set(word.mark) & set(".;!?\n")
        topic = ":" in word.mark and any(start <= first < place for first in named)
        if place and (ends or topic):
            number, start = number + 1, place
        out.append(number)
    return tuple(out)


def _clauses(
    sequence: tuple[Word, ...], found: tuple[Match, ...], sentence: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the clause of each word: sentences, cut at stops and where a new statement begins."""
    stops = {match.first for match in found if match.has("stops")}
    fresh = set(_statements(sequence, found, sentence))
    out: list[int] = []
    number = 0
    for place in range(len(sequence)):
        new = place and sentence[place] != sentence[place - 1]
        number += bool(place and (new or place in stops or place in fresh))
        out.append(number)
    return tuple(out)


def _statements(
    sequence: tuple[Word, ...], found: tuple[Match, ...], sentence: tuple[int, ...]
) -> Iterator[int]:
    """Yield the words at which a comma or an "and" begins a statement with its own verb."""
    verbs = small_words("predicate")
    inside = {n for match in found for n in range(match.first + 1, match.stop)}
    cuts = [0, *_joints(sequence, sentence, inside), len(sequence)]
    begun, kept = 0, -1
    for cut, after in pairwise(cuts[1:]):
        if sentence[cut] != kept:
            begun, kept = sentence.index(sentence[cut]), sentence[cut]
        end = min(after, len(sentence) - sentence[::-1].index(kept))
        before_has = any(word.stem in verbs for word in sequence[begun:cut])
        own = any(word.stem in verbs for word in sequence[cut + 2 : end])
        named = any(m.has("finding", "anatomy") and cut <= m.first < end for m in found)
        if before_has and own and named and not _excepts(found, begun):
            begun = cut
            yield cut


def _joints(
    sequence: tuple[Word, ...], sentence: tuple[int, ...], inside: set[int]
) -> Iterator[int]:
    """Yield the words after a comma, and each "and"."""
    for place in range(1, len(sequence)):
        joined = "," in sequence[place].mark or sequence[place].stem == "and"
        if joined and place not in inside and sentence[place] == sentence[place - 1]:
            yield place


def _excepts(found: tuple[Match, ...], begun: int) -> bool:
    """Say whether a statement begins by what it leaves out ("apart from a cyst, ...")."""
    return any(match.has("stops") and match.first == begun for match in found)
