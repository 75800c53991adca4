"""What is under the cursor, in patient coordinates: reads the nouns, computes nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, ras_to_lps, voxel_of
from napari_ctvlp.ui.palette import organ_title
from napari_ctvlp.ui.session import Point, Study


def value_at(array: NDArray[np.generic], affine: Affine, point_ras: Point) -> float | None:
    """Return the nearest voxel's value at a world point, or None outside the grid."""
    index = np.round(voxel_of(affine, point_ras)).astype(int)
    if (index < 0).any() or (index >= array.shape).any():
        return None
    return float(array[tuple(index)])


def coordinates(point_ras: Point) -> str:
    """Return a point in the patient coordinates of DICOM, mm."""
    return "LPS " + " ".join(f"{value:.1f}" for value in ras_to_lps(point_ras)) + " mm"


def voxel_words(study: Study, point_ras: Point) -> str:
    """Return the index of the nearest voxel in the file's own axis order."""
    index = np.round(voxel_of(study.scan.source.affine, point_ras)).astype(int)
    return "voxel " + " ".join(str(number) for number in index.tolist())


def describe(study: Study, point_ras: Point) -> str:
    """Return the readout of a point: LPS mm, voxel, HU, organ, heat and its percentile.

    Parameters
    ----------
    study : Study
    point_ras : tuple of float
        RAS mm.
    """
    parts = [coordinates(point_ras)]
    hu = value_at(study.scan.hu, study.scan.affine, point_ras)
    if hu is None:
        return f"{parts[0]}   outside the scan"
    parts.append(voxel_words(study, point_ras))
    parts.append(f"{hu:.0f} HU" if study.scan.meta.unit == "HU" else f"{hu:.0f} (no HU)")
    parts.append(_organ(study, point_ras))
    parts.append(_heat(study, point_ras))
    return "   ".join(part for part in parts if part)


def _organ(study: Study, point_ras: Point) -> str:
    anatomy = study.anatomy
    if anatomy is None:
        return ""
    number = value_at(anatomy.labels, anatomy.affine, point_ras)
    for organ in anatomy.organs:
        if number == organ.id:
            return organ_title(organ.name)
    return ""


def _heat(study: Study, point_ras: Point) -> str:
    heatmap = study.heatmap
    if heatmap is None:
        return ""
    value = value_at(heatmap.values, heatmap.affine, point_ras)
    allowed = value_at(heatmap.allowed, heatmap.affine, point_ras)
    if value is None or np.isnan(value):
        return "heat: not looked at"
    if not allowed:
        return f"heat {value:.2f} (outside the search)"
    return f"heat {value:.2f} (percentile {heatmap.percentile(value):.1f})"
