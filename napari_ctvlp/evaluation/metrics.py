"""Metrics of maps and masks by their published definitions.

All of them work on the reference's own voxel grid: a map defined on tokens is brought up by
:func:`napari_ctvlp.core.geometry.resample`, a reference is never brought down. ``field`` is the
set of voxels that count; a NaN of the map inside it scores below every number, so that not
looking is never rewarded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.geometry import Affine, transform

Mask = NDArray[np.bool_]
Map = NDArray[np.float32] | NDArray[np.float64]


def dice(found: Mask, reference: Mask) -> float:
    """Dice coefficient 2|P & G| / (|P| + |G|); 1 when both are empty (Dice 1945)."""
    total = int(found.sum()) + int(reference.sum())
    return 2 * int((found & reference).sum()) / total if total else 1.0


def iou(found: Mask, reference: Mask) -> float:
    """Intersection over union |P & G| / |P | G|; 1 when both are empty (Jaccard 1901)."""
    union = int((found | reference).sum())
    return int((found & reference).sum()) / union if union else 1.0


def iou_at(values: Map, reference: Mask, field: Mask, thresholds: Sequence[float]) -> float:
    """Mean of IoU over ``values > t`` inside ``field`` (BioViL, Boecking et al. 2022)."""
    inside, truth = values[field], reference[field]
    return float(np.mean([iou(inside > t, truth) for t in thresholds]))


def hit(found: Mask, reference: Mask, least_dice: float = 0.1) -> bool:
    """Hit of ReXGroundingCT (2025): Dice of at least ``least_dice``."""
    return dice(found, reference) >= least_dice


def cnr(values: Map, reference: Mask, field: Mask) -> float:
    """Signed contrast-to-noise ratio (mean_G - mean_rest) / sqrt(var_G + var_rest).

    NaN when the reference is empty, fills the field, or neither side varies.
    """
    seen = field & np.isfinite(values)
    inside = values[seen & reference].astype(np.float64)
    outside = values[seen & ~reference].astype(np.float64)
    if not inside.size or not outside.size:
        return float("nan")
    noise = float(inside.var() + outside.var())
    return float((inside.mean() - outside.mean()) / np.sqrt(noise)) if noise > 0 else float("nan")


def auroc(values: Map, reference: Mask, field: Mask) -> float:
    """Area under the ROC curve over voxels, ties counted half (Mann and Whitney 1947).

    NaN when the field holds no positive or no negative voxel.
    """
    every, positive = _sorted_scores(values, reference, field)
    negatives = every.size - positive.size
    if not positive.size or not negatives:
        return float("nan")
    below = np.searchsorted(every, positive, "left") + np.searchsorted(every, positive, "right")
    pairs = below.sum(dtype=np.float64) / 2 - float(positive.size) ** 2 / 2
    return float(pairs) / positive.size / negatives


def average_precision(values: Map, reference: Mask, field: Mask) -> float:
    """Average precision over voxels: sum of (recall step) x precision; NaN without positives."""
    every, positive = _sorted_scores(values, reference, field)
    if not positive.size:
        return float("nan")
    levels, counts = np.unique(positive, return_counts=True)
    found = np.cumsum(counts[::-1])[::-1]
    called = every.size - np.searchsorted(every, levels, "left")
    return float((counts * found / called).sum()) / positive.size


def false_blobs(values: Map, allowed: Mask, inside: Mask, near: Mask) -> int:
    """Components of a map above the lesion's own maximum that do not reach the lesion.

    Parameters
    ----------
    values : ndarray, shape (i, p, l)
        On the map's own grid.
    allowed : ndarray of bool, same shape
        Cells that are searched.
    inside, near : ndarray of bool, same shape
        Cells in the reference and cells within the tolerance of it.

    Returns
    -------
    int
        26-neighbour components of ``allowed & (values > level)`` without a cell of ``near``, the
        level being the highest value ``inside`` (below every number when nobody looked there).
    """
    known = np.isfinite(values)
    own = values[inside & known]
    above = allowed & known & (values > (own.max() if own.size else -np.inf))
    labels, count = ndimage.label(above, np.ones((3, 3, 3)))
    return int(count - np.unique(labels[near & above]).size)


def correlation(first: Map, second: Map, field: Mask) -> float:
    """Pearson correlation of two maps over the cells of ``field`` known to both; NaN if flat."""
    both = field & np.isfinite(first) & np.isfinite(second)
    a, b = (np.asarray(m[both], dtype=np.float64) for m in (first, second))
    if a.size < 2 or not a.std() > 0 or not b.std() > 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def top_mean(values: Map, allowed: Mask, cells: int) -> float:
    """Mean of the ``cells`` highest values in ``allowed``, of all when there are fewer."""
    found = values[allowed & np.isfinite(values)]
    if not found.size:
        return float("nan")
    count = min(max(cells, 1), found.size)
    return float(np.partition(found, -count)[-count:].mean(dtype=np.float64))


def drop_in_sds(asserted: float, denied: float, neutral: Sequence[float]) -> float:
    """(asserted - denied) / SD of neutral peaks (n - 1); NaN when they do not vary."""
    sd = float(np.std(np.asarray(neutral, dtype=np.float64), ddof=1))
    return (asserted - denied) / sd if sd > 1e-9 else float("nan")


def energy_pointing(values: Map, reference: Mask, field: Mask) -> float:
    """Share of the map's positive mass inside the reference (Wang et al., Score-CAM, 2020)."""
    mass = np.where(field & (values > 0), values, 0.0)
    total = float(mass.sum(dtype=np.float64))
    return float(mass[reference].sum(dtype=np.float64)) / total if total > 0 else float("nan")


def distance_to_reference(
    point_ras: Sequence[float] | None, reference: Mask, affine: Affine
) -> float:
    """Distance in mm from a world point to the nearest reference voxel centre.

    The pointing game (Zhang et al. 2018) with a tolerance of r mm is ``distance <= r``. Infinite
    without a point or a reference.
    """
    where = np.argwhere(reference)
    if point_ras is None or not where.size:
        return float("inf")
    away = transform(affine, where) - np.asarray(point_ras, dtype=np.float64)
    return float(np.sqrt((away**2).sum(axis=1).min()))


def peak_ras(values: Map, affine: Affine, field: Mask) -> tuple[float, float, float] | None:
    """World point of the highest finite value in ``field``; ties go to the first voxel."""
    searched = np.where(field & np.isfinite(values), values, -np.inf)
    flat = int(np.argmax(searched))
    if not np.isfinite(searched.flat[flat]):
        return None
    x, y, z = transform(affine, np.unravel_index(flat, searched.shape)).tolist()
    return x, y, z


def bootstrap_mean(
    values: Sequence[float], resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean with its 95 % percentile interval (Efron 1979) over the items given."""
    items = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(items), (resamples, len(items)))
    low, high = np.percentile(items[draws].mean(axis=1), [2.5, 97.5])
    return float(items.mean()), float(low), float(high)


def _sorted_scores(
    values: Map, reference: Mask, field: Mask
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """All scores of the field and those of its positives, ascending; NaN counts as -inf."""
    scores = np.where(np.isfinite(values[field]), values[field], -np.inf)
    return np.sort(scores), np.sort(scores[reference[field]])
