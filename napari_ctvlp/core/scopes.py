"""Which words a cue acts on: denial, doubt and change, in the manner of NegEx and ConText.

A cue acts forward to the end of its clause, or backward to its start (Chapman et al., J Biomed
Inform 2001; Harkema et al., J Biomed Inform 2009). Within a clause a list is told from a new
statement: "no nodule, mass or effusion" denies three things, "no effusion, nodule in the right
lung" one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_ctvlp.core.lexicon import Match, small_words
from napari_ctvlp.core.reading import Reading

CueRole = Literal["negation", "uncertainty", "change"]
#: What an item of a bare list does not hold.
_PLACED = ("side", "location", "implied side", "anatomy", "change", "uncertain", "before", "after")
_VERBS = frozenset({"is", "are", "was", "were", "has", "have", "had"})
_OR, _WITH, _VERSUS = frozenset({"or", "nor"}), frozenset({"with", "without"}), ("versus", "vs")


@dataclass(frozen=True)
class Cue:
    """A cue and what it acts on.

    Attributes
    ----------
    match : Match
    role : {"negation", "uncertainty", "change"}
    scope : range
        Positions of words.
    value : str
        The kind of change.
    """

    match: Match
    role: CueRole
    scope: range
    value: str = ""


def cues(reading: Reading) -> tuple[Cue, ...]:
    """Return every cue of a text that acts on something, in reading order."""
    found = []
    for match in reading.with_role("before", "after"):
        found.append(Cue(match, "negation", _denied(reading, match)))
    for match in reading.with_role("uncertain"):
        found.append(Cue(match, "uncertainty", _doubted(reading, match)))
    for match in reading.with_role("change"):
        kind = match.value("change") or ""
        if kind != "other":
            found.append(Cue(match, "change", _changed(reading, match), kind))
    return tuple(sorted((c for c in found if c.scope), key=lambda cue: cue.match.first))


def _denied(reading: Reading, match: Match) -> range:
    ahead, back = forward(reading, match), behind(reading, match)
    if match.has("after") and (_holds(reading, back) or not _holds(reading, ahead)):
        return back if _named(reading, back) else range(0)
    if match.has("after") or _holds(reading, ahead) or _content(reading, ahead):
        return ahead
    return back


def _doubted(reading: Reading, match: Match) -> range:
    if reading.words_of(match) in _VERSUS:
        return reading.clause_of(match.first)
    ahead, back = forward(reading, match), behind(reading, match)
    if _is_verb(reading, match) and _holds(reading, back):
        return back
    if _holds(reading, ahead):
        return ahead
    turned = match.has("passive") or _follows_verb(reading, match)
    if _holds(reading, back):
        return back if turned or not _content(reading, ahead) else range(0)
    return ahead or back


def _changed(reading: Reading, match: Match) -> range:
    ahead, back = forward(reading, match), behind(reading, match)
    if _holds(reading, back) and (_is_verb(reading, match) or not _holds(reading, ahead)):
        return back
    return ahead


def forward(reading: Reading, match: Match) -> range:
    """Return the words after a cue, to the end of its clause or of the list it begins."""
    end = reading.clause_of(match.first).stop
    seen = False
    heads = {m.first: m for m in reading.matches}
    for place in range(match.stop, end):
        here, word = heads.get(place), reading.words[place]
        if seen and (word.stem in _WITH or (here is not None and here.has("before"))):
            return range(match.stop, place)
        if seen and _starts_anew(reading, place, end):
            return range(match.stop, place)
        seen = seen or (here is not None and here.has("finding"))
    return range(match.stop, end)


def behind(reading: Reading, match: Match) -> range:
    """Return the words before a cue, from the start of its clause or its list's first item."""
    start = reading.clause_of(match.first).start
    listed = False
    for place in range(match.first - 1, start - 1, -1):
        word = reading.words[place]
        listed = listed or word.stem in {"and", *_OR}
        named = any(place <= m.first < match.first for m in reading.with_role("finding"))
        if "," in word.mark and named and not listed:
            return range(place, match.first)
    return range(start, match.first)


def _starts_anew(reading: Reading, place: int, end: int) -> bool:
    """Say whether a list ends before a word: what follows is a statement of its own."""
    word = reading.words[place]
    comma = "," in word.mark
    if not comma and word.stem != "and":
        return False
    first = place + (word.stem in {"and", *_OR})
    if first < end and reading.words[first].stem in small_words("fresh"):
        return True
    if not comma or word.stem in _OR:
        return False
    return not _bare(reading, place, end) and not any(
        other.stem in _OR for other in reading.words[place:end]
    )


def _bare(reading: Reading, place: int, end: int) -> bool:
    """Say whether an item of a list is a finding and nothing else."""
    marks = (n for n in range(place + 1, end) if "," in reading.words[n].mark)
    stop = next(marks, end)
    return not any(place <= m.first < stop for m in reading.with_role(*_PLACED))


def _holds(reading: Reading, scope: range) -> bool:
    return any(match.first in scope for match in reading.with_role("finding"))


def _named(reading: Reading, scope: range) -> bool:
    return any(match.first in scope for match in reading.with_role("finding", "anatomy"))


def _content(reading: Reading, scope: range) -> bool:
    """Say whether a range holds a word of its own: none of a match, no small one."""
    known = {n for match in reading.matches for n in range(match.first, match.stop)}
    small = small_words("fresh") | small_words("skip") | small_words("small")
    return any(n not in known and reading.words[n].stem not in small for n in scope)


def _is_verb(reading: Reading, match: Match) -> bool:
    return reading.words[match.first].stem in _VERBS


def _follows_verb(reading: Reading, match: Match) -> bool:
    before = match.first - 1
    return before >= 0 and reading.words[before].stem in {*_VERBS, "be", "been"}
