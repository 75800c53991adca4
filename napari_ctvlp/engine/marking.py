"""Verbs about places of a map: cut it at a level, measure an edited cut, find places alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.components import Cut, components
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.locality import Likeness
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.evidence.places import pieces, resembling
from napari_ctvlp.engine.export import heatmap_on_scan
from napari_ctvlp.models.protocol import Progress, silent


def cut(
    scan: Scan,
    heatmap: Heatmap,
    level: float = 0.5,
    *,
    least_ml: float = 0.0,
    labels: NDArray[np.uint16] | None = None,
    anatomy: AnatomyMap | None = None,
    model: str = "",
    device: str = "auto",
    progress: Progress = silent,
) -> Cut:
    """Cut a map at a level into measured pieces, or measure pieces that were edited.

    Parameters
    ----------
    scan : Scan
        Gives the grid and the HU.
    heatmap : Heatmap
        Of this scan.
    level : float
        In the heatmap's own unit.
    least_ml : float
        Smaller pieces are dropped.
    labels : ndarray, shape (i, p, l), optional
        Edited pieces: taken instead of the level, and numbered anew.
    anatomy, model, device
        Taken for the sake of a common call; nothing here needs them.
    progress : callable

    Returns
    -------
    Cut
    """
    progress(0.1, "cutting the map")
    if labels is None:
        return Cut(*pieces(heatmap, scan, level, least_ml), level)
    values = heatmap_on_scan(heatmap, scan)
    return Cut(*components(labels > 0, values, scan.affine, scan.hu, least_ml), level)


def alike(
    scan: Scan,
    point: tuple[float, float, float],
    *,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> Likeness:
    """Map how much every place resembles one place to a model.

    Parameters
    ----------
    scan, anatomy, model, device, progress
        As in :func:`napari_ctvlp.engine.verbs.encode`.
    point : (R, A, S) in mm

    Returns
    -------
    Likeness
        All NaN where the model did not look at the point.
    """
    encoding = verbs.encode(scan, anatomy, model, device=device, progress=progress)
    return Likeness(resembling(encoding, point), encoding.grids[0].affine, point, model)
