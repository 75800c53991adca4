"""How RADAR's authors bring a CT to its network, and which window each organ is read in.

Arrays run (D, H, W) = (slices, rows, columns) of a file stored left, back, up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, in_order
from napari_ctvlp.core.scan import AIR_HU, Scan
from napari_ctvlp.models.encoders.cells import moved, resized_affine
from napari_ctvlp.models.encoders.fvlm_prepare import Window, resized

if TYPE_CHECKING:
    from torch import Tensor

ORIENTATION = "LPS"
#: Voxel size (i, j, k) in mm, and HU between which brightness is scaled.
STEP_MM, LOW_HU, HIGH_HU = (1.0, 1.0, 5.0), -300.0, 400.0
#: Kept around what is not black, and the windows' size (D, H, W), in voxels.
MARGIN, ROI = (5, 20, 20), (96, 256, 384)
#: Windows overlap by this share; a window about an organ is padded to multiples of ``STEP``.
OVERLAP, STEP = 0.25, (32, 32, 32)
#: An organ within this many voxels of a window's face is not whole.
EDGE = 2


@dataclass(frozen=True)
class Prepared:
    """A CT as the network sees it, 0..1, and where it lies: ``affine`` maps (D, H, W) to RAS mm."""

    image: NDArray[np.float32]
    affine: Affine


def prepared(scan: Scan, roi: Sequence[int] = ROI) -> Prepared:
    """Resample, scale between the scan's own extremes, cut off what is black, pad at the end."""
    view, affine = in_order(scan.hu, scan.affine, ORIENTATION)
    steps = np.abs(np.diag(affine)[:3].astype(np.float32)).astype(np.float64)
    r = steps / np.array(STEP_MM)
    wanted = (int(n * s) for n, s in zip(view.shape, (r[1], r[0], r[2]), strict=True))
    target = tuple(want or have for want, have in zip(wanted, view.shape, strict=True))
    whole = view if view.dtype.kind == "i" else np.nan_to_num(view, nan=AIR_HU)
    image = np.clip(resized(whole, target).transpose(2, 1, 0), LOW_HU, HIGH_HU)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low + np.float32(1e-8))
    place = resized_affine(affine, view.shape, target)[:, [2, 1, 0, 3]]
    cut = [slice(0, n) for n in image.shape]
    if image.any():
        cut = [
            slice(max(hits[0] - margin, 0), hits[-1] + margin)
            for hits, margin in zip(_hits(image > 0), MARGIN, strict=True)
        ]
    image = image[tuple(cut)]
    ends = [(0, max(0, least - n)) for least, n in zip(roi, image.shape, strict=True)]
    return Prepared(np.pad(image, ends), moved(place, tuple(int(one.start) for one in cut)))


def sliding(shape: tuple[int, ...], roi: Sequence[int] = ROI) -> list[Window]:
    """Return windows that cover a volume; the last along an axis ends with it."""
    starts = []
    for length, edge in zip(shape, roi, strict=True):
        step = edge if edge == length else int(edge * (1 - OVERLAP))
        count = math.ceil((length - edge) / step) + 1
        starts.append([min(n * step, length - edge) for n in range(count)])
    size = tuple(roi)
    return [Window(corner, size, size) for corner in product(*starts)]


def whole_organs(mask: Tensor, but: int = -1) -> list[int]:
    """Return the organs a window holds whole, by number.

    Parameters
    ----------
    mask : Tensor, shape (D, H, W)
        0, or 1 + number.
    but : int
        An organ that counts although it touches a face.
    """
    import torch

    faces = [
        part
        for axis in range(3)
        for part in (mask.narrow(axis, 0, EDGE), mask.narrow(axis, mask.shape[axis] - EDGE, EDGE))
    ]
    cut = {int(n) for face in faces for n in torch.unique(face)} - {but + 1}
    return [int(n) - 1 for n in torch.unique(mask) if int(n) not in cut | {0}]


def stitched(
    seen: Sequence[tuple[Window, Tensor]], shape: tuple[int, ...], planes: int = 8
) -> Iterator[Tensor]:
    """Yield the organs' masks of a whole volume, a few planes at a time.

    Parameters
    ----------
    seen : sequence of (window, probabilities)
        Probabilities, shape (37, d, h / 2, w / 2); where windows overlap they are averaged.
    shape : (D, H, W)
    planes : int

    Yields
    ------
    Tensor, shape (up to planes, H, W), int64
        0, or 1 + number of the organ.
    """
    import torch
    from torch.nn import functional

    for first in range(0, shape[0], planes):
        last = min(first + planes, shape[0])
        total = torch.zeros(seen[0][1].shape[0], last - first, *shape[1:])
        count = torch.zeros(last - first, *shape[1:])
        for window, chances in seen:
            d, h, w = window.start
            a, b = max(first, d), min(last, d + window.size[0])
            if a >= b:
                continue
            rows, columns = window.size[1:]
            part = chances[None, :, a - d : b - d].cpu()
            fine = functional.interpolate(part, (b - a, rows, columns), mode="trilinear")[0]
            there = slice(a - first, b - first), slice(h, h + rows), slice(w, w + columns)
            total[(slice(None), *there)] += fine
            count[there] += 1
        yield (total / count.clamp(min=1)).argmax(0)


def _hits(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the indices along each axis at which a mask has anything."""
    axes = [tuple(n for n in range(3) if n != axis) for axis in range(3)]
    return [np.flatnonzero(mask.any(axis=others)) for others in axes]
