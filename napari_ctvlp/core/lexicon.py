"""Finding the vocabulary's words in a text: longest match, spelling and plurals evened out."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from napari_ctvlp.core.spelling import mend
from napari_ctvlp.core.vocabulary import derived, findings, places, table

_WORD = re.compile(
    r"\b(?:b/l|w/o|r/o)\b|[a-z]+\d*|\d+(?:[.,]\d+)?|&|(?<!\w)\?(?=\w)", re.IGNORECASE
)
#: Marks between two words that no run of words goes across.
_MARK = re.compile(r"[.,;:!?\n()]")
#: A vertebra by its level.
_LEVEL = re.compile(r"(?:c[1-7]|t(?:[1-9]|1[0-2])|th(?:[1-9]|1[0-2])|l[1-5])", re.IGNORECASE)
#: A lone capital is a side, unless a number stands before it (litres).
_SIDE_LETTERS = {"L": "left", "R": "right"}
_AFTER_NUMBER = re.compile(r"\d\s*$")
_SPELLINGS = (("oe", "e"), ("ae", "e"), ("our", "or"), ("isation", "ization"), ("fibre", "fiber"))
_KEEP_S = ("ss", "us", "is")
#: Roles of which evened-out words may be both, while the words as written are one.
_CUES = frozenset({"before", "after", "uncertain"})
#: Words longer than this are not looked up letter by letter.
_CHECKED = 24


@dataclass(frozen=True)
class Word:
    """One word of a text: its evened-out form, the word itself and where it stands.

    Attributes
    ----------
    mark : str
        Marks between the word before and this one: a comma, a full stop.
    """

    stem: str
    text: str
    start: int
    end: int
    mark: str = ""


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
    return _split(text, mended=True)


def matches(sequence: tuple[Word, ...]) -> tuple[Match, ...]:
    """Return the longest vocabulary match at each place, from left to right, without overlap."""
    found, here = [], 0
    while here < len(sequence):
        longest = _longest(sequence, here)
        if longest is not None:
            found.append(longest)
        here = longest.stop if longest is not None else here + 1
    return tuple(found)


def meaning(stems: tuple[str, ...]) -> Match | None:
    """Return what a run of evened-out words means as a whole, or None."""
    entries = _lexicon()[0].get(stems)
    return Match(entries, 0, len(stems)) if entries else None


def _longest(sequence: tuple[Word, ...], here: int) -> Match | None:
    """Return the longest match that begins at a word; small words may stand inside it."""
    lexicon, most = _lexicon()
    skipped = small_words("skip")
    run: list[str] = []
    bare: list[str] = []
    best = None
    for stop in range(here + 1, min(here + most + 3, len(sequence)) + 1):
        word = sequence[stop - 1]
        if run and word.mark:
            break
        run.append(word.stem)
        if word.stem not in skipped:
            bare.append(word.stem)
        ends = {run[0], run[-1]}.isdisjoint(skipped) and len(bare) > 1
        entries = lexicon.get(tuple(run)) or (lexicon.get(tuple(bare)) if ends else None)
        if entries:
            written = " ".join(one.text.lower() for one in sequence[here:stop])
            best = Match(_as_written(entries, written), here, stop)
    return best


def _as_written(entries: tuple[Entry, ...], written: str) -> tuple[Entry, ...]:
    """Tell apart cues that are evened out to one: "excludes" denies, "exclude" leaves open."""
    listed = _cues().get(written)
    if listed is None:
        return entries
    return tuple(e for e in entries if e.role not in _CUES or e.role in listed)


@derived
def _cues() -> dict[str, frozenset[str]]:
    """Return the roles under which each cue is listed, by the cue as it is written."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for text, entry in _vocabulary():
        if entry.role in _CUES:
            found[text.lower()].add(entry.role)
    return {text: frozenset(roles) for text, roles in found.items()}


def _split(text: str, *, mended: bool) -> tuple[Word, ...]:
    found: list[Word] = []
    end = 0
    around = {hit.group().lower() for hit in _WORD.finditer(text)}
    for hit in _WORD.finditer(text):
        mark = "".join(_MARK.findall(text[end : hit.start()]))
        for part in _meant(text, hit, around):
            stem = _mended(_stem(part)) if mended else _stem(part)
            found.append(Word(stem, part, hit.start(), hit.end(), mark))
            mark = ""
        end = hit.end()
    return tuple(found)


@derived
def _mended(stem: str) -> str:
    known = _known()
    return stem if stem in known or len(stem) > _CHECKED else mend(stem, known)


def _meant(text: str, hit: re.Match[str], around: set[str]) -> tuple[str, ...]:
    """Return the word itself, or the words it abbreviates."""
    word = hit.group()
    cues = table("cues")
    if word in _SIDE_LETTERS and not _AFTER_NUMBER.search(text, 0, hit.start()):
        return (_SIDE_LETTERS[word],)
    if _LEVEL.fullmatch(word):
        return ("vertebra",)
    if word == "?":
        return ("query",)
    rule = cues["ambiguous"].get(word.lower())
    if rule is not None:
        beside = {_stem(near) for near in rule["beside"]} & {_stem(near) for near in around}
        return tuple(rule["then" if beside else "else"].split())
    short: str = cues["abbreviations"].get(word.lower(), word)
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


@derived
def _lexicon() -> tuple[dict[tuple[str, ...], tuple[Entry, ...]], int]:
    """Return every known run of words with its meanings, and the length of the longest."""
    gathered: defaultdict[tuple[str, ...], dict[Entry, None]] = defaultdict(dict)
    for text, entry in _vocabulary():
        key = tuple(word.stem for word in _split(text, mended=False))
        if key:
            gathered[key].setdefault(entry)
    lexicon = {key: tuple(entries) for key, entries in gathered.items()}
    return lexicon, max(map(len, lexicon))


@derived
def _known() -> frozenset[str]:
    """Return every evened-out word of the vocabulary and of its small words."""
    cues = table("cues")
    small = (*cues["small"]["words"], *cues["skip"]["words"], *cues["fresh"]["words"])
    listed = {stem for key in _lexicon()[0] for stem in key}
    return frozenset({*listed, *(_stem(word) for word in small)})


@cache
def small_words(section: str) -> frozenset[str]:
    """Return the evened-out words of a section of ``cues.toml`` that are looked at one by one."""
    return frozenset(_stem(word) for word in table("cues")[section]["words"])


def _vocabulary() -> list[tuple[str, Entry]]:
    cues = table("cues")
    known = findings().values()
    rows = [(w, Entry("finding", f.name)) for f in known for w in (*f.words, *f.also)]
    rows += [(w, Entry("part", f.name)) for f in known for w in f.parts]
    rows += [(w, Entry("anatomy", p.name)) for p in places().values() for w in p.words]
    rows += [(w, Entry("side", side)) for side, listed in cues["side"].items() for w in listed]
    rows += [(w, Entry("change", kind)) for kind, listed in cues["change"].items() for w in listed]
    place = cues["location"]
    rows += [(w, Entry("location")) for w in (*place["words"], *place["left"], *place["right"])]
    rows += [(w, Entry("implied side", side)) for side in ("left", "right") for w in place[side]]
    rows += [(w, Entry("implied organ", "lungs")) for w in place["lungs"]]
    for role, listed in cues["negation"].items():
        rows += [(w, Entry(role)) for w in listed]
    rows += [(w, Entry("passive")) for w in cues["negation"]["uncertain"]]
    rows += [(w, Entry("uncertain")) for w in cues["uncertainty"]["words"]]
    rows += [(w, Entry("explains")) for w in cues["uncertainty"]["explains"]]
    for role in ("outside", "template"):
        rows += [(w, Entry(role)) for w in cues[role]["words"]]
    return rows
