"""The arithmetic of a heatmap: similarity, gate, smoothing, shares, verdict.

What a model's card may set, with the defaults of :class:`Settings`::

    [settings.heatmap]
    sigma_mm = 4.0          # Gaussian over the probabilities
    mirror = 0.0            # share of the other side's map that is subtracted
    mirror_sigma_mm = 8.0   # Gaussian over that mirrored map

    [settings.thresholds]
    present = 0.5           # a peak this high is "present"
    absent = 0.25           # a peak under this is "absent"
    known = 0.4             # less similar to the model's words than this: "cannot tell"
    p_value = 0.1           # more often reached by neutral phrases than this: "cannot tell"

    [settings.thresholds.findings.nodule]   # any of these by finding
    present = 0.6
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import TextVector, TokenGrid
from napari_ctvlp.core.extent import out_of_view
from napari_ctvlp.core.gating import allowed_field, is_foreign, main_concept, missing_organ
from napari_ctvlp.core.geometry import Affine, spacing, transform
from napari_ctvlp.core.heatmap import Background, Gate, Heatmap, Verdict
from napari_ctvlp.core.keeping import keep
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.regions import side_mm
from napari_ctvlp.core.spread import organ_shares
from napari_ctvlp.core.vocabulary import findings

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Ends the gate's sentence where a map is the evidence of one organ.
WITHIN = "Of it only where the model looks for findings of this organ."
#: The neutral phrases' peaks are kept for so many gates.
_GATES = 32
#: Begins the reason of a denied phrase.
DENIED = "Not asserted: the phrase denies it, the map shows where it was looked for. "


@dataclass(frozen=True)
class Settings:
    """A card's numbers for heatmaps; the module's docstring tells what each means."""

    sigma_mm: float = 4.0
    mirror: float = 0.0
    mirror_sigma_mm: float = 8.0
    present: float = 0.5
    absent: float = 0.25
    known: float = 0.4
    p_value: float = 0.1

    @classmethod
    def of(cls, card: Mapping[str, Any], finding: str = "") -> Settings:
        """Read a card's settings, those of one finding before the general ones."""
        limits = dict(card.get("thresholds", {}))
        special = limits.pop("findings", {}).get(finding, {})
        merged = {**card.get("heatmap", {}), **limits, **special}
        return cls(**{f.name: float(merged[f.name]) for f in fields(cls) if f.name in merged})


def similarity(grid: TokenGrid, vector: TextVector) -> Array:
    """Return token . vector + bias, shape (i, p, l); NaN where the model did not look."""
    out = np.full(grid.valid.shape, np.nan, dtype=np.float32)
    out[grid.valid] = _logits(grid, vector)
    return out


def probability(grid: TokenGrid, vector: TextVector, settings: Settings) -> Array:
    """Return the sigmoid of the similarity, smoothed over what the model looked at.

    Returns
    -------
    ndarray, shape (i, p, l), float32
        0..1; NaN where the model did not look.
    """
    values = np.zeros(grid.valid.shape, dtype=np.float32)
    values[grid.valid] = 1 / (1 + np.exp(-np.clip(_logits(grid, vector), -30, 30)))
    return _smooth(values, grid, settings.sigma_mm)


def gate(
    phrase: Phrase,
    anatomy: AnatomyMap,
    shape: tuple[int, ...],
    affine: Affine,
    applied: bool = True,
    concept: str = "",
) -> tuple[Gate, Mask]:
    """Return where a phrase may be searched.

    Parameters
    ----------
    phrase : Phrase
        Its side and anatomy; without anatomy, the region of its finding.
    anatomy : AnatomyMap
    shape, affine
        The grid to answer on, index to RAS mm.
    applied : bool
        False allows everything and says so.
    concept : str
        What the model took the phrase for, where the parser knows no finding.

    Returns
    -------
    tuple
        The gate in words, and a mask of shape (i, p, l), true where the search is allowed.
    """
    if not applied:
        words = "The gate is off: the whole field of view was searched."
        return Gate(words=words), np.ones(shape, dtype=np.bool_)
    return allowed_field(phrase, anatomy, shape, affine, concept)


def heatmap(
    grid: TokenGrid,
    vector: TextVector,
    phrase: Phrase,
    anatomy: AnatomyMap,
    *,
    model: str,
    settings: Mapping[str, Any],
    gate_applied: bool = True,
    background: Sequence[TextVector] = (),
    within: Mask | None = None,
) -> Heatmap:
    """Ground a phrase on an encoded scan.

    Parameters
    ----------
    grid : TokenGrid
        Of the scan.
    vector : TextVector
        Of ``phrase.query``, by the same model.
    phrase : Phrase
    anatomy : AnatomyMap
        Of the same scan.
    model : str
        Card id.
    settings : mapping
        The card's settings; see the module's docstring.
    gate_applied : bool
        False searches everything.
    background : sequence of TextVector
        Neutral phrases, for the p-value.
    within : ndarray of bool, shape (i, p, l), optional
        Search only here, whatever else the gate allows.

    Returns
    -------
    Heatmap
        Values 0..1, for a negated phrase those of the finding looked for.
    """
    concept = main_concept(vector)
    chosen = Settings.of(settings, phrase.finding or concept)
    values = _last_map(grid, vector, anatomy, chosen)
    found, allowed = gate(phrase, anatomy, grid.valid.shape, grid.affine, gate_applied, concept)
    allowed = allowed & grid.valid
    if within is not None:
        allowed = allowed & within
        found = replace(found, applied=True, words=f"{found.words} {WITHIN}")
    peak = float(values[allowed].max()) if allowed.any() else float("nan")
    neutral = _background(grid, anatomy, background, chosen, allowed, peak)
    doubt = _untaught(phrase, settings) or _doubt(phrase, vector, anatomy, chosen, peak)
    verdict, reason = _verdict(phrase, doubt, chosen, peak, neutral)
    margin = chosen.present - peak if phrase.negated else peak - chosen.present
    return Heatmap(
        values=values,
        affine=grid.affine,
        allowed=allowed,
        phrase=phrase,
        model=model,
        gate=found,
        background=neutral,
        verdict=verdict,
        reason=reason,
        margin=margin,
        doubt=doubt,
        shares=organ_shares(values, allowed, grid.affine, anatomy, chosen.present / 2),
    )


def _logits(grid: TokenGrid, vector: TextVector) -> Array:
    """Return token . vector + bias per valid cell, shape (cells,).

    Row by row: a matrix product's last bits would depend on the number of threads.
    """
    products = np.vecdot(rows_of(grid), vector.vector.astype(np.float32))
    return np.asarray(products + np.float32(vector.bias), dtype=np.float32)


def rows_of(grid: TokenGrid) -> Array:
    """Return the valid tokens as float32 rows, kept with the grid: phrases come by the dozen."""
    return keep(grid, "_rows", lambda: grid.tokens[grid.valid].astype(np.float32))


def _smooth(values: Array, grid: TokenGrid, sigma_mm: float) -> Array:
    """Gaussian over valid cells only: what lies outside neither adds nor takes away."""
    if sigma_mm > 0:
        width = sigma_mm / spacing(grid.affine)
        values = _gaussian(values, width) / _weights(grid, sigma_mm)
    return np.where(grid.valid, values, np.float32(np.nan))


def _weights(grid: TokenGrid, sigma_mm: float) -> Array:
    """Return the smoothed valid mask, kept with the grid."""
    weights: dict[float, Array] = vars(grid).setdefault("_smoothing", {})
    if sigma_mm not in weights:
        width = sigma_mm / spacing(grid.affine)
        weights[sigma_mm] = np.maximum(_gaussian(grid.valid.astype(np.float32), width), 1e-6)
    return weights[sigma_mm]


def _gaussian(values: Array, width: NDArray[np.float64]) -> Array:
    out: Array = ndimage.gaussian_filter(values, width, mode="constant", truncate=3.0)
    return out


def _map(grid: TokenGrid, vector: TextVector, anatomy: AnatomyMap, settings: Settings) -> Array:
    values = probability(grid, vector, settings)
    return _minus_mirror(values, grid, anatomy, settings) if settings.mirror > 0 else values


def _last_map(
    grid: TokenGrid, vector: TextVector, anatomy: AnatomyMap, settings: Settings
) -> Array:
    """Return a phrase's map; the last is kept with the grid: only the gate tells sides apart."""
    numbers = (settings.sigma_mm, settings.mirror, settings.mirror_sigma_mm)
    key = (vector.vector.tobytes(), vector.bias, *numbers)
    return keep(
        grid, "_last_map", lambda: _map(grid, vector, anatomy, settings), key, same=(anatomy,)
    )


def _minus_mirror(values: Array, grid: TokenGrid, anatomy: AnatomyMap, settings: Settings) -> Array:
    """Subtract the blurred map of the mirrored other side; what both sides share is anatomy."""
    plain = np.where(grid.valid, values, np.float32(0))
    width = settings.mirror_sigma_mm / spacing(grid.affine)
    blurred = _gaussian(plain, width)
    columns = np.arange(blurred.shape[2])
    other = np.empty_like(blurred)
    for level, place in enumerate(_mirrored_columns(grid, anatomy)):
        rows = [np.interp(place, columns, row, 0.0, 0.0) for row in blurred[level]]
        other[level] = np.stack(rows)
    return np.asarray(np.clip(values - settings.mirror * other, 0, 1), dtype=np.float32)


def _mirrored_columns(grid: TokenGrid, anatomy: AnatomyMap) -> NDArray[np.float64]:
    """Return, per level and column along L, the column of its mirror image."""
    levels, _, columns = grid.valid.shape
    start = np.stack([np.arange(levels), np.zeros(levels), np.zeros(levels)], axis=1)
    first = side_mm(anatomy, transform(grid.affine, start))
    step = spacing(grid.affine)[2]
    return np.asarray(-2 * first[:, None] / step - np.arange(columns)[None])


def _background(
    grid: TokenGrid,
    anatomy: AnatomyMap,
    neutral: Sequence[TextVector],
    settings: Settings,
    allowed: Mask,
    peak: float,
) -> Background:
    """Return the peaks of neutral phrases in the same gate and how often they reach this one."""
    if not neutral or not np.isfinite(peak):
        return Background()
    values = _neutral_peaks(grid, anatomy, neutral, settings, allowed)
    reached = int((values >= peak).sum())
    return Background(tuple(values.tolist()), (1 + reached) / (1 + len(values)))


def _neutral_peaks(
    grid: TokenGrid,
    anatomy: AnatomyMap,
    neutral: Sequence[TextVector],
    settings: Settings,
    allowed: Mask,
) -> NDArray[np.float16]:
    """Return each neutral phrase's highest value in a gate, kept for the last gates, (n,)."""
    maps, peaks = _neutral_maps(grid, anatomy, neutral, settings)
    gated = allowed[grid.valid]
    key = np.packbits(gated).tobytes()
    if key not in peaks:
        if len(peaks) == _GATES:
            peaks.clear()
        peaks[key] = maps[:, gated].max(axis=1)
    return peaks[key]


def _neutral_maps(
    grid: TokenGrid, anatomy: AnatomyMap, neutral: Sequence[TextVector], settings: Settings
) -> tuple[NDArray[np.float16], dict[bytes, NDArray[np.float16]]]:
    """Return the neutral phrases' maps over valid cells, (n, cells), and a place for their peaks.

    Kept with the grid.
    """
    numbers = (settings.sigma_mm, settings.mirror, settings.mirror_sigma_mm)

    def make() -> tuple[NDArray[np.float16], dict[bytes, NDArray[np.float16]]]:
        maps = [_map(grid, vector, anatomy, settings)[grid.valid] for vector in neutral]
        return np.stack([one.astype(np.float16) for one in maps]), {}

    mirrored_in = anatomy if settings.mirror > 0 else None
    return keep(grid, "_neutral", make, numbers, same=(*neutral, mirrored_in))


def _verdict(
    phrase: Phrase, doubt: str, settings: Settings, peak: float, background: Background
) -> tuple[Verdict, str]:
    """Return one of three answers and the sentence that explains it."""
    start = DENIED if phrase.negated else ""
    if doubt:
        return "cannot tell", start + doubt
    if peak < settings.absent:
        return "absent", start + f"The highest score, {peak:.2f}, is below {settings.absent:.2f}."
    if peak < settings.present:
        between = f"between {settings.absent:.2f} and {settings.present:.2f}"
        return "cannot tell", start + f"The highest score, {peak:.2f}, lies {between}."
    if background.p_value > settings.p_value:
        why = f"neutral phrases reach {peak:.2f} here too (p = {background.p_value:.2f})."
        return "cannot tell", start + f"Phrases without meaning are no lower: {why}"
    return "present", start + f"The highest score, {peak:.2f}, reaches {settings.present:.2f}."


def _untaught(phrase: Phrase, card: Mapping[str, Any]) -> str:
    """Return that the finding is none of the card's concepts, or an empty text."""
    finding = findings().get(phrase.finding)
    known = card.get("concepts")
    if finding is None or (finding.concept and (known is None or finding.concept in known)):
        return ""
    return f"The model was not taught {finding.title}."


def instead(vector: TextVector) -> str:
    """Return the nearest words that are known as a sentence, or an empty text."""
    words = ", ".join(f"“{term}”" for term in vector.nearest)
    return f" The nearest it knows: {words}." if words else ""


def _doubt(
    phrase: Phrase, vector: TextVector, anatomy: AnatomyMap, settings: Settings, peak: float
) -> str:
    """Return why the model cannot judge at all, or an empty text."""
    least = settings.known if vector.least is None else vector.least
    if is_foreign(phrase.text) or vector.known < least:
        return "The model does not know these words." + instead(vector)
    missing = missing_organ(phrase, anatomy) or out_of_view(phrase, anatomy, main_concept(vector))
    if missing:
        return missing
    return "" if np.isfinite(peak) else "There is nothing to search: the place is not in this scan."
