"""CT reports written from what was painted: a grammar whose words are in ``wording/*.toml``.

A report says each painted finding with its side, place, size and traits, denies findings that are
truly absent, and calls organs normal in which nothing was painted. The wordings for training and
the held-out ones share no template and no synonym.
"""

from __future__ import annotations

import math
import random
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, FINDINGS, Chance, Painted

FAMILIES = ("train", "held_out")
STATES = ("present", "absent", "uncertain", "normal")
_FOLDER = Path(__file__).resolve().parent / "wording"
_STYLES = ("full", "short", "bullet")
_BULLETS = ("- ", "* ")
_MIXED = 0.25
_UNCERTAIN = 0.12
_VAGUE = 0.15
#: Relative odds of 0, 1, 2 or 3 denials about an organ without and with a finding.
_DENIALS = {False: [2.0, 3.0, 3.0, 1.0], True: [4.0, 3.0, 1.0, 0.0]}
#: Vowels that sound like "you", and numbers that begin with a vowel.
_CONSONANTS = ("uni", "ure", "uri", "use", "eu", "one")
_VOWELS = ("a", "e", "i", "o", "u", "8", "11 ", "11.", "18 ", "18.")
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Sentence:
    """One statement of a report.

    Attributes
    ----------
    text : str
        With its full stop, or with the mark of a list before it.
    organ : str
        One of ``ANATOMIES``.
    finding : str
        Concept name, or ``""`` where the whole organ is called normal.
    state : str
        One of ``STATES``.
    """

    text: str
    organ: str
    finding: str = ""
    state: str = "normal"


@dataclass(frozen=True)
class Report:
    """Sentences in the order they were written."""

    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """The whole report; items of a list stand on lines of their own."""
        return _joined(self.sentences)

    def by_organ(self) -> dict[str, str]:
        """Return the text about each organ, in the order of ``ANATOMIES``."""
        parts = {o: [s for s in self.sentences if s.organ == o] for o in ANATOMIES}
        return {organ: _joined(part) for organ, part in parts.items() if part}


def write(
    painted: Sequence[Painted],
    organs: Sequence[str],
    dice: Chance,
    *,
    family: str = "train",
    unsure: Collection[str] = (),
) -> Report:
    """Write a report.

    Parameters
    ----------
    painted : sequence of Painted
        Each is mentioned once.
    organs : sequence of str
        The ``ANATOMIES`` in view.
    dice : Chance
        Everything drawn follows from one number of it.
    family : {"train", "held_out"}
        Which wordings are used.
    unsure : collection of str
        Findings that the scan may hold beside the painted ones: nothing is denied about them.

    Raises
    ------
    InputRefused
        For a family, an organ or a finding that does not exist.
    """
    _check(painted, organs, family)
    draw = random.Random(dice.integer(0, 2**31 - 1))  # noqa: S311 - not for secrets; torch is slow
    writer = _Writer(_wording(family), draw)
    wanted = _shuffled(list(dict.fromkeys([*organs, *(p.organ for p in painted)])), draw)
    if draw.random() < 0.5:
        wanted.sort(key=ANATOMIES.index)
    sentences: list[Sentence] = []
    for organ in wanted:
        said = [writer.mention(p) for p in painted if p.organ == organ]
        said += writer.rest(organ, painted, unsure)
        sentences += said if draw.random() < 0.7 else _shuffled(said, draw)
    return Report(tuple(sentences))


def absent(organ: str, painted: Iterable[Painted]) -> tuple[str, ...]:
    """Return the findings that may be denied in an organ: neither they nor their kin are there."""
    kin = _facts()["kin"]
    here = {p.finding for p in painted if _concerns(p, organ)}
    homes = [name for name, listed in _facts()["home"].items() if organ in listed]
    return tuple(name for name in homes if not here & {name, *kin.get(name, ())})


class _Writer:
    """Sentences of one family in the style of one report."""

    def __init__(self, table: Mapping[str, Any], draw: random.Random) -> None:
        self.table, self.draw = table, draw
        self.style = draw.choices(_STYLES, [0.5, 0.35, 0.15])[0]

    def mention(self, item: Painted) -> Sentence:
        """Say a finding, sometimes with doubt."""
        state = "uncertain" if self.draw.random() < _UNCERTAIN else "present"
        side = item.side or _side_of(item.organ)
        noun, number = self._noun(item.finding)
        where = self._place(item.finding, noun, side, item.place)
        template = self._template(state, bool(where))
        size = "" if math.isnan(item.size_mm) else self._size(item)
        ahead, behind = self._traits(item.traits, noun)
        clause = ""
        if size[:1].isdigit() and "{size}" in template and self.draw.random() < 0.7:
            clause = self.draw.choice(self.table["size"]["after"]).format(size)
        elif size:
            ahead = [size, *ahead]
        if where and "ite}" not in template and self._beside(item):
            ahead.insert(0, self.draw.choice(self.table["where"]["side"]).format(side=side))
            where = ""
        phrase = " ".join([*ahead, noun, *behind])
        return Sentence(self._fill(template, phrase, number, where, clause), item.organ,
                        item.finding, state)  # fmt: skip

    def rest(
        self, organ: str, painted: Sequence[Painted], unsure: Collection[str]
    ) -> list[Sentence]:
        """Call an organ normal where it is, and deny some of what is absent."""
        touched = any(_concerns(p, organ) for p in painted)
        free = [name for name in absent(organ, painted) if name not in unsure]
        doubt = any(organ in _facts()["home"].get(name, ()) for name in unsure)
        count = min(self.draw.choices(range(4), _DENIALS[touched])[0], len(free))
        said = [self._deny(n, organ, painted) for n in _shuffled(free, self.draw)[:count]]
        if not touched and not doubt and (not said or self.draw.random() < 0.4):
            text = self.draw.choice(self.table["normal"][organ])
            said.insert(0, Sentence(self._listed(text), organ))
        return said

    def _deny(self, finding: str, organ: str, painted: Iterable[Painted]) -> Sentence:
        """Deny a finding; its side is said unless it is on neither."""
        side = _side_of(organ)
        elsewhere = any(p.finding == finding for p in painted)
        said = side and (elsewhere or self.draw.random() < 0.6)
        noun, number = self._noun(finding)
        where = self._place(finding, noun, side, "") if said else ""
        template = self._template("absent", bool(where))
        return Sentence(self._fill(template, noun, number, where, ""), organ, finding, "absent")

    def _listed(self, text: str) -> str:
        """Put a whole sentence into the style of a list."""
        mark = self.table["present"]["bullet"][0][:2]
        return f"{mark}{text.rstrip('.')}" if self.style == "bullet" else text

    def _template(self, state: str, placed: bool) -> str:
        style = self.style
        if style != "bullet" and self.draw.random() < _MIXED:
            style = self.draw.choice(_STYLES[:2])
        fit = [t for t in self.table[state][style] if placed or "ite}" not in t]
        template: str = self.draw.choice(fit)
        return template

    def _noun(self, finding: str) -> tuple[str, str]:
        """Draw a synonym and its number: one, mass or many."""
        listed = self.table["findings"][finding]
        return self.draw.choice(
            [(noun, number) for number, nouns in listed.items() for noun in nouns]
        )

    def _traits(self, traits: Iterable[str], noun: str) -> tuple[list[str], list[str]]:
        """Return what is said of traits before and after the noun, nothing twice."""
        ahead: list[str] = []
        behind: list[str] = []
        for trait in traits:
            said = self.table["traits"].get(trait, [trait])
            if not said or trait in noun or (text := self.draw.choice(said)) in noun:
                continue
            after = text.startswith(("with ", "in ", "involving "))
            (behind if after else ahead).append(text)
        if len(behind) > 1:
            behind = [f"{behind[0]} and", *(text.removeprefix("with ") for text in behind[1:2])]
        return ahead, behind

    def _size(self, item: Painted) -> str:
        """Return a rounded size in mm or cm, or now and then a vague word."""
        table, limits = self.table["size"], _facts()["size"]
        small, large = limits.get(item.finding, limits["default"])
        if self.draw.random() < _VAGUE and not small <= item.size_mm <= large:
            word: str = self.draw.choice(table["small" if item.size_mm < small else "large"])
            return word
        mm = max(1, round(item.size_mm))
        if mm >= 10 and self.draw.random() < (0.8 if mm >= 30 else 0.25):
            return f"{round(item.size_mm / 10, 1):g} cm"
        return f"{mm} mm"

    def _place(self, finding: str, noun: str, side: str, place: str) -> str:
        """Return where a finding is, without a preposition; ``""`` where its noun says it all."""
        kind = _facts()["where"].get(finding, "lung")
        labels = self.table["places"].get(kind, {})
        listed = labels.get(place) or labels.get(side) or labels.get("", ())
        fit = [label for label in listed if side or "{side}" not in label]
        where: str = self.draw.choice(fit).format(side=side) if fit else ""
        return "" if where.rpartition(" ")[2] in noun and not (side or place) else where

    def _beside(self, item: Painted) -> bool:
        """Draw whether the side is said as an adjective: "left pleural effusion"."""
        kind = _facts()["where"].get(item.finding, "lung")
        sided = kind in ("pleura", "kidney", "pelvis") and bool(self.table["where"]["side"])
        return sided and not item.place and self.draw.random() < 0.4

    def _fill(self, template: str, phrase: str, number: str, where: str, size: str) -> str:
        full = f"{_article(phrase)} {phrase}" if number == "one" else phrase
        located = self.draw.choice(self.table["where"]["in"]).format(where) if where else ""
        slots = {"a": full, "bare": phrase, "site": where, "where": located, "size": size}
        slots |= {slot.capitalize(): _capital(slots[slot]) for slot in ("a", "bare", "site")}
        return template.format(**slots, **{"is": "are" if number == "many" else "is"})


def _check(painted: Sequence[Painted], organs: Sequence[str], family: str) -> None:
    if family not in FAMILIES:
        raise _refused("family", f"one of {', '.join(FAMILIES)}", family)
    for organ in [*organs, *(p.organ for p in painted)]:
        if organ not in ANATOMIES:
            raise _refused("organ", f"one of {', '.join(ANATOMIES)}", organ)
    for item in painted:
        if item.finding not in FINDINGS:
            raise _refused("finding", "a finding of the synthesis", item.finding)


def _refused(what: str, expected: str, found: str) -> InputRefused:
    return InputRefused(
        f"unknown_{what}", f"{expected}.", f"The {what} of a report is {found!r}.",
        "Mend the name where the report is asked for.",
    )  # fmt: skip


def _concerns(item: Painted, organ: str) -> bool:
    """Whether a painted finding is in an organ, or may be taken to be."""
    side = _side_of(organ)
    at_home = organ in _facts()["home"].get(item.finding, ())
    return item.organ == organ or (at_home and (not side or item.side in ("", side)))


def _side_of(organ: str) -> str:
    return organ.rpartition("_")[2] if organ.endswith(("_left", "_right")) else ""


def _article(phrase: str) -> str:
    vowel = phrase.lower().startswith(_VOWELS) and not phrase.lower().startswith(_CONSONANTS)
    return "an" if vowel else "a"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _joined(sentences: Iterable[Sentence]) -> str:
    text = ""
    for sentence in sentences:
        listed = sentence.text.startswith(_BULLETS)
        text += ("\n" if listed else " ") * bool(text) + sentence.text
    return text


def _shuffled(listed: Sequence[_Item], draw: random.Random) -> list[_Item]:
    return draw.sample(listed, len(listed))


@cache
def _facts() -> Mapping[str, Any]:
    return _read("facts")


@cache
def _wording(family: str) -> Mapping[str, Any]:
    return _read(family)


def _read(name: str) -> Mapping[str, Any]:
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
