"""Names of other programs' segments, and the organs of the house that they are parts of."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.vocabulary import table


def names_in_order(program: str) -> tuple[str, ...]:
    """Return a program's segment names by label number, from 1.

    Parameters
    ----------
    program : {"totalsegmentator", "wholebody"}
        A row of ``orders`` in ``core/vocabulary/segments.toml``.
    """
    return tuple(table("segments")["orders"][program])


def organ_of(segment: str) -> str:
    """Return the organ that a segment is part of, the name itself where it is none, "" if unknown.

    Examples
    --------
    >>> organ_of("lung_upper_lobe_left"), organ_of("prostate"), organ_of("liver tumour")
    ('lung_left', 'prostate', '')
    """
    return _organs().get(segment, "")


def merged(
    labels: NDArray[np.integer], names: Iterable[str]
) -> tuple[NDArray[np.uint8], list[tuple[int, str]]]:
    """Bring segments to organs.

    Parameters
    ----------
    labels : ndarray, any shape
        0 for nothing, else the place of the segment in ``names``, from 1.
    names : iterable of str
        Segment names; one that :func:`organ_of` does not know stays what it is.

    Returns
    -------
    ndarray, uint8
        Organs in place of segments.
    list of (id, organ)
        In the order in which the segments name them first.
    """
    organs = [organ_of(name) or name for name in names]
    rows = list(dict.fromkeys(organs))
    numbers = np.array([0, *(rows.index(organ) + 1 for organ in organs)], np.uint8)
    return numbers[labels], list(enumerate(rows, start=1))


@cache
def _organs() -> dict[str, str]:
    rows = table("segments")
    parts = {part: organ for organ, parts in rows["organs"].items() for part in parts}
    return {**parts, **{name: name for name in rows["kept"]["names"]}}
