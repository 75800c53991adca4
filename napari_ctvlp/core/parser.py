"""From a typed phrase to what is looked for, where, on which side, and whether it is denied.

Word lists and rules. The lists are ``core/vocabulary/*.toml``; ``reading.py`` cuts a text into
clauses, ``scopes.py`` finds what a cue acts on, ``mentions.py`` the findings and ``attaching.py``
what places them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari_ctvlp.core.attaching import Attached, attach, place_name, side_of
from napari_ctvlp.core.lexicon import Match, small_words
from napari_ctvlp.core.mentions import mentions, narrowed
from napari_ctvlp.core.phrase import Change, Phrase, Span
from napari_ctvlp.core.reading import Reading, read
from napari_ctvlp.core.scopes import Cue, cues
from napari_ctvlp.core.vocabulary import places

#: Roles whose words are not part of the query.
_DROPPED = (
    "side", "before", "after", "pseudo", "uncertain", "passive", "change", "template", "stops",
)  # fmt: skip
_PLACES = ("anatomy", "location")
_WHERE = (*_PLACES, "implied organ", "side", "implied side")
_SHOWN = {"anatomy": "anatomy", "side": "side", "location": "location", "implied side": "side"}


@dataclass(frozen=True)
class _Understood:
    """A reading with its cues, and how often each word is denied."""

    reading: Reading
    cues: tuple[Cue, ...]

    def acting(self, place: int, role: str) -> list[Cue]:
        """Return the cues of a role that act on a word."""
        return [cue for cue in self.cues if cue.role == role and place in cue.scope]

    def denials(self, place: int) -> int:
        return len(self.acting(place, "negation"))


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
        negated; the others are in ``also``. Side, place, size and certainty are those of the
        finding. What is not understood stays in ``query``.
    """
    reading = read(text)
    if not reading.words:
        return Phrase(text, text.strip())
    known = _Understood(reading, cues(reading))
    found = attach(reading, mentions(reading))
    phrases = _distinct([_phrase(known, one, found) for one in found])
    if not phrases:
        return _without_finding(known)
    main = next((phrase for phrase in phrases if not phrase.negated), phrases[0])
    return replace(main, also=tuple(phrase for phrase in phrases if phrase is not main))


def _phrase(known: _Understood, one: Attached, found: Sequence[Attached]) -> Phrase:
    """Return one mention as a phrase."""
    reading, mention = known.reading, one.mention
    changes = known.acting(mention.state, "change") or known.acting(mention.first, "change")
    located = [match for match in one.where if match.has("location")]
    return Phrase(
        text=reading.text,
        query=_query(known, one, found),
        finding=narrowed(mention.finding, places().get(one.anatomy)),
        anatomy=one.anatomy,
        side=one.side,
        location=tuple(dict.fromkeys(reading.words_of(match) for match in located)),
        size_mm=one.size.mm if one.size else None,
        negated=known.denials(mention.state) % 2 == 1,
        uncertain=bool(known.acting(mention.first, "uncertainty")),
        change=_kind(changes),
        spans=_spans(known, one),
    )


def _without_finding(known: _Understood) -> Phrase:
    """Return what a text without a finding says: a place, or words for the model."""
    reading = known.reading
    first = _first_content(reading)
    clause = reading.clause_of(first)
    where = [match for match in reading.with_role(*_WHERE) if match.first in clause]
    side = side_of(where)
    located = [match for match in where if match.has("location")]
    acting = [c for c in known.cues if first in c.scope]
    shown = [reading.span(match, _role(match)) for match in where if _role(match)]
    return Phrase(
        text=reading.text,
        query=_words(known, clause, first, ()),
        anatomy=place_name(where, side),
        side=side,
        location=tuple(dict.fromkeys(reading.words_of(match) for match in located)),
        size_mm=reading.sizes[0].mm if reading.sizes else None,
        negated=known.denials(first) % 2 == 1,
        uncertain=bool(known.acting(first, "uncertainty")),
        change=_kind(known.acting(first, "change")),
        spans=_ordered([*shown, *_cue_spans(known, acting), *(s.span for s in reading.sizes)]),
    )


def _kind(changes: Sequence[Cue]) -> Change:
    """Return the kind of change that the last cue names."""
    kinds: tuple[Change, ...] = ("new", "unchanged", "increased", "decreased", "resolved")
    said = changes[-1].value if changes else ""
    return next((kind for kind in kinds if kind == said), "")


def _distinct(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Return phrases without those that say a thing again, or less of it."""
    kept: list[Phrase] = []
    for one in phrases:
        if any(_says(other, one) for other in kept):
            continue
        kept = [*(other for other in kept if not _says(one, other)), one]
    return kept


def _says(more: Phrase, less: Phrase) -> bool:
    """Say whether one phrase says all that another does."""
    same = (more.finding, more.negated, more.uncertain) == (
        less.finding,
        less.negated,
        less.uncertain,
    )
    placed = (less.anatomy, less.side) == ("", "") or (less.anatomy, less.side) == (
        more.anatomy,
        more.side,
    )
    return (
        same
        and placed
        and less.size_mm in (None, more.size_mm)
        and set(less.location) <= set(more.location)
    )


def _first_content(reading: Reading) -> int:
    """Return the first word that is anatomy, or else that is no cue."""
    for match in reading.with_role(*_PLACES):
        return match.first
    dropped = {n for m in reading.with_role(*_DROPPED) for n in range(m.first, m.stop)}
    small = small_words("small")
    left = [n for n, w in enumerate(reading.words) if n not in dropped and w.stem not in small]
    return left[0] if left else len(reading.words) - 1


def _query(known: _Understood, one: Attached, found: Sequence[Attached]) -> str:
    """Return a mention's own words without cues and places."""
    gone = {n for other in found for n in range(other.mention.first, other.mention.stop)}
    mention = one.mention
    own = range(mention.first, mention.stop)
    if mention.stop - mention.first < len(mention.stems):
        return " ".join(mention.stems)
    return _words(known, one.words, mention.first, gone - set(own), own)


def _words(
    known: _Understood, words: range, first: int, gone: object, own: range = range(0)
) -> str:
    """Return a range's words without cues, places and others' findings, small ones trimmed."""
    reading, left_out = known.reading, set(gone) if isinstance(gone, set) else set()
    roles = (*_DROPPED, "location", "anatomy", "finding") if own else _DROPPED
    for match in reading.with_role(*roles):
        left_out |= set(range(match.first, match.stop))
    left_out -= set(own)
    kept = [
        reading.words[n].text
        for n in words
        if n not in left_out and known.denials(n) == known.denials(first)
    ]
    return " ".join(_trimmed(kept)) or reading.text.strip()


def _trimmed(kept: list[str]) -> list[str]:
    small = small_words("small")
    while kept and kept[-1].lower() in small:
        kept = kept[:-1]
    while kept and kept[0].lower() in small:
        kept = kept[1:]
    return kept


def _role(match: Match) -> str:
    return next((shown for role, shown in _SHOWN.items() if match.has(role)), "")


def _spans(known: _Understood, one: Attached) -> tuple[Span, ...]:
    """Return the words behind each decision, in reading order."""
    reading, mention = known.reading, one.mention
    here = reading.words[mention.first].start, reading.words[mention.stop - 1].end
    shown = [reading.span(match, _role(match)) for match in one.where if _role(match)]
    acting = [c for c in known.cues if mention.first in c.scope or mention.state in c.scope]
    measured = [one.size.span] if one.size else []
    return _ordered([Span(*here, "finding"), *shown, *measured, *_cue_spans(known, acting)])


def _cue_spans(known: _Understood, acting: Sequence[Cue]) -> list[Span]:
    return [known.reading.span(cue.match, cue.role, cue.scope) for cue in acting]


def _ordered(spans: Sequence[Span]) -> tuple[Span, ...]:
    return tuple(sorted(dict.fromkeys(spans), key=lambda span: (span.start, span.end)))
