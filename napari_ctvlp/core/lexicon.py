"""Finding the vocabulary's words in a text: longest match, spelling and plurals evened out."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from napari_ctvlp.core.vocabulary import findings, places, table

_WORD = re.compile(r"\b(?:b/l|w/o|r/o)\b|[a-z]+\d*|\d+(?:[.,]\d+)?|&", re.IGNORECASE)
#: A lone capital is a side, unless a number stands before it (litres).
_SIDE_LETTERS = {"L": "left", "R": "right"}
_AFTER_NUMBER = re.compile(r"\d\s*$")
_SPELLINGS = (("oe", "e"), ("ae", "e"), ("our", "or"), ("isation", "ization"), ("fibre", "fiber"))
_KEEP_S = ("ss", "us", "is")


@dataclass(frozen=True)
class Word:
    """One word of a text: its evened-out form, the word itself and where it stands."""

    stem: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Entry:
    """What a matched run of words means: a role and, for some roles, a value."""

    role: str
    value: str = ""


@dataclass(frozen=True)
class Match:
    """A run of words of the vocabulary in a text.

    Attributes
    ----------
    entries : tuple of Entry
        Everything these words can mean.
    first, stop : int
        Word positions, ``stop`` exclusive.
    """

    entries: tuple[Entry, ...]
    first: int
    stop: int

    def value(self, role: str) -> str | None:
        """Return the value under one role, or None when the match does not have the role."""
        return next((entry.value for entry in self.entries if entry.role == role), None)

    def has(self, *roles: str) -> bool:
        """Return True when the match has one of the roles."""
        return any(entry.role in roles for entry in self.entries)


def words(text: str) -> tuple[Word, ...]:
    """Split a text into words; an abbreviation becomes the words it stands for."""
    found = []
    for hit in _WORD.finditer(text):
        for part in _meant(text, hit):
            found.append(Word(_stem(part), part, hit.start(), hit.end()))
    return tuple(found)


def matches(sequence: tuple[Word, ...]) -> tuple[Match, ...]:
    """Return the longest vocabulary match at each place, from left to right, without overlap."""
    lexicon, longest = _lexicon()
    found, here = [], 0
    while here < len(sequence):
        for length in range(min(longest, len(sequence) - here), 0, -1):
            key = tuple(word.stem for word in sequence[here : here + length])
            if key in lexicon:
                found.append(Match(lexicon[key], here, here + length))
                here += length
                break
        else:
            here += 1
    return tuple(found)


def _meant(text: str, hit: re.Match[str]) -> tuple[str, ...]:
    """Return the word itself, or the words it abbreviates."""
    word = hit.group()
    if word in _SIDE_LETTERS and not _AFTER_NUMBER.search(text, 0, hit.start()):
        return (_SIDE_LETTERS[word],)
    short: str = table("cues")["abbreviations"].get(word.lower(), word)
    return tuple(short.split())


@cache
def _stem(word: str) -> str:
    stem = word.lower()
    for spelling, even in _SPELLINGS:
        stem = stem.replace(spelling, even)
    if len(stem) > 4 and stem.endswith("ies"):
        return stem[:-3] + "y"
    if len(stem) > 4 and stem.endswith(("sses", "xes")):
        return stem[:-2]
    if len(stem) > 3 and stem.endswith("s") and not stem.endswith(_KEEP_S):
        return stem[:-1]
    return stem


@cache
def _lexicon() -> tuple[dict[tuple[str, ...], tuple[Entry, ...]], int]:
    """Return every known run of words with its meanings, and the length of the longest."""
    gathered: defaultdict[tuple[str, ...], dict[Entry, None]] = defaultdict(dict)
    for text, entry in _vocabulary():
        key = tuple(word.stem for word in words(text))
        if key:
            gathered[key].setdefault(entry)
    lexicon = {key: tuple(entries) for key, entries in gathered.items()}
    return lexicon, max(map(len, lexicon))


def _vocabulary() -> list[tuple[str, Entry]]:
    cues = table("cues")
    rows = [(w, Entry("finding", f.name)) for f in findings().values() for w in f.words]
    rows += [(w, Entry("anatomy", p.name)) for p in places().values() for w in p.words]
    rows += [(w, Entry("side", side)) for side, listed in cues["side"].items() for w in listed]
    place = cues["location"]
    rows += [(w, Entry("location")) for w in (*place["words"], *place["left"], *place["right"])]
    rows += [(w, Entry("implied side", side)) for side in ("left", "right") for w in place[side]]
    rows += [(w, Entry("implied organ", "lungs")) for w in place["lungs"]]
    for role, listed in cues["negation"].items():
        rows += [(w, Entry(role)) for w in listed]
    sections = {"uncertain": "uncertainty", "change": "change", "outside": "outside"}
    for role, section in {**sections, "template": "template"}.items():
        rows += [(w, Entry(role)) for w in cues[section]["words"]]
    return rows
