"""From a typed phrase to what is looked for, where, on which side, and whether it is denied.

Word lists and rules, in the manner of NegEx (Chapman et al., J Biomed Inform 2001): a negation
acts on the words after it up to a stop word or a full stop, some cues act on the words before
them, and some only look like negations. The lists are ``core/vocabulary/*.toml``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from napari_ctvlp.core.lexicon import Match, Word, matches, words
from napari_ctvlp.core.phrase import Phrase, PhraseSide, Span
from napari_ctvlp.core.vocabulary import findings, places, table

_SIZE = re.compile(
    r"(\d+(?:[.,]\d+)?)(?:\s*(?:x|\u00d7|by)\s*(\d+(?:[.,]\d+)?)){0,2}\s*-?\s*"
    r"(mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_BREAK = re.compile(r"[;:!?\n]|\.(?!\d)")
#: Roles whose words are not part of the query.
_DROPPED = ("side", "before", "after", "pseudo", "uncertain", "change", "template", "stops", "size")
_SHOWN = {
    "finding": "finding",
    "anatomy": "anatomy",
    "side": "side",
    "implied side": "side",
    "location": "location",
    "before": "negation",
    "after": "negation",
    "uncertain": "uncertainty",
    "change": "change",
}


@dataclass(frozen=True)
class _Reading:
    """A text, its words, what they match, and per word the clause and how often it is negated."""

    text: str
    words: tuple[Word, ...]
    matches: tuple[Match, ...]
    clause: tuple[int, ...]
    negations: tuple[int, ...]
    sizes: tuple[Span, ...]

    def near(self, first: int, role: str) -> list[Match]:
        """Return matches of a role in the clause of word ``first`` and under the same negation.

        A denied finding also takes what stands outside the denial: "left lung without nodules".
        """
        here = self.clause[first]
        clause = [m for m in self.matches if m.has(role) and self.clause[m.first] == here]
        same = [m for m in clause if self.negations[m.first] == self.negations[first]]
        return clause if not same and self.negations[first] % 2 else same

    def span(self, match: Match, role: str) -> Span:
        return Span(self.words[match.first].start, self.words[match.stop - 1].end, role)

    def words_of(self, match: Match) -> str:
        return " ".join(word.stem for word in self.words[match.first : match.stop])


def parse(text: str) -> Phrase:
    """Read a phrase.

    Parameters
    ----------
    text : str
        What the user typed; anything at all.

    Returns
    -------
    Phrase
        The first finding that is asserted is the one looked for, or the first one when all are
        negated. Side, place, size and certainty are those of its clause. What is not understood
        stays in ``query``.
    """
    reading = _read(text)
    if not reading.words:
        return Phrase(text, text.strip())
    target = _target(reading)
    first = target.first if target else _first_content(reading)
    side = _side(reading, first)
    located = reading.near(first, "location")
    anatomy = _anatomy(reading, first, side)
    return Phrase(
        text=text,
        query=_query(reading, first, target),
        finding=_finding(target, anatomy),
        anatomy=anatomy,
        side=side,
        location=tuple(dict.fromkeys(reading.words_of(match) for match in located)),
        size_mm=_size_mm(reading.text, reading.sizes),
        negated=reading.negations[first] % 2 == 1,
        uncertain=bool(reading.near(first, "uncertain")),
        spans=_spans(reading, first, target),
    )


def _read(text: str) -> _Reading:
    sizes = tuple(Span(hit.start(), hit.end(), "size") for hit in _SIZE.finditer(text))
    sequence = words(_blanked(text, sizes))
    found = matches(sequence)
    clause = _clauses(text, sequence, found)
    return _Reading(text, sequence, found, clause, _negations(sequence, found, clause), sizes)


def _blanked(text: str, sizes: tuple[Span, ...]) -> str:
    for size in sizes:
        text = text[: size.start] + " " * (size.end - size.start) + text[size.end :]
    return text


def _clauses(text: str, sequence: tuple[Word, ...], found: tuple[Match, ...]) -> tuple[int, ...]:
    """Return the clause number of each word: a new one at each stop word and sentence mark."""
    marks = [hit.start() for hit in _BREAK.finditer(text)]
    stops = [sequence[match.first].start for match in found if match.has("stops")]
    edges = sorted([*marks, *stops])
    return tuple(sum(edge <= word.start for edge in edges) for word in sequence)


def _negations(
    sequence: tuple[Word, ...], found: tuple[Match, ...], clause: tuple[int, ...]
) -> tuple[int, ...]:
    """Count how many negations act on each word."""
    counts = [0] * len(sequence)
    for match in found:
        for place in _scope(match, sequence, found, clause):
            counts[place] += 1
    return tuple(counts)


def _scope(
    match: Match, sequence: tuple[Word, ...], found: tuple[Match, ...], clause: tuple[int, ...]
) -> range:
    """Return the words of its clause that a cue negates.

    A cue before a finding acts to the end of the clause, or to the next cue of a list ("no
    nodule, no mass"); one after it acts on everything up to the next finding.
    """
    same = [n for n in range(len(sequence)) if clause[n] == clause[match.first]]
    named = [m for m in found if m.has("finding", "anatomy") and m.first in same]
    if match.has("after") and any(other.stop <= match.first for other in named):
        later = [m.first for m in named if m.has("finding") and m.first >= match.stop]
        return range(same[0], min(later, default=same[-1] + 1))
    if not match.has("before", "after"):
        return range(0)
    nearest = min((m.first for m in named if m.first >= match.stop), default=same[-1])
    cues = [m.first for m in found if m.has("before") and m.first in same and m.first > nearest]
    return range(match.stop, min(cues, default=same[-1] + 1))


def _target(reading: _Reading) -> Match | None:
    """Return the first asserted finding, else the first one."""
    listed = [match for match in reading.matches if match.has("finding")]
    asserted = [match for match in listed if reading.negations[match.first] % 2 == 0]
    return next(iter([*asserted, *listed]), None)


def _finding(target: Match | None, anatomy: str) -> str:
    """Return the finding meant, by its narrower name where the place tells: a stone in a kidney."""
    name = (target.value("finding") or "") if target else ""
    place = places().get(anatomy)
    if not name or place is None:
        return name
    organs = set(place.members or (place.name,))
    narrower = findings()[name].narrower
    return next((n for n in narrower if organs <= set(findings()[n].organs)), name)


def _first_content(reading: _Reading) -> int:
    """Return the first word that is anatomy, or else that is no cue."""
    for match in reading.matches:
        if match.has("anatomy", "location"):
            return match.first
    dropped = {n for m in reading.matches if m.has(*_DROPPED) for n in range(m.first, m.stop)}
    small = set(table("cues")["template"]["dangling"])
    left = [n for n, w in enumerate(reading.words) if n not in dropped and w.stem not in small]
    return left[0] if left else len(reading.words) - 1


def _side(reading: _Reading, first: int) -> PhraseSide:
    said = {match.value("side") for match in reading.near(first, "side")}
    said |= {match.value("implied side") for match in reading.near(first, "implied side")}
    if "both" in said or {"left", "right"} <= said:
        return "both"
    if "left" in said:
        return "left"
    return "right" if "right" in said else ""


def _anatomy(reading: _Reading, first: int, side: PhraseSide) -> str:
    """Return the place named, with its side where it has two."""
    named = [m.value("anatomy") or "" for m in reading.near(first, "anatomy")]
    named += [m.value("implied organ") or "" for m in reading.near(first, "implied organ")]
    if not named:
        return ""
    place = places()[named[0]]
    sided = f"{place.sided}_{side}"
    return sided if place.sided and sided in places() else place.name


def _query(reading: _Reading, first: int, target: Match | None) -> str:
    """Return the clause's own words without cues and places, trimmed of dangling small words."""
    place = reading.clause[first], reading.negations[first]
    gone = (*_DROPPED, "location", "anatomy", "finding") if target else _DROPPED
    dropped = {n for m in reading.matches if m.has(*gone) for n in range(m.first, m.stop)}
    if target:
        dropped -= set(range(target.first, target.stop))
    kept = [
        word.text
        for n, word in enumerate(reading.words)
        if n not in dropped and (reading.clause[n], reading.negations[n]) == place
    ]
    return " ".join(_trimmed(kept)) or reading.text.strip()


def _trimmed(kept: list[str]) -> list[str]:
    small = set(table("cues")["template"]["dangling"])
    while kept and kept[-1].lower() in small:
        kept = kept[:-1]
    while kept and kept[0].lower() in small:
        kept = kept[1:]
    return kept


def _size_mm(text: str, sizes: tuple[Span, ...]) -> float | None:
    """Return the largest number of the first size, in mm."""
    if not sizes:
        return None
    words_of_size = text[sizes[0].start : sizes[0].end]
    numbers = [float(number.replace(",", ".")) for number in _NUMBER.findall(words_of_size)]
    return max(numbers) * (10.0 if "c" in words_of_size.lower() else 1.0)


def _spans(reading: _Reading, first: int, target: Match | None) -> tuple[Span, ...]:
    """Return the words behind each decision, in reading order."""
    spans = list(reading.sizes)
    for match in reading.matches:
        if reading.clause[match.first] != reading.clause[first]:
            continue
        role = next((shown for role, shown in _SHOWN.items() if match.has(role)), "")
        if role == "finding" and match is not target:
            continue
        if role:
            spans.append(reading.span(match, role))
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))
