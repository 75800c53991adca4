"""From chances on 4 mm voxels to labels on the scan's own grid, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models.protocol import Progress
from napari_ctvlp.models.segmenters.classical import Organ

#: Organs take voxels of these tissues; of bones only where contrast medium may pass for bone.
GIVEN = (Organ.SOFT_TISSUE, Organ.MUSCLE, Organ.FAT)
BRIGHT = ("aorta", "heart", "kidney_left", "kidney_right")
#: Voxels darker than this are no solid organ; hollow ones hold gas.
SOLID_HU = -60
HOLLOW = ("stomach", "colon", "small_bowel", "oesophagus")

Array = NDArray[np.float32]
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def write_organs(
    labels: Labels,
    scan: Scan,
    chances: Mapping[str, Array],
    masks: Mapping[str, Mask],
    affine: Affine,
    ids: Mapping[str, int],
    progress: Progress,
) -> None:
    """Write organs over soft tissue, in place: the likeliest class of each voxel.

    Parameters
    ----------
    labels : ndarray, shape (i, p, l)
        Of the classical segmenter, on the scan's grid.
    scan : Scan
    chances, masks : mapping of organ name to ndarray on the 4 mm grid
        An organ lives within 8 mm of its mask; all other chance counts against it.
    affine : ndarray, shape (4, 4)
        Of the 4 mm grid.
    ids : mapping of organ name to label
    progress : Progress
    """
    own = {name: np.where(_near(mask), chances[name], 0).astype(np.float32)
           for name, mask in masks.items()}  # fmt: skip
    rivals = [chance for name, chance in chances.items() if name not in own]
    other = np.maximum.reduce(rivals)
    step = np.linalg.inv(affine) @ scan.affine
    levels, rows, columns = (
        _weights(n, float(step[axis, axis]), float(step[axis, 3]), other.shape[axis])
        for axis, n in enumerate(scan.shape)
    )
    boxes = {name: _box(mask) for name, mask in masks.items()}
    for index in range(scan.shape[0]):
        low, share = levels.indices[2 * index], levels.data[2 * index]
        here = [n for n, box in boxes.items() if box[0] <= low + 1 and low <= box[1]]
        if here:
            planes = [other, *(own[name] for name in here)]
            fine = [_plane(volume, int(low), float(share), rows, columns) for volume in planes]
            _decide(labels[index], scan.hu[index], fine, here, ids)
        progress((index + 1) / scan.shape[0], "organs")


def _decide(
    labels: Labels,
    hu: NDArray[np.int16] | NDArray[np.float32],
    planes: list[Array],
    names: list[str],
    ids: Mapping[str, int],
) -> None:
    """Write one slice, in place; ``planes`` begins with the chance of anything else."""
    best = np.stack(planes).argmax(axis=0)
    given, bone = np.isin(labels, GIVEN), labels == Organ.BONES
    for number, name in enumerate(names, 1):
        mask = (best == number) & (given | bone if name in BRIGHT else given)
        if name not in HOLLOW:
            mask &= hu > SOLID_HU
        labels[mask] = ids[name]


def _plane(
    volume: Array, low: int, share: float, rows: sparse.csr_array, columns: sparse.csr_array
) -> Array:
    """Interpolate one slice of the scan's grid, shape (p, l)."""
    high = min(low + 1, len(volume) - 1)
    between = volume[low] * np.float32(share) + volume[high] * np.float32(1 - share)
    return np.asarray((columns @ (rows @ between).T).T)


def _weights(count: int, step: float, start: float, size: int) -> sparse.csr_array:
    """Return linear interpolation along one axis, shape (count, size), two entries a row."""
    place = np.clip(start + step * np.arange(count), 0, size - 1)
    low = np.minimum(np.floor(place).astype(np.intp), max(size - 2, 0))
    share = (place - low).astype(np.float32)
    data = np.stack([1 - share, share], axis=1).ravel()
    columns = np.stack([low, np.minimum(low + 1, size - 1)], axis=1).ravel()
    return sparse.csr_array((data, columns, np.arange(0, 2 * count + 1, 2)), (count, size))


def _near(mask: Mask) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, np.ones((3, 3, 3), bool), 2))


def _box(mask: Mask) -> tuple[int, int]:
    """First and last slice of an organ's neighbourhood."""
    levels = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(levels[0]) - 2, int(levels[-1]) + 2


def name_bones(
    labels: Labels,
    first: AnatomyMap,
    chances: Mapping[str, Array],
    affine: Affine,
    ids: Mapping[str, int],
) -> None:
    """Name vertebrae, ribs and sternum among the bones, in place.

    Each bone voxel takes the likeliest of the skeleton's classes where the network sees one of
    them nearby; other bones keep their name.
    """
    names = [*ids, "bones"]
    stack = np.stack([ndimage.uniform_filter(chances[name], 3) for name in names])
    winner = stack.argmax(axis=0).astype(np.uint8)
    winner[stack.max(axis=0) < 0.05] = len(ids)
    table = np.array([*ids.values(), Organ.BONES], np.uint8)
    step = np.linalg.inv(affine) @ first.affine
    picks = [
        np.clip(np.rint(step[a, a] * np.arange(n) + step[a, 3]), 0, winner.shape[a] - 1).astype(int)
        for a, n in enumerate(labels.shape)
    ]
    for index, level in enumerate(picks[0]):
        bone = labels[index] == Organ.BONES
        if bone.any():
            named = table[winner[level][np.ix_(picks[1], picks[2])]]
            labels[index][bone] = named[bone]
