"""A store as a reader browses it: one row for each scan, ranked, filtered, marked, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.cohort.find import Index, Ranking, check_weights, organs_of
from napari_ctvlp.cohort.inputs import IdMap
from napari_ctvlp.cohort.reference import Reference
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.cohort.tokens import kept_tokens
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.result import Progress, silent
from napari_ctvlp.models import store as models

#: Columns a ranking fills.
RANKED = ("rank", "score", "percentile", "answer")
#: Columns nobody reads on a screen.
_HIDDEN = {
    "digest", "encoding", "recipe", "model", "model_digest", "segmenter", "segmenter_digest",
    "error", "error_kind", "modality", "unit", "device", "precision", "threads",
}  # fmt: skip
_FIRST = ("scan", *RANKED, "mark", "mark_date")


@dataclass(frozen=True)
class Opened:
    """A scan of a store with what was kept of it; ``kept`` is None where tokens were not."""

    scan: Scan
    kept: tuple[AnatomyMap, Encoding] | None


class Reading:
    """A store in memory.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    columns : list of str
    rows : list of dict
        A row for each scan, failed ones too.
    reference : Reference
        Percentiles of findings.
    """

    def __init__(self, folder: Path, progress: Progress = silent) -> None:
        self.store = Store(folder)
        progress(0.2, "reading the store")
        check_weights(self.store)
        self.index = Index(self.store)
        progress(0.6, "reading the store")
        self.index.prepare()
        self.reference = Reference(self.store)
        self.ids = IdMap(self.store)
        found = self.index.connection.execute("FROM wide ORDER BY scan")
        names = [column[0] for column in found.description]
        self.rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        kept = [name for name in names if name not in (*_HIDDEN, *_FIRST)]
        self.columns = [*_FIRST, *sorted(kept, key=_importance)]
        self._place = {row["scan"]: number for number, row in enumerate(self.rows)}

    @property
    def words(self) -> str:
        """Return name and size, and what is damaged."""
        failed = sum(row["state"] == "failed" for row in self.rows)
        said = f"{self.store.name}: {len(self.rows)} scans"
        said += f", {failed} failed" if failed else ""
        said += "".join(f". {name} cannot be read" for name in self.store.damaged)
        return said + "."

    def rank(self, text: str, vector: NDArray[np.float32]) -> Ranking:
        """Rank by a phrase whose vector is known, and fill the columns of the ranking."""
        phrase = parse(text)
        settings = models.card(self.store.info["model"]).settings
        organs = organs_of(phrase, list(self.index.vectors), settings)
        ranking = self.index.rank(phrase, vector, organs)
        for row in self.rows:
            row.update(dict.fromkeys(RANKED))
        for found in ranking.rows:
            row = self.row(found.scan)
            row.update(rank=found.rank, score=found.score, percentile=found.percentile)
            row["answer"] = found.answer
        return ranking

    def row(self, scan: str) -> dict[str, Any]:
        """Return the row of a scan."""
        return self.rows[self._place[scan]]

    def scan_of(self, digest: str) -> str:
        """Return the number of a scan by its digest, ``""`` for one of another store."""
        return next((row["scan"] for row in self.rows if row["digest"] == digest), "")

    def mark(self, scan: str, mark: str) -> None:
        """Accept or reject a scan, in the store and in its row."""
        date = self.store.mark(scan, mark)
        self.row(scan).update(mark=mark or None, mark_date=date if mark else None)

    def chosen(self, letters: str = "", where: str = "") -> list[int]:
        """Return the places of rows that hold some letters and meet an SQL condition.

        Raises
        ------
        InputRefused
            ``bad-where``.
        """
        allowed = {*self.index.select(where)} if where.strip() else None
        wanted = letters.strip().lower()
        return [
            place
            for place, row in enumerate(self.rows)
            if (allowed is None or row["scan"] in allowed) and (not wanted or _holds(row, wanted))
        ]

    def ordered(self, places: Sequence[int], column: str, *, falling: bool = False) -> list[int]:
        """Return places ordered by a column; empty cells come last whichever way."""
        filled = [place for place in places if self.rows[place].get(column) is not None]
        empty = [place for place in places if self.rows[place].get(column) is None]
        return (
            sorted(filled, key=lambda p: _sortable(self.rows[p][column]), reverse=falling) + empty
        )

    def numbers(self, column: str, places: Sequence[int]) -> NDArray[np.float64]:
        """Return a column as numbers, NaN where it holds none, shape (places,)."""
        return np.array([_number(self.rows[place].get(column)) for place in places])

    def numeric(self) -> list[str]:
        """Return the columns that hold numbers."""
        every = range(len(self.rows))
        return [name for name in self.columns if np.isfinite(self.numbers(name, every)).any()]

    def most_various(self) -> str:
        """Return the volume column with the most different numbers, ``""`` without any."""
        names = [name for name in self.numeric() if name.endswith("_ml")]
        every = range(len(self.rows))
        return max(names, key=lambda name: len(np.unique(self.numbers(name, every))), default="")

    def question_for(self, scan: str) -> str:
        """Return the phrase of the store with the highest margin in a scan, ``""`` without any."""
        query = (
            "SELECT phrase FROM phrases WHERE scan = ? AND margin IS NOT NULL "
            "ORDER BY margin DESC LIMIT 1"
        )
        found = self.index.connection.execute(query, [scan]).fetchone()
        return str(found[0]) if found else ""

    def open(self, scan: str, progress: Progress = silent) -> Opened:
        """Open a scan by the id map, with its tokens where they were kept.

        Raises
        ------
        InputRefused
            ``no-id`` where the map does not know it, or as ``open_scan`` does.
        """
        from napari_ctvlp.engine.opening import open_scan

        known = self.ids.rows.get(scan)
        if known is None:
            raise InputRefused(
                "no-id",
                "the id map of the store, identity/ids.csv.",
                f"It does not know scan {scan}.",
                "Put the map in its place; without it scans cannot be opened.",
            )
        series = known["series"]
        wanted = int(series) if series.isdigit() else series or None
        found = open_scan(known["path"], series=wanted, progress=progress)
        return Opened(found, kept_tokens(self.store, scan))


def _importance(name: str) -> tuple[int, str]:
    """Order columns: labels, state, organs by their ml, and the rest."""
    ends = ("_ml", "_hu", "_complete")
    kinds = [name.startswith("label_"), name in ("state", "error_code")]
    kinds += [name.endswith(end) for end in ends]
    return (kinds.index(True) if any(kinds) else len(kinds)), name


def _holds(row: dict[str, Any], letters: str) -> bool:
    return any(letters in str(value).lower() for value in row.values() if value is not None)


def _sortable(value: Any) -> tuple[int, Any]:
    number = _number(value)
    return (0, number) if np.isfinite(number) else (1, str(value))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
