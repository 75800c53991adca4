"""What the organ network looks at: HU at 4 mm, and where each voxel lies in the body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, coarse_affine
from napari_ctvlp.core.scan import AIR_HU, Scan
from napari_ctvlp.models.encoders.mini_grid import body_on_grid, to_grid
from napari_ctvlp.models.protocol import Progress, silent

#: Places are clipped here, in half widths of the body's box.
CLIP = 1.5
#: A scan whose four sides hold more than this share of anything but air was cut out of a body.
CUT_SHARE = 0.5
#: Air around a patient is darker, lungs are brighter.
OUTSIDE_HU = -960

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def on_four_mm(scan: Scan, progress: Progress = silent) -> tuple[Array, Affine]:
    """Bring a scan to 4 mm by averaging 2 mm blocks.

    Returns
    -------
    tuple
        HU, shape (i, p, l), padded with air, and its index-to-RAS matrix.
    """
    fine, affine = to_grid(scan, progress)
    i, p, l = (n // 2 for n in fine.shape)  # noqa: E741 - the axis is called L
    blocks = fine.reshape(i, 2, p, 2, l, 2).mean(axis=(1, 3, 5))
    return np.asarray(blocks, np.float32), coarse_affine(affine, 2)


def body_box(body: Mask) -> NDArray[np.float64]:
    """Return first and last (P, L) index of the body, outliers left out, shape (2, 2)."""
    return np.percentile(np.argwhere(body)[:, 1:], [0.5, 99.5], axis=0)


def is_cut(scan: Scan) -> bool:
    """Tell whether a scan was cut out of a body, so that the body's box is not seen."""
    sides = (scan.hu[:, 0], scan.hu[:, -1], scan.hu[:, :, 0], scan.hu[:, :, -1])
    return float(np.mean([(side > OUTSIDE_HU).mean() for side in sides])) > CUT_SHARE


def place_of(body: Mask, known: bool) -> Array:
    """Return the three place channels of :func:`mini_net.inputs`, shape (3, i, p, l)."""
    place = np.zeros((3, *body.shape), np.float32)
    if not known or not body.any():
        return place
    low, high = body_box(body)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1)
    rows, columns = (np.arange(n) for n in body.shape[1:])
    place[0] = ((rows - middle[0]) / half[0]).clip(-CLIP, CLIP)[None, :, None]
    place[1] = ((columns - middle[1]) / half[1]).clip(-CLIP, CLIP)[None, None]
    place[2] = 1
    return place


def padded(hu: Array, multiple: int) -> Array:
    """Pad the far ends with air to a multiple of some voxels."""
    return np.pad(hu, [(0, -n % multiple) for n in hu.shape], constant_values=AIR_HU)


def body_of(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> Mask:
    """Return the body on the 4 mm grid."""
    return body_on_grid(anatomy, shape, affine)
