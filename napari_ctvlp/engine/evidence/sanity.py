"""Does a map depend on what it should: the weights, the voxels it marks, the organ it names.

Definitions in docs/decisions/0510-evidence.md; after Adebayo et al. (2018), Petsiuk et al. (2018)
and Arun et al. (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import resample, spacing
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.evidence.probe import Probe, randomised, score
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.protocol import Progress, silent

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Per cent of the searched voxels that are deleted or inserted.
STEPS = (0, 1, 2, 5, 10, 20, 30, 50, 75, 100)
#: Blur of the neutral volume, and width of the control's blobs, in mm.
BLUR_MM, BLOB_MM = 8.0, 8.0
#: A score that moves less than this stays; the shell around an organ it is filled from, in mm.
STAYS, SHELL_MM = 0.05, (3.0, 15.0)


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


def weights_matter(
    probe: Probe, scan: Scan, anatomy: AnatomyMap, shuffles: int = 3, progress: Progress = silent
) -> WeightCheck:
    """Compare a map with those of shuffled weights; below .3 the weights decide it."""
    true, grid = probe.raw(scan, anatomy)
    found, first = [], None
    for seed in range(shuffles):
        progress((seed + 1) / (shuffles + 1), "shuffled weights")
        values, _ = replace(probe, encoder=randomised(probe.encoder, seed)).raw(scan, anatomy)
        first = values if first is None else first
        both = np.isfinite(true) & np.isfinite(values)
        found.append(float(stats.spearmanr(true[both], values[both]).statistic))
    return WeightCheck(true, true if first is None else first, grid.affine, tuple(found))


def delete_and_insert(
    probe: Probe,
    scan: Scan,
    anatomy: AnatomyMap,
    *,
    steps: Sequence[float] = STEPS,
    seed: int = 0,
    progress: Progress = silent,
) -> Curves:
    """Take away, and put into a blurred scan, voxels in the map's order and in that of blobs.

    Parameters
    ----------
    probe : Probe
    scan : Scan
    anatomy : AnatomyMap
        Kept as it is: the place that is searched does not change.
    steps : sequence of float
        Per cent of the searched voxels; each costs four encodings, but for 0 and 100.
    seed : int
        Of the blobs.
    progress : callable
    """
    heat = probe.heat(scan, anatomy)
    order = {"map": _ranks(heat, heat.values, scan), "blob": _ranks(heat, _blobs(heat, seed), scan)}
    neutral = blurred(scan)
    rows: dict[str, list[float]] = {f"{kind} {way}": [] for kind in order for way in "di"}
    known: dict[str, float] = {}
    for number, step in enumerate(steps):
        progress(number / len(steps), f"{step:g} %")
        for kind, rank in order.items():
            taken = rank < step / 100
            for way, base, put in (("d", scan, neutral), ("i", neutral, scan)):
                key = f"{way}{step}" if step in (0, 100) else f"{kind}{way}{step}"
                if key not in known:
                    changed = with_hu(base, np.where(taken, put.hu, base.hu))
                    known[key] = score(probe.heat(changed, anatomy))
                rows[f"{kind} {way}"].append(known[key])
    parts = (tuple(rows[name]) for name in ("map d", "map i", "blob d", "blob i"))
    return Curves(tuple(float(s) for s in steps), *parts)


def erase_organs(probe: Probe, scan: Scan, anatomy: AnatomyMap, named: str, other: str) -> Erasure:
    """Paint over the organ a phrase names, and another one, and score again.

    Raises
    ------
    InputRefused
        If one of them is not in the scan.
    """
    for name in (named, other):
        if not anatomy.has(name):
            raise InputRefused(
                "organ-missing", "two organs of this scan.", f"There is no {name} in it.",
                "Choose among " + ", ".join(o.name for o in anatomy.organs if o.ml > 0) + ".",
            )  # fmt: skip
    before, *after = (
        score(probe.heat(changed, anatomy))
        for changed in (scan, *(erased(scan, anatomy, name) for name in (named, other)))
    )
    return Erasure(named, other, before, *after)


def erased(scan: Scan, anatomy: AnatomyMap, organ: str, seed: int = 0) -> Scan:
    """Return the scan with an organ filled like what lies around it.

    Mean and spread of the HU between 3 and 15 mm outside the organ, so that no edge tells where
    it was, and no other organ is touched.
    """
    mask = anatomy.mask(organ)
    near = ndimage.distance_transform_edt(~mask, sampling=spacing(scan.affine))
    shell = (near > SHELL_MM[0]) & (near <= SHELL_MM[1]) & (anatomy.labels > 0)
    values = scan.hu[shell] if shell.any() else np.array([40.0])
    noise = np.random.default_rng(seed).normal(values.mean(), values.std(), int(mask.sum()))
    hu = np.array(scan.hu, np.float32)
    hu[mask] = noise
    return with_hu(scan, hu)


def blurred(scan: Scan) -> Scan:
    """Return the scan without detail: a Gaussian of 8 mm."""
    width = BLUR_MM / spacing(scan.affine)
    return with_hu(scan, ndimage.gaussian_filter(np.asarray(scan.hu, np.float32), width))


def with_hu(scan: Scan, hu: NDArray[Any]) -> Scan:
    """Return the scan with other values on the same grid."""
    if scan.hu.dtype.kind == "i":
        whole = np.clip(np.rint(hu), -1024, 32767).astype(np.int16)
        return Scan(whole, scan.affine, scan.source, scan.meta)
    return Scan(np.asarray(hu, np.float32), scan.affine, scan.source, scan.meta)


def _ranks(heat: Heatmap, values: Array, scan: Scan) -> Array:
    """Return each voxel's place in the order of a map, 0..1; 2 where nothing is searched."""
    searched = heat.allowed & np.isfinite(values)
    rank = np.full(values.shape, 2.0, np.float32)
    order = np.argsort(np.argsort(-values[searched], kind="stable"), kind="stable")
    rank[searched] = order / max(1, len(order))
    return resample(rank, heat.affine, scan.shape, scan.affine, order=0, fill=2.0)


def _blobs(heat: Heatmap, seed: int) -> Array:
    noise = np.random.default_rng(seed).standard_normal(heat.values.shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, BLOB_MM / spacing(heat.affine))
    return np.where(np.isfinite(heat.values), smooth, np.float32("nan"))
