"""Heatmap: where a scan resembles a phrase, how much, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, checked_affine, transform
from napari_ctvlp.core.phrase import Phrase

#: Unit of a heatmap: probabilities, cosines, or parts that add up to an organ's score.
Unit = Literal["probability", "cosine", "split"]
Verdict = Literal["present", "absent", "cannot tell"]


@dataclass(frozen=True)
class Gate:
    """Where the search was allowed, and why.

    Attributes
    ----------
    applied : bool
        False when the user switched the gate off or the phrase names no place.
    side : str
        Patient side searched, or ``""``.
    anatomy : tuple of str
        Organs searched, empty for the whole field.
    words : str
        One sentence for the user.
    """

    applied: bool = False
    side: str = ""
    anatomy: tuple[str, ...] = ()
    words: str = "The whole field of view was searched."


@dataclass(frozen=True)
class Background:
    """The same statistic for neutral phrases on the same scan.

    Attributes
    ----------
    values : tuple of float
        Peak of each neutral phrase inside the same gate.
    p_value : float
        (1 + neutral peaks at least as high) / (1 + number of neutral phrases).
    """

    values: tuple[float, ...] = ()
    p_value: float = float("nan")


@dataclass(frozen=True)
class Wording:
    """What one wording of a phrase says at the peak of all of them.

    Attributes
    ----------
    text : str
    value : float
        In the heatmap's unit.
    support : float
        As in :class:`Heatmap`; NaN without a calibration.
    """

    text: str
    value: float
    support: float = float("nan")


@dataclass(frozen=True)
class Heatmap:
    """Similarity of a scan to a phrase on a grid of its own.

    Attributes
    ----------
    values : ndarray, shape (i, p, l), float32, read-only
        In the unit of ``kind``; NaN where the model did not look. Display scaling is the
        viewer's.
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    allowed : ndarray, shape (i, p, l), bool
        The gate on this grid; the peak is searched only here.
    phrase : Phrase
    model : str
        Card id.
    gate : Gate
    background : Background
    verdict : {"present", "absent", "cannot tell"}
    reason : str
        The verdict as one plain sentence.
    margin : float
        Peak minus the phrase's decision threshold; for a negated phrase read it as the absence
        margin (threshold minus peak).
    shares : mapping of str to float
        Share of the heatmap's mass above the neutral level per organ, sums to 1 or is empty.
    kind : {"probability", "cosine", "split"}
        What the values are.
    organ : str
        The model's organ whose window was read, or ``""``.
    score : float
        Similarity of the whole organ to the phrase; NaN where the model has none. The values of
        a split add up to it, but for a constant that no cell holds.
    doubt : str
        Why the model cannot judge at all, or ``""``.
    support : float
        Calibrated probability, 0..1, that the phrase's finding is there; NaN without a
        calibration of these weights.
    naive : {"present", "absent", "cannot tell"}
        The answer by the peak and the card's thresholds alone.
    clues : mapping of str to float
        What the peak was compared with (:mod:`napari_ctvlp.core.absence`); empty before.
    wordings : tuple of Wording
        The prompts whose mean this is.
    flips : bool
        Some wordings would be called present and others would not.
    within : str
        The organ whose findings this is the evidence of, searched only where the model looks for
        them; ``""`` for a phrase that was asked by itself.
    """

    values: NDArray[np.float32]
    affine: Affine
    allowed: NDArray[np.bool_]
    phrase: Phrase
    model: str
    gate: Gate = field(default_factory=Gate)
    background: Background = field(default_factory=Background)
    verdict: Verdict = "cannot tell"
    reason: str = ""
    margin: float = float("nan")
    shares: Mapping[str, float] = field(default_factory=dict)
    kind: Unit = "probability"
    organ: str = ""
    score: float = float("nan")
    doubt: str = ""
    support: float = float("nan")
    naive: Verdict = "cannot tell"
    clues: Mapping[str, float] = field(default_factory=dict)
    wordings: tuple[Wording, ...] = ()
    flips: bool = False
    within: str = ""

    def __post_init__(self) -> None:
        """Freeze the arrays and check the affine."""
        for name in ("values", "allowed"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @cached_property
    def peak_index(self) -> tuple[int, int, int] | None:
        """Index of the highest allowed value, or None when nothing may be searched."""
        searched = np.where(self.allowed, self.values, -np.inf)
        flat = int(np.argmax(searched))
        if not np.isfinite(searched.flat[flat]):  # argmax stops at the first NaN
            searched[~np.isfinite(searched)] = -np.inf
            flat = int(np.argmax(searched))
            if not np.isfinite(searched.flat[flat]):
                return None
        i, p, l = np.unravel_index(flat, searched.shape)  # noqa: E741 - the axis is called L
        return int(i), int(p), int(l)

    @property
    def full_scale(self) -> float:
        """The value shown at full strength: 1 for probabilities, else a positive peak."""
        if self.kind == "probability":
            return 1.0
        return self.peak if self.peak > 0 else 1.0

    @property
    def peak(self) -> float:
        """Highest allowed value, NaN when nothing may be searched."""
        index = self.peak_index
        return float("nan") if index is None else float(self.values[index])

    @property
    def peak_ras(self) -> tuple[float, float, float] | None:
        """RAS mm of the peak's cell centre."""
        index = self.peak_index
        if index is None:
            return None
        x, y, z = transform(self.affine, index).tolist()
        return x, y, z

    @cached_property
    def ranked(self) -> NDArray[np.float32]:
        """Searched values from the lowest to the highest, shape (n,)."""
        return np.sort(self.values[self.allowed & np.isfinite(self.values)])

    def percentile(self, value: float) -> float:
        """Return how many per cent of the searched cells are lower than a value; NaN without any.

        Examples
        --------
        >>> heatmap.percentile(heatmap.peak)  # doctest: +SKIP
        99.998
        """
        if not len(self.ranked):
            return float("nan")
        return 100.0 * int(np.searchsorted(self.ranked, np.float32(value))) / len(self.ranked)
