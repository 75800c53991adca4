"""How often the parser reads phrases as a reader does: a table of phrases against ``parse``.

``python -m napari_ctvlp.evaluation.phrases tests/core/phrases.csv`` prints the shares of both
parts, and the misses of the development part only: rules are written by looking at those.
The columns are told in ``docs/phrases.md``.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phrase import Phrase

FIELDS = ("finding", "anatomy", "side", "negated", "uncertain")
#: Read too, but not part of the bar.
EXTRA = ("change", "size_mm")
Reading = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One phrase of the table, with one reading per finding in ``FIELDS + EXTRA`` order."""

    part: str
    kind: str
    phrase: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Outcome:
    """A row beside what was understood.

    Attributes
    ----------
    row : Row
    got : tuple of Reading
    whole : bool
        Every finding was found, each with all five fields right.
    main : bool
        So it is for the finding that is looked for: the first asserted one, else the first.
    """

    row: Row
    got: tuple[Reading, ...]

    @property
    def whole(self) -> bool:
        """Every finding with all five fields."""
        return _distinct(self.got) == _distinct(self.row.readings)

    @property
    def main(self) -> bool:
        """The finding that is looked for."""
        return _main(self.got)[:5] == _main(self.row.readings)[:5]


def read_table(path: Path) -> list[Row]:
    """Return the rows of a table of phrases."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(cells) for cells in csv.DictReader(file)]


def outcomes(rows: Iterable[Row], read: Callable[[str], Phrase] = parse) -> list[Outcome]:
    """Return what a parser makes of every row."""
    return [Outcome(row, _understood(read(row.phrase))) for row in rows]


def shares(found: Sequence[Outcome]) -> dict[str, float]:
    """Return the share of phrases read right: whole, main finding, and the main one's fields."""
    count = max(1, len(found))
    right: Counter[str] = Counter()
    for outcome in found:
        right["whole"] += outcome.whole
        right["main"] += outcome.main
        pairs = zip((*FIELDS, *EXTRA), _main(outcome.got), _main(outcome.row.readings), strict=True)
        right.update(name for name, got, wanted in pairs if got == wanted)
    return {name: right[name] / count for name in ("whole", "main", *FIELDS, *EXTRA)}


def _row(cells: dict[str, str]) -> Row:
    count = len(cells["finding"].split("|"))
    columns = [(cells[name] or "|" * (count - 1)).split("|") for name in (*FIELDS, *EXTRA)]
    readings = tuple(zip(*columns, strict=True))
    return Row(cells["part"], cells["kind"], cells["phrase"], readings)


def _understood(phrase: Phrase) -> tuple[Reading, ...]:
    every = phrase.every
    return tuple(
        (
            one.finding,
            one.anatomy,
            one.side,
            "yes" if one.negated else "no",
            "yes" if one.uncertain else "no",
            one.change,
            "" if one.size_mm is None else f"{one.size_mm:g}",
        )
        for one in every
    )


def _distinct(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Return readings without change and size; one said twice counts once."""
    return tuple(dict.fromkeys(reading[:5] for reading in readings))


def _main(readings: Sequence[Reading]) -> Reading:
    return next((reading for reading in readings if reading[3] == "no"), readings[0])


def _print(path: Path) -> None:
    found = outcomes(read_table(path))
    for part in ("development", "held-out"):
        mine = [outcome for outcome in found if outcome.row.part == part]
        numbers = ", ".join(f"{name} {share:.1%}" for name, share in shares(mine).items())
        print(f"{part} ({len(mine)} phrases): {numbers}")
    for outcome in found:
        if outcome.row.part == "development" and not outcome.whole:
            print(f"  {outcome.row.phrase!r}\n    {outcome.row.readings}\n    {outcome.got}")


if __name__ == "__main__":
    _print(Path(sys.argv[1]))
