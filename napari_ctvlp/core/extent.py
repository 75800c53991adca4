"""What of an organ a scan holds: all of it, a part, or nothing."""

from __future__ import annotations

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.vocabulary import findings, places

#: An organ whose face at the edge of the scan is this share of its largest section is cut.
CUT_SHARE = 0.25


def cut_organs(phrase: Phrase, anatomy: AnatomyMap, concept: str = "") -> str:
    """Return that the place to search is cut by the edge of the scan, or an empty text."""
    names = [n for n in searched_organs(phrase, concept) if anatomy.has(n)]
    cut = [name for name in names if cut_share(anatomy, name) >= CUT_SHARE]
    if not cut:
        return ""
    titles = " and ".join(places()[name].title for name in cut)
    return f"Only a part of the {titles} is in this scan."


def searched_organs(phrase: Phrase, concept: str = "") -> tuple[str, ...]:
    """Return the house organs that a phrase is about: those it names, else its finding's."""
    place = places().get(phrase.anatomy)
    if place is not None:
        names = place.members or (place.name,)
    else:
        finding = findings().get(phrase.finding) or findings().get(concept)
        names = finding.organs if finding else ()
    side = phrase.side if phrase.side in ("left", "right") else ""
    other = {"left": "_right", "right": "_left"}.get(side, "?")
    return tuple(name for name in names if not name.endswith(other))


def out_of_view(phrase: Phrase, anatomy: AnatomyMap, concept: str = "") -> str:
    """Return that none of the organs a phrase is about is in the scan, or an empty text.

    Organs that the segmenter does not know say nothing.
    """
    names = searched_organs(phrase, concept)
    known = [name for name in names if name in anatomy.by_name]
    if not known or len(known) < len(names) or any(anatomy.has(name) for name in known):
        return ""
    titles = " and ".join(dict.fromkeys(places()[name].title for name in known))
    return f"There is nothing to search: the {titles} is not in this scan."


def cut_share(anatomy: AnatomyMap, name: str) -> float:
    """Return the largest face of an organ at the scan's edge over its largest section, 0..1."""
    kept: dict[str, float] = vars(anatomy).setdefault("_cut_shares", {})
    if name not in kept:
        organ = anatomy.by_name.get(name)
        kept[name] = 0.0 if organ is None or organ.complete else _cut_share(anatomy, organ.id)
    return kept[name]


def _cut_share(anatomy: AnatomyMap, number: int) -> float:
    mask = anatomy.labels == number
    worst = 0.0
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        sections = mask.sum(axis=others)
        if sections.any():
            worst = max(worst, float(max(sections[0], sections[-1]) / sections.max()))
    return worst
