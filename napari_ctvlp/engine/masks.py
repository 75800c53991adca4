"""Organ masks taken further: their surfaces, and their figures after somebody edited them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import Affine, spacing, transform
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.surface import Surfaces
from napari_ctvlp.models.protocol import Progress, silent

#: Surfaces are made on a grid of about this step, mm.
SURFACE_MM = 2.5
#: Tissues that fill the body have no surface worth a look.
NO_SURFACE = frozenset({"soft_tissue", "muscle", "fat"})
_Mesh = tuple[NDArray[np.float32], NDArray[np.int32]]


def remeasure(
    scan: Scan, anatomy: AnatomyMap, *, device: str = "auto", progress: Progress = silent
) -> AnatomyMap:
    """Measure volumes, mean HU and completeness again, after masks were edited.

    Parameters
    ----------
    scan : Scan
    anatomy : AnatomyMap
        Edited labels with the table of before.
    device : str
        Taken for the sake of a common call; nothing here runs on a device.
    progress : callable

    Returns
    -------
    AnatomyMap
        The same labels; its reliability says that it was edited.
    """
    progress(0.1, "measuring the edited masks")
    names = [(organ.id, organ.name) for organ in anatomy.organs]
    words = anatomy.reliability
    edited = words if words.startswith("Edited") else f"Edited by hand. {words}".strip()
    return anatomy_from_labels(
        anatomy.labels, scan, names, source=anatomy.source, reliability=edited
    )


def surfaces(
    scan: Scan, anatomy: AnatomyMap, *, device: str = "auto", progress: Progress = silent
) -> Surfaces:
    """Find the surface of every organ that has one (marching cubes on smoothed masks).

    Parameters
    ----------
    scan : Scan
        The scan the anatomy describes.
    anatomy : AnatomyMap
    device : str
        Taken for the sake of a common call; nothing here runs on a device.
    progress : callable
        Called once per organ; may raise to stop.
    """
    present = [o for o in anatomy.organs if o.ml > 0 and o.name not in NO_SURFACE]
    boxes = ndimage.find_objects(anatomy.labels)
    meshes: dict[str, _Mesh] = {}
    for done, organ in enumerate(present):
        progress(done / len(present), f"surface of {organ.name.replace('_', ' ')}")
        box = boxes[organ.id - 1] if organ.id <= len(boxes) else None
        mesh = _mesh(anatomy.labels, organ.id, box, anatomy.affine) if box is not None else None
        if mesh is not None:
            meshes[organ.name] = mesh
    return _joined(meshes)


def _mesh(
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    number: int,
    box: tuple[slice, ...],
    affine: Affine,
) -> _Mesh | None:
    """Return vertices (n, 3) in RAS mm and faces of one organ; None when it is too thin."""
    from skimage.measure import marching_cubes

    step = np.maximum(1, np.floor(SURFACE_MM / spacing(affine))).astype(int)
    mask = labels[box] == number
    padded = np.pad(mask, [(2 * s, 2 * s) for s in step]).astype(np.float32)
    means = ndimage.uniform_filter(padded, tuple(step.tolist()))
    coarse = means[tuple(slice(s // 2, None, s) for s in step)]
    soft = ndimage.gaussian_filter(coarse, 0.6)
    if min(soft.shape) < 2 or float(soft.max()) <= 0.4:
        return None
    points, faces, _, _ = marching_cubes(soft, 0.4)
    first = np.array([part.start for part in box])
    # with an even step the filter's window reaches further back, by half a voxel
    centre = step // 2 - np.where(step % 2 == 0, 0.5, 0.0)
    index = first - 2 * step + centre + points * step
    return transform(affine, index).astype(np.float32), faces.astype(np.int32)


def _joined(meshes: dict[str, _Mesh]) -> Surfaces:
    points = [mesh[0] for mesh in meshes.values()]
    ends = np.cumsum([len(part) for part in points], dtype=int)
    starts = [0, *ends[:-1].tolist()]
    faces = [mesh[1] + start for mesh, start in zip(meshes.values(), starts, strict=False)]
    return Surfaces(
        tuple(meshes),
        np.concatenate(points) if points else np.empty((0, 3), np.float32),
        np.concatenate(faces).astype(np.int32) if faces else np.empty((0, 3), np.int32),
        tuple(ends.tolist()),
        tuple(np.cumsum([len(part) for part in faces], dtype=int).tolist()),
    )
