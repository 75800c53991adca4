"""Names of segments, as other programs write them, to organs of the house."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from napari_ctvlp.core.segments import organ_of
from napari_ctvlp.core.vocabulary import places

_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_SPARE = {"organ", "segment", "mask", "structure", "contour", "roi", "of", "the"}


def organ_named(label: str, codes: Iterable[str] = ()) -> str:
    """Return the organ a segment is of.

    Parameters
    ----------
    label : str
        As the file has it: ``"Lung_L"``, ``"Left lung"``, ``"LIVER"``.
    codes : iterable of str
        SNOMED CT concept ids of the segment; the first one known decides.

    Returns
    -------
    str
        A house name where one fits, else the label in small letters with underscores.

    Examples
    --------
    >>> organ_named("Kidney, Rt"), organ_named("?", ["10200004"]), organ_named("PTV 60 Gy")
    ('kidney_right', 'liver', 'ptv_60_gy')
    """
    for code in codes:
        if code in _by_code():
            return _by_code()[code]
    if organ_of(label.strip()):
        return organ_of(label.strip())
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower())
    plain = " ".join(words)
    if plain in _by_words():
        return _by_words()[plain]
    side = next((_SIDES[word] for word in words if word in _SIDES), "")
    rest = " ".join(word for word in words if word not in _SIDES and word not in _SPARE)
    for name in (f"{side} {rest}".strip(), rest):
        if name in _by_words() and (name != rest or not side):
            return _by_words()[name]
    return "_".join(words) or "unnamed"


@cache
def _by_code() -> dict[str, str]:
    return {place.snomed: place.name for place in places().values() if place.snomed}


@cache
def _by_words() -> dict[str, str]:
    """Everything an organ is called, in small letters; regions are no organs."""
    table: dict[str, str] = {}
    for place in places().values():
        if not place.members and not place.sided:
            for words in (place.name.replace("_", " "), place.title, *place.words):
                table.setdefault(words.lower(), place.name)
    return table
