"""What fVLM's authors do to a CT before its network sees it, step by step, to the last voxel.

Several steps look like slips (swapped spacings, planes lost at the far end) and are kept: the
published weights were trained behind them. Arrays run as a NIfTI file stores them (i, j, k)
until :func:`framed` turns them to (D, H, W) = (k, j, i).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_ctvlp.core.geometry import Affine

#: Voxel size in mm (i, j, k) that scans are brought to.
STEP_MM = (1.0, 1.0, 3.0)
#: HU that become 0 and 1.
LOW_HU, HIGH_HU = -1150.0, 350.0
#: Kept around the organs and least size, both (D, H, W) in voxels.
MARGIN, LEAST = (5, 20, 20), (112, 256, 352)
#: Least size of an organ's window (D, H, W) in voxels.
ROI = (112, 288, 352)

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]
Triple = tuple[int, ...]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Framed:
    """A CT as the network is fed from it.

    Attributes
    ----------
    image : ndarray, shape (D, H, W), float32
        0..1.
    labels : ndarray, shape (D, H, W), uint8
        0, or 1 + number of the organ.
    first : (d, h, w)
        Place of voxel 0 on the resampled grid; negative where something was padded.
    """

    image: Image
    labels: Labels
    first: Triple


@dataclass(frozen=True)
class Window:
    """The part of a framed CT that is encoded for one organ: ``start`` and sizes (D, H, W).

    ``size`` is cut from the CT, ``padded`` is what the network gets.
    """

    start: Triple
    size: Triple
    padded: Triple


def target_shape(shape: tuple[int, ...], affine: Affine) -> Triple:
    """Return the shape (i, j, k) a stored volume is resampled to.

    Only the diagonal of the affine counts, in the float32 of a NIfTI header; the spacings of the
    first two axes are exchanged; products are cut off, and 0 keeps the axis as it is.
    """
    steps = np.abs(np.diag(affine)[:3].astype(np.float32)).astype(np.float64)
    r = steps / np.array(STEP_MM)
    wanted = [int(n * ratio) for n, ratio in zip(shape, (r[1], r[0], r[2]), strict=True)]
    return tuple(want or have for want, have in zip(wanted, shape, strict=True))


def resized(hu: NDArray[Any], target: Triple) -> Image:
    """Resample HU (i, j, k) linearly, as torch does without aligned corners."""
    volume = torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32))[None, None]
    out = functional.interpolate(volume, target, mode="trilinear", align_corners=False)
    return np.asarray(out[0, 0].numpy())


def resized_labels(labels: Labels, target: Triple) -> Labels:
    """Resample labels (i, j, k) by torch's older nearest rule: the voxel at index * in / out."""
    volume = torch.from_numpy(np.ascontiguousarray(labels))[None, None]
    return np.asarray(functional.interpolate(volume, target, mode="nearest")[0, 0].numpy())


def framed(hu: Image, labels: Labels) -> Framed | None:
    """Turn, window, cut to the organs and pad.

    Parameters
    ----------
    hu : ndarray, shape (i, j, k)
        Resampled.
    labels : ndarray of uint8, same shape

    Returns
    -------
    Framed or None
        None when no organ is there, where the authors drop the scan.
    """
    labels = labels.transpose(2, 1, 0)
    box = _box(labels > 0)
    if box is None:
        return None
    spans = [
        (max(low - margin, 0), min(high + margin, size))
        for (low, high), margin, size in zip(box, MARGIN, labels.shape, strict=True)
    ]
    cut = tuple(slice(*span) for span in spans)
    part = np.clip((hu.transpose(2, 1, 0)[cut] - LOW_HU) / (HIGH_HU - LOW_HU), 0, 1)
    missing = [max(0, least - n) for least, n in zip(LEAST, part.shape, strict=True)]
    pads = [(n // 2, n - n // 2) for n in missing]
    first = tuple(span[0] - pad[0] for span, pad in zip(spans, pads, strict=True))
    image = np.pad(part.astype(np.float32, copy=False), pads)
    return Framed(image, np.pad(labels[cut], pads), first)


def window_of(mask: NDArray[np.bool_], patch: Triple, roi: Triple = ROI) -> Window | None:
    """Return the window of an organ's mask (D, H, W); None when the organ is not there."""
    box = _box(mask)
    if box is None:
        return None
    starts, sizes = [], []
    for (low, high), least, size in zip(box, roi, mask.shape, strict=True):
        length = max(least, high - low)
        start = max(0, (low + high) // 2 - length // 2)
        stop = min(size, start + length)
        start = max(0, stop - length) if stop - start < length else start
        starts.append(start)
        sizes.append(stop - start)
    padded = [-(-n // step) * step for n, step in zip(sizes, patch, strict=True)]
    return Window(tuple(starts), tuple(sizes), tuple(padded))


def shifted(
    window: Window, shift: Triple, shares: int, patch: Triple, shape: tuple[int, ...]
) -> Window:
    """Return a window moved by ``shift`` of ``shares`` parts of a patch; same padded size."""
    starts = [a + step * s // shares for a, s, step in zip(window.start, shift, patch, strict=True)]
    sizes = [
        min(n, size - a) if s else n
        for a, n, s, size in zip(starts, window.size, shift, shape, strict=True)
    ]
    return Window(tuple(starts), tuple(sizes), window.padded)


def cut(volume: NDArray[Scalar], window: Window) -> NDArray[Scalar]:
    """Return a window of a framed volume, padded with 0 at its far ends."""
    taken = volume[tuple(slice(a, a + n) for a, n in zip(window.start, window.size, strict=True))]
    return np.pad(taken, [(0, p - n) for p, n in zip(window.padded, taken.shape, strict=True)])


def _box(mask: NDArray[np.bool_]) -> list[tuple[int, int]] | None:
    """Return first and last index along each axis; None of an empty mask."""
    found = []
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if not len(hits):
            return None
        found.append((int(hits[0]), int(hits[-1])))
    return found
