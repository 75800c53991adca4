"""Mending a mistyped word: the nearest known word with the same first letter."""

from __future__ import annotations

from collections.abc import Iterable

#: Shortest word that is mended, and from where on letters may be replaced, and two mistakes made.
LEAST, LONG, LONGEST = 4, 7, 10


def mend(word: str, known: Iterable[str]) -> str:
    """Return the one known word a mistyped word most likely is, else the word itself.

    Parameters
    ----------
    word : str
        In lower case, not known.
    known : iterable of str

    Notes
    -----
    Damerau (Commun ACM 1964): most errors are one letter too many, too few, replaced, or two
    swapped. Replaced letters count in long words only, since short words differ by one letter
    too often ("liver", "lived"); in a word of four letters only a letter written once instead
    of twice is mended.
    """
    if len(word) < LEAST or not word.isalpha():
        return word
    allowed = 2 if len(word) >= LONGEST else 1
    near = [other for other in known if other[:1] == word[:1] and _may_be(word, other, allowed)]
    ranked = sorted((distance(word, other), other) for other in near)
    return ranked[0][1] if ranked and ranked[0][0] <= allowed else word


def distance(first: str, second: str) -> int:
    """Return how many letters are added, left out, replaced or swapped between two words."""
    before: list[int] = []
    last = list(range(len(second) + 1))
    for i, letter in enumerate(first):
        row = [i + 1]
        for j, other in enumerate(second):
            cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (letter != other))
            if i and j and letter == second[j - 1] and first[i - 1] == other:
                cost = min(cost, before[j - 1] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def _may_be(word: str, other: str, allowed: int) -> bool:
    """Say whether a known word is worth measuring."""
    if abs(len(word) - len(other)) > allowed or len(other) <= LEAST:
        return False
    if len(word) == LEAST:
        doubled = (other[:n] + other[n + 1 :] for n in range(1, 5) if other[n] == other[n - 1])
        return word in doubled
    return len(word) >= LONG or len(word) != len(other) or sorted(word) == sorted(other)
