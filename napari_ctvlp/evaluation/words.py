"""What words do: denial, other findings, sides, paraphrases; and findings seen without a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.regions import side_mm, side_of
from napari_ctvlp.evaluation import metrics
from napari_ctvlp.evaluation.lesions import Lesion
from napari_ctvlp.evaluation.protocol import Protocol, Seen
from napari_ctvlp.evaluation.reader import Reader
from napari_ctvlp.evaluation.region import on_grid

Report = dict[str, Any]
Map = NDArray[np.float32]
OTHER = {"left": "right", "right": "left"}


def at_lesion(lesion: Lesion, reader: Reader) -> Report:
    """Measure everything about words at a contoured lesion."""
    case, rules = lesion.case, lesion.rules
    return {
        "negation": negation(reader, case.phrase, rules),
        "ranking": ranking(lesion, reader),
        "sides": sides(lesion, reader),
        "stability": stability(lesion, reader),
        "suppression": suppression(lesion, reader),
        "unrelated": {text: reader.product(text).verdict for text in rules.unrelated},
    }


def negation(reader: Reader, phrase: str, rules: Protocol) -> Report:
    """Peaks of a phrase and of its denials with parser and gate off, in SDs of neutral phrases."""
    neutral = [reader.plain_peak(text) for text in rules.neutral]
    asserted = reader.plain_peak(phrase)
    forms = (rules.templates.negated, *rules.templates.other_negations)
    denied = {form: reader.plain_peak(form.format(phrase=phrase)) for form in forms}
    drops = {form: metrics.drop_in_sds(asserted, peak, neutral) for form, peak in denied.items()}
    return {
        "phrase": phrase,
        "asserted": asserted,
        "negated": denied[rules.templates.negated],
        "neutral_mean": float(np.mean(neutral)),
        "neutral_sd": float(np.std(neutral, ddof=1)),
        "sds": drops[rules.templates.negated],
        "sds_by_form": drops,
    }


def ranking(lesion: Lesion, reader: Reader) -> Report:
    """Mean of every finding's map in the reference, parser and gate off, highest first."""
    inside, _ = lesion.cells(reader.grid.valid.shape, reader.grid.affine)
    means = {
        name: mean_in(reader.plain(wording.phrase).values, inside)
        for name, wording in lesion.rules.catalogue.items()
    }
    named = max(means["nodule"], means["mass"])
    others = {name: mean for name, mean in means.items() if name not in ("nodule", "mass")}
    rival = max(others, key=others.__getitem__)
    return {
        "order": dict(sorted(means.items(), key=lambda item: -item[1])),
        "named": named,
        "rival": rival,
        "margin": named - others[rival],
        "calcified_margin": named - means["calcified_nodule"],
        "called": "mass" if means["mass"] > means["nodule"] else "nodule",
        "should": "mass" if lesion.field.length_mm >= lesion.rules.settings.mass_mm else "nodule",
    }


def sides(lesion: Lesion, reader: Reader) -> Report:
    """Whether the side that trained phrases name wins, gate off and on, and when it is swapped."""
    true, wrong = lesion.case.side, OTHER[lesion.case.side]
    phrases = lesion.rules.lists[lesion.case.finding].trained
    across = side_of(reader.anatomy, reader.grid.valid.shape, reader.grid.affine)
    looked = _region(lesion, reader)
    off: list[bool] = []
    on: list[bool] = []
    mass: dict[str, list[bool]] = {"true": [], "swapped": []}
    for phrase in phrases:
        plain = reader.plain(lesion.sided(phrase))
        swapped = reader.plain(lesion.sided(phrase, wrong))
        off.append(_on_side(reader, plain.peak_ras, true))
        peaks = [reader.product(lesion.sided(phrase, side)).peak for side in (true, wrong)]
        on.append(peaks[0] > peaks[1])
        mass["true"].append(mass_share(plain.values, looked, across, true) > 0.5)
        mass["swapped"].append(mass_share(swapped.values, looked, across, wrong) > 0.5)
    return {
        "phrases": len(phrases),
        "gate_off": float(np.mean(off)),
        "gate_on": float(np.mean(on)),
        "side_swap": {name: float(np.mean(won)) for name, won in mass.items()},
    }


def stability(lesion: Lesion, reader: Reader) -> Report:
    """Correlation of the paraphrases' maps with the main phrase's, parser and gate off."""
    looked = _region(lesion, reader)
    main = reader.plain(lesion.case.phrase).values
    lists = lesion.rules.lists[lesion.case.finding]
    out: Report = {}
    for name, phrases in (("trained", lists.trained), ("held_out", lists.held_out)):
        found = [
            metrics.correlation(main, reader.plain(text).values, looked)
            for text in phrases
            if text != lesion.case.phrase
        ]
        out[name] = {"mean": float(np.mean(found)), "least": float(np.min(found))}
    return out


def suppression(lesion: Lesion, reader: Reader) -> Report:
    """1 - mean map in the reference of other findings; beside them the case's own phrase."""
    inside, _ = lesion.cells(reader.grid.valid.shape, reader.grid.affine)
    texts = (lesion.case.phrase, *lesion.rules.lists[lesion.case.finding].swaps)
    return {text: 1 - mean_in(reader.plain(text).values, inside) for text in texts}


def seen(item: Seen, reader: Reader, rules: Protocol) -> Report:
    """Measure a finding seen by eye: verdict, side, box, denial, rank over the whole scan."""
    heat, plain = reader.product(item.phrase), reader.plain(item.phrase)
    row: Report = {
        "name": item.name,
        "phrase": item.phrase,
        "side": item.side,
        "verdict": heat.verdict,
        "peak": heat.peak,
        "peak_ras_mm": heat.peak_ras,
        "plain_peak_ras_mm": plain.peak_ras,
        "negation": negation(reader, item.phrase, rules),
    }
    if item.side:
        row["on_side"] = _on_side(reader, heat.peak_ras, item.side)
    if item.box:
        row["box"] = {
            "plain": in_box(plain.peak_ras, item.box),
            "product": in_box(heat.peak_ras, item.box),
            "chance": box_share(heat, item.box),
        }
    if item.above:
        row["whole_scan"] = whole_scan(item, reader, rules)
    return row


def whole_scan(item: Seen, reader: Reader, rules: Protocol) -> Report:
    """Score of every finding over the whole scan, and the least lead over those it must beat."""
    scores: dict[str, float] = {}
    margins: dict[str, float] = {}
    for name, wording in rules.catalogue.items():
        heat = reader.product(wording.phrase)
        cell_ml = float(abs(np.linalg.det(heat.affine[:3, :3]))) / 1000
        cells = round(rules.settings.top_ml / cell_ml)
        scores[name] = metrics.top_mean(heat.values, heat.allowed, cells)
        margins[name] = heat.margin
    own = next(name for name, w in rules.catalogue.items() if w.phrase == item.phrase)
    leads = {other: scores[own] - scores[other] for other in item.above}
    return {"scores": scores, "margins": margins, "own": own, "leads": leads}


def in_box(point: Sequence[float] | None, box: Sequence[Sequence[float]]) -> bool:
    """Return whether a world point lies in a box (least corner, most corner), RAS mm."""
    if point is None:
        return False
    return all(low <= x <= high for x, low, high in zip(point, *box, strict=True))


def box_share(heat: Heatmap, box: Sequence[Sequence[float]]) -> float:
    """Share of the cells the model looked at that lie in a box: chance for a random peak."""
    cells = transform(heat.affine, np.argwhere(np.isfinite(heat.values)))
    low, high = np.asarray(box, dtype=np.float64)
    return float(((cells >= low) & (cells <= high)).all(axis=1).mean())


def mean_in(values: Map, cells: NDArray[np.bool_]) -> float:
    """Mean over cells; a cell that was not looked at counts as 0, as does a grid beside them."""
    return float(np.nan_to_num(values[cells]).mean()) if cells.any() else 0.0


def _region(lesion: Lesion, reader: Reader) -> NDArray[np.bool_]:
    """The frozen region on the reader's grid, where the model looked."""
    grid, field = reader.grid, lesion.field
    return grid.valid & on_grid(field.coarse, field.coarse_affine, grid.valid.shape, grid.affine)


def _on_side(reader: Reader, point: Sequence[float] | None, side: str) -> bool:
    """Return whether a world point lies on a patient side."""
    if point is None:
        return False
    across = float(side_mm(reader.anatomy, np.asarray([point]))[0])
    return across > 0 if side == "left" else across < 0


def mass_share(values: Map, looked: NDArray[np.bool_], across: Map, side: str) -> float:
    """Share of a map's positive mass on one side; an empty map gives one half."""
    mass = np.where(looked, np.nan_to_num(values), 0).clip(0)
    left, right = float(mass[across > 0].sum()), float(mass[across < 0].sum())
    total = left + right
    return (left if side == "left" else right) / total if total > 0 else 0.5
