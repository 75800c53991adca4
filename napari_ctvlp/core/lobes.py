"""Upper and lower lobe, roughly: one plane through the box of a lung stands for its fissure.

No segmenter here draws lobes, yet "in the left lower lobe" says where to look. The plane was
fitted to the labelled lobes of one CT (decision 0304); a margin on both sides keeps what it
misjudges in the search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, ras_to_screen, transform
from napari_ctvlp.core.phrase import Phrase

#: The fissure lies at height START - SLOPE * depth in a lung's box (top and front 0, ends 1).
START, SLOPE = 0.95, 0.80
#: Searched beyond the plane, in mm.
MARGIN_MM = 10.0
#: +1 below the fissure, -1 above it.
LOBES = {"lower lobe": 1, "lower lobes": 1, "upper lobe": -1, "upper lobes": -1}


def lobe_of(phrase: Phrase) -> str:
    """Return the one lobe a phrase names, as in :data:`LOBES`, or an empty text."""
    named = {LOBES[word]: word for word in phrase.location if word in LOBES}
    return next(iter(named.values())) if len(named) == 1 else ""


def lobe_field(
    lobe: str, side: str, anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine
) -> NDArray[np.bool_] | None:
    """Return where a lobe may be, as a slab above or below the fissure.

    Parameters
    ----------
    lobe : str
        A key of :data:`LOBES`.
    side : {"left", "right", ""}
        Whose lung gives the box; both when empty.
    anatomy : AnatomyMap
    shape, affine
        The grid to answer on, index to RAS mm, axis-aligned IPL.

    Returns
    -------
    ndarray, shape (i, p, 1), bool, or None
        None when a lung is missing or cut: its box would say nothing.
    """
    lungs = tuple(f"lung_{one}" for one in ("left", "right") if side in ("", one))
    if not all(anatomy.has(name) and anatomy.by_name[name].complete for name in lungs):
        return None
    low, high = _box(anatomy, lungs)
    cells = np.zeros((max(shape), 3))
    cells[:, 0] = cells[:, 1] = np.arange(max(shape))
    at = ras_to_screen(transform(affine, cells))
    height = ((at[: shape[0], 0] - low[0]) / (high[0] - low[0]))[:, None, None]
    depth = ((at[: shape[1], 1] - low[1]) / (high[1] - low[1]))[None, :, None]
    below = (height - START + SLOPE * depth) / np.hypot(*(np.array([1.0, SLOPE]) / (high - low)))
    return np.asarray(LOBES[lobe] * below > -MARGIN_MM)


def _box(anatomy: AnatomyMap, lungs: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the first and last (I, P) mm of lungs, shape (2, 2); worked out once per anatomy."""
    kept: dict[tuple[str, ...], NDArray[np.float64]] = vars(anatomy).setdefault("_lung_boxes", {})
    if lungs not in kept:
        lung = anatomy.mask(lungs)
        ends = [np.flatnonzero(lung.any(axis=other))[[0, -1]] for other in ((1, 2), (0, 2))]
        corners = [[ends[0][n], ends[1][n], 0] for n in (0, 1)]
        kept[lungs] = ras_to_screen(transform(anatomy.affine, corners))[:, :2]
    return kept[lungs]
