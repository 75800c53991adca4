"""Percentiles of findings among the scans of a store."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.cohort.store import Store, check_usable
from napari_ctvlp.core.findings import FindingRow, FindingsTable


class Reference:
    """The margins of a store, by organ and finding.

    Parameters
    ----------
    store : Store

    Attributes
    ----------
    name : str
        The store and its size, as tables print it.
    """

    def __init__(self, store: Store) -> None:
        check_usable(store, ("scans", "findings"))
        self.model = str(store.info["model"])
        connection = store.connect()
        rows = connection.execute(
            "SELECT organ, finding, list(margin ORDER BY margin) FROM findings "
            "WHERE margin IS NOT NULL GROUP BY organ, finding"
        ).fetchall()
        count = "SELECT count(*) FROM scans WHERE state = 'done'"
        (self.scans,) = connection.execute(count).fetchone()
        connection.close()
        self.name = f"{self.scans} scans of {store.name}"
        self._margins: dict[tuple[str, str], NDArray[np.float64]] = {
            (organ, finding): np.array(margins) for organ, finding, margins in rows
        }

    def percentile(self, organ: str, finding: str, margin: float) -> float:
        """Return per cent of the store's scans with a lower margin, NaN where none was judged."""
        known = self._margins.get((organ, finding))
        if known is None or math.isnan(margin):
            return float("nan")
        return 100.0 * int(np.searchsorted(known, margin)) / len(known)

    def applied(self, table: FindingsTable) -> FindingsTable:
        """Return a table with the percentiles of this store; one of another model as it is."""
        if table.model != self.model:
            return table
        return replace(table, rows=tuple(map(self._row, table.rows)), reference=self.name)

    def _row(self, row: FindingRow) -> FindingRow:
        return replace(row, percentile=self.percentile(row.organ, row.finding, row.margin))
