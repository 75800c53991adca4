"""What the checks of a map found: readings, curves, erased organs, shuffled weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: A score that moves less than this stays.
STAYS = 0.05


@dataclass(frozen=True)
class Reading:
    """One answer of the strip plot.

    Attributes
    ----------
    group : {"as it is", "wording", "shift", "HU"}
    label : str
    score, peak, support : float
        Mean of the highest cells, peak, calibrated support (NaN without a calibration).
    moved_mm : float
        How far the peak lies from that of the scan as it is.
    verdict : str
    """

    group: str
    label: str
    score: float
    peak: float
    support: float
    moved_mm: float
    verdict: str


@dataclass(frozen=True)
class WeightCheck:
    """A map beside maps of shuffled weights.

    Attributes
    ----------
    true, random : ndarray, shape (i, p, l)
        Raw similarity; the first shuffle's.
    affine : ndarray, shape (4, 4)
    correlations : tuple of float
        Spearman correlation of each shuffle with the true map, over what the model looked at.
    """

    true: Array
    random: Array
    affine: NDArray[np.float64]
    correlations: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """Scores while voxels are deleted or inserted, in the map's order and in that of blobs.

    Attributes
    ----------
    steps : tuple of float
        Per cent of the searched voxels.
    deletion, insertion : tuple of float
    blob_deletion, blob_insertion : tuple of float
        Controls: smoothed noise instead of the map.
    """

    steps: tuple[float, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    blob_deletion: tuple[float, ...]
    blob_insertion: tuple[float, ...]

    @property
    def insertion_gain(self) -> float:
        """Area under insertion less that of the control; above 0 the map beats blobs."""
        return self._area(self.insertion) - self._area(self.blob_insertion)

    @property
    def deletion_gain(self) -> float:
        """Area under the control's deletion less the map's; above 0 the map beats blobs."""
        return self._area(self.blob_deletion) - self._area(self.deletion)

    def _area(self, values: Sequence[float]) -> float:
        return float(np.trapezoid(values, np.asarray(self.steps) / 100))


@dataclass(frozen=True)
class Erasure:
    """Scores before and after organs were painted over.

    Attributes
    ----------
    named, other : str
        Organ of the phrase, and another one.
    before, without_named, without_other : float
    """

    named: str
    other: str
    before: float
    without_named: float
    without_other: float

    @property
    def passed(self) -> bool:
        """The score drops without the named organ and stays without the other."""
        drop = self.before - self.without_named
        return drop > STAYS and abs(self.before - self.without_other) < STAYS

    @property
    def words(self) -> str:
        """The numbers in a sentence."""
        return (
            f"Score {self.before:.3f}; without {self.named} {self.without_named:.3f}, without "
            f"{self.other} {self.without_other:.3f}: {'passed' if self.passed else 'FAILED'}"
        )
