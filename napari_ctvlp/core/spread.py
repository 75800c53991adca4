"""How a map spreads over the anatomy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, transform, voxel_of

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def organ_shares(
    values: Array, allowed: Mask, affine: Affine, anatomy: AnatomyMap, level: float
) -> dict[str, float]:
    """Return the share per organ of what rises above ``level``, largest first.

    Parameters
    ----------
    values : ndarray, shape (i, p, l)
        Probabilities, NaN where nobody looked.
    allowed : ndarray of bool, same shape
    affine : ndarray, shape (4, 4)
    anatomy : AnatomyMap
        Organs are read at the cells' centres; ``"elsewhere"`` is what it does not label.
    level : float
        The neutral level.

    Returns
    -------
    dict of str to float
        House organ names, sums to 1; empty when nothing rises above the level.
    """
    above = np.flatnonzero(allowed & (values > level))
    mass = values.ravel()[above] - level
    total = float(mass.sum())
    if not total > 0:
        return {}
    names = {organ.id: organ.name for organ in anatomy.organs}
    cells = np.stack(np.unravel_index(above, values.shape), axis=1)
    ids = _labels_at(anatomy, transform(affine, cells))
    summed = np.bincount(ids, weights=mass, minlength=1) / total
    found = {
        names.get(n, "elsewhere"): share for n, share in enumerate(summed.tolist()) if share > 0
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _labels_at(anatomy: AnatomyMap, points_ras: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the label at world points, 0 outside the map."""
    index = np.rint(voxel_of(anatomy.affine, points_ras)).astype(int)
    inside = ((index >= 0) & (index < anatomy.labels.shape)).all(axis=1)
    labels = np.zeros(len(index), dtype=np.int64)
    labels[inside] = anatomy.labels[tuple(index[inside].T)]
    return labels
