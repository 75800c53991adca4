"""Phrase: what the user typed and what was understood of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PhraseSide = Literal["left", "right", "both", ""]


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
    """

    start: int
    end: int
    role: str


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
    negated, uncertain : bool
    spans : tuple of Span
        The words behind each decision.
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
    spans: tuple[Span, ...] = field(default=())
