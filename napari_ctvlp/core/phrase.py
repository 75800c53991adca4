"""Phrase: what the user typed and what was understood of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PhraseSide = Literal["left", "right", "both", ""]
Change = Literal["new", "unchanged", "increased", "decreased", "resolved", ""]


@dataclass(frozen=True)
class Span:
    """Words that decided a part of the parse.

    Attributes
    ----------
    start, end : int
        Character positions in ``Phrase.text``.
    role : str
        ``"finding"``, ``"anatomy"``, ``"side"``, ``"location"``, ``"size"``, ``"negation"``,
        ``"uncertainty"`` or ``"change"``.
    scope : tuple of int or None
        First and last character position of what a cue acts on.
    """

    start: int
    end: int
    role: str
    scope: tuple[int, int] | None = None


@dataclass(frozen=True)
class Phrase:
    """A parsed phrase; parsing never fails, unknown parts stay text.

    Attributes
    ----------
    text : str
        As typed.
    query : str
        What is encoded: the text without side, negation and uncertainty words.
    finding : str
        Key of ``core/vocabulary/findings.toml``, or ``""``.
    anatomy : str
        House organ or region name, or ``""``.
    side : {"left", "right", "both", ""}
        Patient side.
    location : tuple of str
        Other location words ("upper lobe", "peripheral").
    size_mm : float or None
        The largest measure of this study.
    negated, uncertain : bool
    change : {"new", "unchanged", "increased", "decreased", "resolved", ""}
        Since an earlier study. What is resolved is negated too.
    spans : tuple of Span
        The words behind each decision, in reading order.
    also : tuple of Phrase
        The other findings of the same text; theirs is empty.
    """

    text: str
    query: str
    finding: str = ""
    anatomy: str = ""
    side: PhraseSide = ""
    location: tuple[str, ...] = ()
    size_mm: float | None = None
    negated: bool = False
    uncertain: bool = False
    change: Change = ""
    spans: tuple[Span, ...] = field(default=())
    also: tuple[Phrase, ...] = ()

    @property
    def every(self) -> tuple[Phrase, ...]:
        """The text's findings, this one among them, in reading order."""
        return tuple(sorted((self, *self.also), key=_begins))


def _begins(phrase: Phrase) -> int:
    """Return where a phrase's finding stands in the text."""
    starts = [span.start for span in phrase.spans if span.role == "finding"]
    return min(starts, default=0)
