"""Limits of the three answers, from a store: by its labels where it has some, else by rarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ctvlp.cohort.store import ABSENT_UP_TO, LEAST_SCANS, PRESENT_FROM, Store
from napari_ctvlp.core.phrase import Phrase

#: Labelled scans with and without a finding that limits need.
LEAST_LABELLED = 20
YES, NO = {"1", "yes", "true", "present"}, {"0", "no", "false", "absent"}


@dataclass(frozen=True)
class Limits:
    """Where an answer begins and ends.

    Attributes
    ----------
    present, absent : float
        A score this high is *present*; one under that is *absent*; NaN where the store is too
        small to tell.
    words : str
        Where they come from, with the name and the size of the store.
    """

    present: float
    absent: float
    words: str

    def answers(self, scores: ArrayLike) -> list[str]:
        """Return one of the three answers for each score, shape (n,)."""
        exact = np.asarray(scores, np.float64)  # as the limits are: no rounding between them
        under = np.where(exact < self.absent, "absent", "cannot tell")
        told: list[str] = np.where(exact >= self.present, "present", under).tolist()
        return told


def limits_of(
    connection: Any,
    store: Store,
    phrase: Phrase,
    scans: Sequence[str],
    scores: NDArray[np.float32],
) -> Limits:
    """Return the limits for a phrase from the scores of a store's scans.

    Parameters
    ----------
    connection : DuckDB connection
        Of the store.
    store : Store
    phrase : Phrase
    scans : sequence of str
    scores : ndarray, shape (scans,)
        -inf where a scan was not judged.
    """
    judged = np.isfinite(scores)
    labels = _labels(connection, phrase.finding) if phrase.finding else {}
    if not labels:
        return from_rarity(scores[judged], store.name)
    yes, no = (
        scores[judged & np.array([labels.get(scan, "") in kind for scan in scans], np.bool_)]
        for kind in (YES, NO)
    )
    if min(len(yes), len(no)) >= LEAST_LABELLED:
        return from_labels(yes, no, f"label '{phrase.finding}' of {store.name}")
    return from_rarity(scores[judged], store.name)


def from_labels(yes: NDArray[np.float32], no: NDArray[np.float32], source: str) -> Limits:
    """Return limits as the cards do.

    *Present* is what a tenth of the scans without the finding exceeds, *absent* what nine of ten
    with it reach; where they cross, both are the higher one.
    """
    present, absent = float(np.quantile(no, 0.9)), float(np.quantile(yes, 0.1))
    present = max(present, absent)
    words = f"Answers from the {source}: {len(yes)} scans with it, {len(no)} without."
    return Limits(present, absent, words)


def from_rarity(scores: NDArray[np.float32], name: str) -> Limits:
    """Return limits by how unusual a score is; none for a store that is too small."""
    if len(scores) < LEAST_SCANS:
        words = (
            f"{name} has {len(scores)} scans that can be judged; "
            f"answers need {LEAST_SCANS}, or labels."
        )
        return Limits(float("nan"), float("nan"), words)
    present, absent = np.quantile(scores, [PRESENT_FROM / 100, ABSENT_UP_TO / 100])
    words = (
        f"Answers by rarity among {len(scores)} scans of {name}, which has no labels for this: "
        f"present is the highest {100 - PRESENT_FROM:.0f} %, absent the lower half."
    )
    return Limits(float(present), float(absent), words)


def _labels(connection: Any, finding: str) -> dict[str, str]:
    query = "SELECT scan, lower(value) FROM labels WHERE lower(replace(name, ' ', '_')) = ?"
    return dict(connection.execute(query, [finding]).fetchall())
