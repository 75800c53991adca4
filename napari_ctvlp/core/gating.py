"""Where a phrase is searched: its organ or its finding's region, and its side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import TextVector
from napari_ctvlp.core.geometry import Affine, spacing
from napari_ctvlp.core.heatmap import Gate
from napari_ctvlp.core.keeping import keep
from napari_ctvlp.core.lexicon import matches, words
from napari_ctvlp.core.lobes import lobe_field, lobe_of
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.regions import region, side_of
from napari_ctvlp.core.vocabulary import Place, concepts, findings, places
from napari_ctvlp.core.zones import zone_field

Mask = NDArray[np.bool_]

#: Regions that ``core/regions.py`` works out; the others are organs of the anatomy.
_FIELDS = {"thorax": "chest", "mediastinum": "mediastinum", "body": "body"}


def allowed_field(
    phrase: Phrase, anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine, concept: str = ""
) -> tuple[Gate, Mask]:
    """Return the gate of a phrase; see :func:`napari_ctvlp.core.grounding.gate`."""
    names, margin = _searched(phrase, anatomy, concept)
    allowed = _field(names, margin, anatomy, shape, affine)
    side = phrase.side if phrase.side in ("left", "right") else ""
    if side:
        left = side_of(anatomy, shape, affine)
        allowed = allowed & ((left > 0) if side == "left" else (left < 0))
    lobe = lobe_of(phrase)
    slab = lobe_field(lobe, side, anatomy, shape, affine) if lobe else None
    if slab is not None:
        allowed = allowed & slab
    part, zone = zone_field(phrase, anatomy, shape, affine)
    if zone is not None:
        allowed = allowed & zone
    words = _sentence(names, side, lobe if slab is not None else "", part)
    return Gate(bool(side or names or part), side, names, words), allowed


def _field(
    names: tuple[str, ...],
    margin: float,
    anatomy: AnatomyMap,
    shape: tuple[int, ...],
    affine: Affine,
) -> Mask:
    """Return regions and what lies around them, mm; those of the last grid are kept."""
    if not names:
        return np.ones(shape, dtype=np.bool_)
    grid = (tuple(shape), np.asarray(affine).tobytes())
    fields: dict[tuple[tuple[str, ...], float], Mask] = keep(anatomy, "_fields", dict, grid)
    if (names, margin) not in fields:
        found = np.logical_or.reduce([region(anatomy, name, shape, affine) for name in names])
        if margin > 0:
            found = _grown(found, affine, margin) & region(anatomy, "body", shape, affine)
        found.flags.writeable = False
        fields[names, margin] = found
    return fields[names, margin]


def main_concept(vector: TextVector) -> str:
    """Return the heaviest concept of a text vector, or ``""``."""
    return max(vector.concepts, key=vector.concepts.__getitem__, default="")


def is_foreign(text: str) -> bool:
    """Return True when a text names a body part or disease outside the models' field."""
    return any(match.has("outside") for match in matches(words(text)))


def searched_place(phrase: Phrase) -> Place | None:
    """Return the place a phrase names, where it is searched.

    "Bronchial wall thickening" names the airways, yet what the models were taught of it lies in
    the lungs, beyond the last airway that a segmenter draws: then no place is returned.
    """
    place, finding = places().get(phrase.anatomy), findings().get(phrase.finding)
    if place is None or finding is None or place.name != "airways":
        return place
    return None if "lung_left" in finding.organs else place


def missing_organ(phrase: Phrase, anatomy: AnatomyMap) -> str:
    """Return why the phrase's place cannot be searched for its finding, or an empty text."""
    place = places().get(phrase.anatomy)
    if place is None:
        return ""
    organs = place.members or (place.name,)
    known = [name for name in organs if name in anatomy.by_name]
    if known and not any(anatomy.has(name) for name in known):
        return f"There is nothing to search: the {place.title} is not in this scan."
    finding = findings().get(phrase.finding)
    if finding is None or place.field or place.group == "lungs":
        return ""
    if {*organs, place.name, place.group} & {*finding.organs}:
        return ""
    taught = " and ".join(dict.fromkeys(places()[name].title for name in finding.organs))
    return f"The model was taught {finding.title} elsewhere only: {taught}."


def _searched(phrase: Phrase, anatomy: AnatomyMap, concept: str) -> tuple[tuple[str, ...], float]:
    """Return the regions or organs to search and how far around them, in mm."""
    finding = findings().get(phrase.finding)
    taught = {c.name: c for c in concepts()}.get(finding.concept if finding else concept)
    margin = taught.margin_mm if taught else 0.0
    place = searched_place(phrase)
    if place is not None:
        named = _named(place, anatomy)
        if named:
            return named, margin
    return (_region_of(taught.where, anatomy), margin) if taught else ((), 0.0)


def _region_of(where: str, anatomy: AnatomyMap) -> tuple[str, ...]:
    """Return a concept's region, the whole body where this anatomy does not know its organ."""
    if where in _FIELDS:
        return (where,)
    return _named(places()[where], anatomy) or ("body",)


def _named(place: Place, anatomy: AnatomyMap) -> tuple[str, ...]:
    """Return the region of a place, else its organs as far as this anatomy knows them.

    One side of a paired organ is searched as the pair's region and a side: a tumour that
    touches the mediastinum is not part of the lung's own mask.
    """
    pairs = (pair for pair in places().values() if place.name in pair.members and pair.sided)
    whole = next(pairs, place)
    if whole.field:
        return (whole.field,)
    return tuple(name for name in place.members or (place.name,) if name in anatomy.by_name)


def _grown(mask: Mask, affine: Affine, margin_mm: float) -> Mask:
    """Dilate by whole cells, at least one."""
    cells = max(1, round(margin_mm / float(spacing(affine).mean())))
    return np.asarray(ndimage.binary_dilation(mask, iterations=cells))


def _sentence(names: tuple[str, ...], side: str, lobe: str, zone: str) -> str:
    if not names and not side and not zone:
        return "The whole field of view was searched."
    titles = [_FIELDS.get(n) or places()[n].title for n in names] or ["field of view"]
    where = " and ".join(titles)
    own = bool(names) and all(name.endswith(f"_{side}") for name in names)
    half = f"patient's {side} half of the " if side and not own else ""
    part = f", and of it roughly the {lobe} (a plane stands for the fissure)" if lobe else ""
    within = f", and there roughly the {zone}" if zone else ""
    return f"Only the {half}{where} was searched{part}{within}."
