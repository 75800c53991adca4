"""Zones of the lungs that location words name: "apical", "basal", "peripheral", "perihilar".

Fractions of the lungs' box and distances from their edge stand for what readers mean; they are
wide rather than right, and the gate's sentence says "roughly".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, spacing
from napari_ctvlp.core.keeping import keep
from napari_ctvlp.core.lobes import LOBES
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.regions import Regions, regions, sampled
from napari_ctvlp.core.vocabulary import findings, places

Mask = NDArray[np.bool_]
Map = NDArray[np.floating]


@dataclass(frozen=True)
class Shape:
    """Where each cell of the 4 mm grid lies in the lungs.

    Attributes
    ----------
    height, depth : ndarray
        0 at the top and the front of the lungs' box, 1 at the bottom and the back.
    edge, middle : ndarray, shape (i, p, l)
        mm to the nearest place that is no lung, and to the mediastinum.
    """

    height: Map
    depth: Map
    edge: Map
    middle: Map


Zone = Callable[[Shape], Mask]
#: The part of the lungs and what the gate calls it.
_ZONES: dict[str, tuple[str, Zone]] = {
    "apex": ("upper third of the lungs", lambda at: at.height < 0.35),
    "upper": ("upper half of the lungs", lambda at: at.height < 0.55),
    "mid": ("middle of the lungs", lambda at: (at.height > 0.2) & (at.height < 0.8)),
    "lower": ("lower half of the lungs", lambda at: at.height > 0.45),
    "base": ("lower half of the lungs", lambda at: at.height > 0.5),
    "front": ("front half of the lungs", lambda at: at.depth < 0.6),
    "back": ("back half of the lungs", lambda at: at.depth > 0.4),
    "rim": ("outer 30 mm of the lungs", lambda at: at.edge < 30),
    "pleura": ("outer 20 mm of the lungs", lambda at: at.edge < 20),
    "core": ("60 mm around the mediastinum", lambda at: at.middle < 60),
}
#: Location words by zone, as the parser evens them out.
_WORDS = {
    "apex": ("apex", "lung apex", "lung apice", "apice", "apical", "biapical"),
    "upper": ("upper", "upper zone"),
    "mid": ("middle zone", "mid zone"),
    "lower": ("lower", "lower zone"),
    "base": (
        "base",
        "lung base",
        "basal",
        "basilar",
        "bibasal",
        "bibasilar",
        "basal segment",
        "diaphragmatic",
    ),
    "front": ("anterior", "anterior segment"),
    "back": ("posterior", "posterior segment", "dependent", "paravertebral"),
    "rim": ("peripheral", "peripherally", "costal"),
    "pleura": ("subpleural", "juxtapleural", "pleural based"),
    "core": ("central", "centrally", "perihilar", "paramediastinal", "infrahilar", "suprahilar"),
}
ZONE_OF = {word: zone for zone, words in _WORDS.items() for word in words}


def zones_of(phrase: Phrase) -> tuple[str, ...]:
    """Return the zones that a phrase about the lungs names; none when it is about another place."""
    place, finding = places().get(phrase.anatomy), findings().get(phrase.finding)
    lungs = {"lung_left", "lung_right"}
    within = bool(lungs & {place.name, *place.members}) if place else False
    taught = place is None and finding is not None and bool(lungs & set(finding.organs))
    if not within and not taught:
        return ()
    named = [ZONE_OF[word] for word in phrase.location if word in ZONE_OF]
    lobe = any(word in LOBES for word in phrase.location)
    return tuple(dict.fromkeys(z for z in named if not (lobe and z in ("upper", "lower"))))


def zone_field(
    phrase: Phrase, anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine
) -> tuple[str, Mask | None]:
    """Return the part of the lungs that a phrase's location words name.

    Parameters
    ----------
    phrase : Phrase
    anatomy : AnatomyMap
    shape, affine
        The grid to answer on, index to RAS mm, axis-aligned IPL.

    Returns
    -------
    tuple
        What the part is called and a mask of ``shape``; ``("", None)`` when the phrase names
        none, or a lung is missing or cut: then its box would say nothing.
    """
    named = zones_of(phrase)
    lungs = ("lung_left", "lung_right")
    if not named or not all(anatomy.has(n) and anatomy.by_name[n].complete for n in lungs):
        return "", None
    at = _shape(anatomy)
    mask = np.ones(at.edge.shape, dtype=np.bool_)
    for zone in named:
        mask &= _ZONES[zone][1](at)
    words = " and the ".join(dict.fromkeys(_ZONES[zone][0] for zone in named))
    return words, sampled(mask, anatomy, shape, affine)


def _shape(anatomy: AnatomyMap) -> Shape:
    """Return the lungs' shape; worked out once per anatomy."""
    return keep(anatomy, "_lung_shape", lambda: _worked_out(regions(anatomy)))


def _worked_out(own: Regions) -> Shape:
    space = own.thorax & ~own.mediastinum
    step = spacing(own.affine)
    return Shape(
        _fraction(own.lungs, 0)[:, None, None],
        _fraction(own.lungs, 1)[None, :, None],
        ndimage.distance_transform_edt(space, sampling=step),
        ndimage.distance_transform_edt(~own.mediastinum, sampling=step),
    )


def _fraction(mask: Mask, axis: int) -> Map:
    """Return, per cell along an axis, where it lies between the ends of a mask."""
    others = tuple(other for other in range(3) if other != axis)
    first, last = np.flatnonzero(mask.any(axis=others))[[0, -1]]
    return np.asarray((np.arange(mask.shape[axis]) - first) / max(1, last - first))
