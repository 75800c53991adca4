"""Is a phrase's peak worth anything? It is judged against what should score lower.

A map always has a highest point. Here that point is compared on the same scan with the denied
phrase, with phrases that mean nothing, with other findings at the same place, and with the same
phrase on the other side and in other regions. How these comparisons weigh is fitted on
calibration scans (``ctvlp train absence``) and kept with its date, its counts and the false-alarm
level it was set for; a calibration of other weights is never used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core import grounding
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import TextVector, TokenGrid
from napari_ctvlp.core.extent import cut_organs
from napari_ctvlp.core.geometry import spacing, transform, voxel_of
from napari_ctvlp.core.heatmap import Heatmap, Verdict
from napari_ctvlp.core.regions import side_mm

#: The comparisons, in the order of a calibration's weights: the peak's logit, what of it lies above
#: even odds, differences of logits, and the last a decimal logarithm of ml.
CLUES = ("level", "height", "denied", "neutral", "rival", "mirror", "elsewhere", "standing",
         "extent")  # fmt: skip
#: Those that rise and fall with the peak.
_WITH_PEAK = ("level", "denied", "neutral", "rival", "mirror", "elsewhere", "standing")
#: Radius around the peak in which findings are compared, and around its mirror image, in mm.
NEAR_MM, MIRROR_MM = 8.0, 16.0
#: Values are compared as logits of numbers clipped to these.
_LEAST, _MOST = 1e-4, 1 - 1e-4
#: Fewer cells than this are no region to compare with.
_FEW = 50

Array = NDArray[np.float32]
Cells = tuple[NDArray[np.intp], ...]


@dataclass(frozen=True)
class Others:
    """Phrases that a peak is compared with, as the model embeds them.

    Attributes
    ----------
    neutral : tuple of TextVector
        Phrases that mean nothing.
    denied : TextVector or None
        The negative prompts of this phrase.
    rivals : mapping of str to TextVector
        Other findings by house name.
    """

    neutral: tuple[TextVector, ...] = ()
    denied: TextVector | None = None
    rivals: Mapping[str, TextVector] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """Weights of the comparisons and where the three answers part.

    Attributes
    ----------
    model, weights : str
        Card id; SHA-256 of the weights and settings it was fitted for.
    means, scales, slopes : tuple of float
        Per clue of :data:`CLUES`.
    intercept : float
    offsets : mapping of str to float
        Per finding, drawn toward 0 where few scans tell.
    present, absent : float
        Probability from which on the answer is "present", and under which it is "absent".
    false_alarm, missed : float
        Levels the two were set for on scans left out of the fit.
    scans, positives, negatives : int
    made, source : str
        Date, and what the scans were.
    """

    model: str
    weights: str
    means: tuple[float, ...]
    scales: tuple[float, ...]
    slopes: tuple[float, ...]
    intercept: float
    offsets: Mapping[str, float]
    present: float
    absent: float
    false_alarm: float
    missed: float
    scans: int
    positives: int
    negatives: int
    made: str
    source: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Calibration:
        """Build one from what :func:`dataclasses.asdict` wrote as JSON."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        return cls(**known)

    def probability(self, clues: Mapping[str, float], finding: str) -> float:
        """Return the probability, 0..1, that a finding with these clues is there.

        A clue that could not be had (NaN) speaks neither for nor against.
        """
        rows = zip(CLUES, self.means, self.scales, self.slopes, strict=True)
        total = self.intercept + self.offsets.get(finding, 0.0)
        for name, mean, scale, slope in rows:
            value = clues.get(name, math.nan)
            total += slope * (value - mean) / scale if math.isfinite(value) else 0.0
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def clues(
    heat: Heatmap, grid: TokenGrid, anatomy: AnatomyMap, others: Others, own: str = ""
) -> dict[str, float]:
    """Compare a heatmap's peak with what should score lower.

    Parameters
    ----------
    heat : Heatmap
        Probabilities on ``grid``, with the background of neutral phrases.
    grid : TokenGrid
    anatomy : AnatomyMap
    others : Others
    own : str
        The phrase's finding, which is no rival of itself; nor are those that count as it.

    Returns
    -------
    dict of str to float
        By the names of :data:`CLUES`; NaN where there is nothing to compare with.
    """
    peak = heat.peak_index
    if peak is None:
        return dict.fromkeys(CLUES, math.nan)
    top = _logit(heat.peak)
    near = _ball(grid, transform(heat.affine, peak), NEAR_MM)
    here = _logit(float(heat.values[near].mean()))
    known = np.isfinite(heat.values)
    outside = heat.values[known & ~heat.allowed]
    inside = heat.values[known & heat.allowed]
    rows = grid.tokens[near].astype(np.float32)
    rivals = [_mean(rows, v) for name, v in others.rivals.items() if not same(name, own)]
    denied = others.denied
    ml = float(np.prod(spacing(heat.affine))) / 1000
    return {
        "level": top,
        "height": max(0.0, top),
        "denied": here - _logit(_mean(rows, denied)) if denied else math.nan,
        "neutral": top - _logit(max(heat.background.values, default=math.nan)),
        "rival": here - _logit(max(rivals, default=math.nan)),
        "mirror": top - _logit(_mirrored(heat, grid, anatomy, peak)),
        "elsewhere": top - _logit(_quantile(outside, 0.999)),
        "standing": top - _logit(_quantile(inside, 0.5)),
        "extent": math.log10(ml * max(1, int((inside > heat.peak / 2).sum()))),
    }


def moved(found: Mapping[str, float], by: float) -> dict[str, float]:
    """Return clues as they would be with the peak's logit higher ``by`` so much, all else equal."""
    out = {name: value + by * (name in _WITH_PEAK) for name, value in found.items()}
    return out | {"height": max(0.0, out.get("level", math.nan))}


def judged(
    heat: Heatmap,
    found: Mapping[str, float],
    calibration: Calibration | None,
    anatomy: AnatomyMap,
    concept: str = "",
) -> Heatmap:
    """Return the heatmap with its clues, its support and one of three answers.

    A doubt that the heatmap already has (words unknown, organ not in the scan) stays. Without a
    calibration of these weights the card's thresholds stay as well.
    """
    heat = replace(heat, clues=dict(found), naive=heat.verdict)
    if calibration is None:
        return heat
    support = calibration.probability(found, heat.phrase.finding or concept)
    heat = replace(heat, support=support)
    if heat.doubt:
        return heat
    verdict, reason = _answer(support, calibration, found)
    cut = cut_organs(heat.phrase, anatomy, concept) if verdict == "absent" else ""
    if cut:
        verdict, reason = "cannot tell", f"{cut} What is in the scan scores low ({support:.0%})."
    start = grounding.DENIED if heat.phrase.negated else ""
    margin = support - calibration.present
    return replace(
        heat,
        verdict=verdict,
        reason=start + reason,
        margin=-margin if heat.phrase.negated else margin,
    )


def local_values(
    grid: TokenGrid, vectors: Sequence[TextVector], cell: Sequence[int], sigma_mm: float
) -> list[float]:
    """Return phrases' smoothed probabilities at one cell, without making their whole maps."""
    radius = max(3.0 * sigma_mm, 1e-3)
    centre = transform(grid.affine, cell)
    cells = _ball(grid, centre, radius * math.sqrt(3))
    step = (np.stack(cells, axis=1) - np.asarray(cell)) * spacing(grid.affine)
    kept = (np.abs(step) <= radius).all(axis=1)
    weight = np.exp(-(step**2).sum(axis=1) / (2 * sigma_mm**2)) * kept if sigma_mm else kept * 1.0
    rows = grid.tokens[cells].astype(np.float32)
    return [float(_probabilities(rows, v) @ weight / weight.sum()) for v in vectors]


def same(one: str, other: str) -> bool:
    """Return True when one finding's evidence also counts as the other's."""
    alike = ({"nodule", "calcified_nodule"}, {"mass", "nodule"}, {"mass", "cavity"})
    return one == other or {one, other} in alike


def _answer(
    support: float, calibration: Calibration, found: Mapping[str, float]
) -> tuple[Verdict, str]:
    """Return the answer and its sentence: how sure, and which comparison says so most."""
    told = f"Support {support:.0%}: {_strongest(calibration, found, support)}"
    by = f"; {calibration.source}" if calibration.source.startswith("own ") else ""
    if support >= calibration.present:
        return "present", f"{told} (false alarms at this level: {calibration.false_alarm:.0%}{by})."
    if support < calibration.absent:
        return "absent", f"{told} (missed at this level: {calibration.missed:.0%}{by})."
    between = f"{calibration.absent:.0%} and {calibration.present:.0%}"
    return "cannot tell", f"{told}, between {between}{by}."


_WORDS = {
    "level": ("the peak is high", "the peak is low"),
    "height": ("the peak is better than even", "the peak is no better than even"),
    "denied": ("it beats its denial", "its denial fits as well"),
    "neutral": ("phrases without meaning stay lower", "phrases without meaning reach as high"),
    "rival": ("no other finding fits better there", "another finding fits better there"),
    "mirror": ("the other side stays lower", "the other side looks the same"),
    "elsewhere": ("other regions stay lower", "other regions reach as high"),
    "standing": ("it stands out of its region", "its region is high all over"),
    "extent": ("its size fits", "its size does not fit"),
}


def _strongest(calibration: Calibration, found: Mapping[str, float], support: float) -> str:
    """Return in words the comparison that pulls hardest toward the answer."""
    sign = 1.0 if support >= (calibration.present + calibration.absent) / 2 else -1.0
    rows = zip(CLUES, calibration.means, calibration.scales, calibration.slopes, strict=True)
    pulls = {
        name: sign * slope * (found[name] - mean) / scale
        for name, mean, scale, slope in rows
        if math.isfinite(found.get(name, math.nan))
    }
    best = max(pulls, key=pulls.__getitem__, default="level")
    return _WORDS[best][0 if sign > 0 else 1]


def _mirrored(heat: Heatmap, grid: TokenGrid, anatomy: AnatomyMap, peak: Sequence[int]) -> float:
    """Return the highest value around the peak's mirror image; NaN at the midline."""
    point = transform(heat.affine, peak)
    left = float(side_mm(anatomy, point))
    if abs(left) < MIRROR_MM:
        return math.nan
    cells = _ball(grid, point + np.array([2 * left, 0.0, 0.0]), MIRROR_MM)
    return float(heat.values[cells].max()) if len(cells[0]) else math.nan


def _ball(grid: TokenGrid, point: NDArray[np.float64], radius: float) -> Cells:
    """Return the valid cells within ``radius`` mm of a world point."""
    centre = voxel_of(grid.affine, point)
    reach = np.ceil(radius / spacing(grid.affine))
    low = np.maximum(0, np.floor(centre - reach)).astype(int)
    high = np.minimum(grid.valid.shape, np.ceil(centre + reach) + 1).astype(int)
    if (high <= low).any():
        return (np.zeros(0, np.intp),) * 3
    cells = np.stack([axis.ravel() for axis in np.mgrid[tuple(map(slice, low, high))]])
    away = transform(grid.affine, cells.T) - point
    kept = ((away**2).sum(axis=1) <= radius**2) & grid.valid[tuple(cells)]
    return tuple(cells[:, kept])


def _mean(rows: Array, vector: TextVector) -> float:
    """Return the mean probability of a phrase over tokens, shape (n, c)."""
    return float(_probabilities(rows, vector).mean())


def _probabilities(rows: Array, vector: TextVector) -> Array:
    logits = np.vecdot(rows, vector.vector) + vector.bias
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def _quantile(values: Array, share: float) -> float:
    return float(np.quantile(values, share)) if values.size >= _FEW else math.nan


def _logit(value: float) -> float:
    if not math.isfinite(value):
        return math.nan
    clipped = min(_MOST, max(_LEAST, value))
    return math.log(clipped / (1 - clipped))
