"""From what was understood back to words: a phrase that is read the same way.

Chips, rows of a report and lines of a draft ask for their phrase in these words, so that the
window, a session file and the command line ask the same.
"""

from __future__ import annotations

from dataclasses import replace

from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phrase import Phrase, PhraseSide
from napari_ctvlp.core.vocabulary import findings, places

#: Words that make a parser read a change.
_CHANGES = {
    "new": "new", "unchanged": "unchanged", "increased": "increasing", "decreased": "decreasing",
}  # fmt: skip
_SIDED = {"left": "on the left", "right": "on the right", "both": "on both sides"}


def spoken(phrase: Phrase) -> str:
    """Return one finding of a text as a phrase of its own.

    Parameters
    ----------
    phrase : Phrase
        Its ``also`` is left out.

    Returns
    -------
    str
        Read by :func:`~napari_ctvlp.core.parser.parse` as the same finding, anatomy, side,
        denial, doubt and size wherever the words allow it; the query is kept where it can be.
    """
    finding = findings().get(phrase.finding)
    names = [phrase.query, *((*finding.words, finding.title) if finding else ())]
    wanted = meant(phrase)
    bare = _said(replace(phrase, anatomy=""), phrase.query)
    if not phrase.side and not phrase.location and meant(parse(bare)) == wanted:
        return bare
    for located in (phrase.location, ()):
        for name in names:
            text = _said(replace(phrase, location=located), name)
            if meant(parse(text)) == wanted:
                return text
    return _said(phrase, names[1] if finding else phrase.query)


def changed(phrase: Phrase, **parts: object) -> str:
    """Return a phrase in words after some of its parts were changed.

    Parameters
    ----------
    phrase : Phrase
    **parts
        Fields of :class:`Phrase`. A new finding brings its own words; a new anatomy or side
        takes the old one's location words along only where they still fit.

    Examples
    --------
    >>> changed(parse("no nodule in the left lung"), side="right", anatomy="lung_right")
    'no nodule in the right lung'
    """
    new = replace(phrase, **parts, also=())  # type: ignore[arg-type]
    if "finding" in parts and new.finding != phrase.finding:
        known = findings().get(new.finding)
        new = replace(new, query=known.words[0] if known else phrase.query)
    if "side" in parts and "anatomy" not in parts:
        new = replace(new, anatomy=_on_side(new.anatomy, new.side))
    if "anatomy" in parts and "side" not in parts:
        place = places().get(new.anatomy)
        sides: tuple[PhraseSide, ...] = ("left", "right")
        own = place.side if place is not None else ""
        new = replace(new, side=next((side for side in sides if side == own), ""))
    if new.anatomy != phrase.anatomy and _whole(new.anatomy) != _whole(phrase.anatomy):
        new = replace(new, location=())
    return spoken(new)


def meant(phrase: Phrase) -> tuple[object, ...]:
    """Return what makes two phrases ask for the same thing."""
    return (
        phrase.finding, phrase.anatomy, phrase.side, phrase.negated, phrase.uncertain,
        phrase.size_mm, frozenset(phrase.location),
    )  # fmt: skip


def _said(phrase: Phrase, name: str) -> str:
    """Put the parts of a phrase into words, with ``name`` for what is looked for."""
    size = f"{phrase.size_mm:g} mm" if phrase.size_mm is not None else ""
    first = [
        "no" if phrase.negated else "",
        "possible" if phrase.uncertain else "",
        _CHANGES.get(phrase.change, ""),
        size,
        name,
    ]
    words = " ".join(part for part in first if part)
    where = _where(phrase)
    rest = [w for w in phrase.location if w not in where]
    placed = f"{words} {where}" if where else words
    return ", ".join([placed, *rest]).strip()


def _where(phrase: Phrase) -> str:
    """Return place and side in words: "in the left lower lobe"."""
    place = places().get(phrase.anatomy)
    lobe = next((w for w in phrase.location if w.split()[-1] in ("lobe", "lingula")), "")
    if place is None:
        return _SIDED.get(phrase.side, "")
    name = lobe or _words_of(phrase.anatomy)
    side = "both" if phrase.side == "both" else f"the {phrase.side}".rstrip()
    if lobe in ("middle lobe", "lingula"):
        side = "the"
    many = "s" if phrase.side == "both" and not name.endswith("s") else ""
    return f"in {side} {name}{many}"


def _words_of(anatomy: str) -> str:
    """Return what users call a place, without its side."""
    place = places()[_whole(anatomy)]
    return place.words[0] if place.words else place.title


def _whole(anatomy: str) -> str:
    """Return the region of a sided organ, else the place itself."""
    for name, place in places().items():
        if place.sided and anatomy in place.members and anatomy.startswith(place.sided):
            return name
    return anatomy


def _on_side(anatomy: str, side: str) -> str:
    place = places().get(_whole(anatomy))
    if place is None or not place.sided:
        return anatomy
    sided = f"{place.sided}_{side}"
    return sided if sided in places() else place.name
