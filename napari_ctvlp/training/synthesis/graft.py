"""Real tumours of training CTs, cut out, turned, scaled and set into other places.

Two real masses in place are soon known by heart; moved about, they teach what a mass looks like.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.data import FLAG_SHIFT, SIDE_SHIFT, WEAK_MASS, Chest
from napari_ctvlp.training.synthesis.canvas import (
    VOXEL_MM,
    Canvas,
    Chance,
    Graft,
    around,
    offsets,
)

#: The tumour's own edge towards aerated lung that comes along, in mm, and what is lung, in HU.
EDGE_MM, AERATED = 6.0, -250.0
#: Largest diameters it is scaled to, in mm, about those of painted masses.
SIZES_MM = (30.0, 75.0)


def graft_of(chest: Chest, device: torch.device | str = "cpu") -> Graft | None:
    """Cut out the real tumour of a CT that has one drawn; None for the others."""
    tumour = ((chest.labels >> FLAG_SHIFT) & WEAK_MASS) > 0
    if not tumour.any():
        return None
    pad = int(EDGE_MM / VOXEL_MM) + 3
    box = tuple(
        slice(max(0, s.start - pad), s.stop + pad)
        for s in ndimage.find_objects(tumour.view(np.uint8))[0]
    )
    tumour, hu = tumour[box], chest.hu[box].astype(np.float32)
    near = ndimage.distance_transform_edt(~tumour, sampling=VOXEL_MM) <= EDGE_MM
    lung = ((chest.labels[box] >> SIDE_SHIFT) & 3 > 0) & (hu < AERATED)
    edge = near & (ndimage.binary_dilation(lung, iterations=2) | tumour)
    soft = [ndimage.gaussian_filter(mask.astype(np.float32), 0.7) for mask in (tumour, edge)]
    volume = torch.from_numpy(np.stack([hu + 1000, *soft])).to(device)
    return Graft(volume, float((6 * tumour.sum() / np.pi) ** (1 / 3) * VOXEL_MM))


def place(canvas: Canvas, graft: Graft, centre: tuple[int, int, int], dice: Chance) -> Tensor:
    """Set a tumour into the canvas, turned and scaled; its edge comes along inside lung only.

    Returns
    -------
    Tensor, shape of the canvas, bool
        The tumour's voxels, labelled ``mass``.
    """
    scale = dice.log_uniform(*SIZES_MM) / graft.size_mm
    shape = torch.tensor(graft.volume.shape[1:], device=dice.device)
    reach = int(float(shape.max()) * scale * 0.87) + 2
    where = around(canvas, centre, reach)
    steps = offsets(where, centre, dice) @ dice.rotation() / scale
    grid = (2 * steps / (shape - 1)).flip(-1)[None]
    hu, tumour, edge = functional.grid_sample(graft.volume[None], grid, align_corners=True)[0]
    alpha = torch.maximum(tumour, edge * canvas.lung[where])
    alpha = alpha * ~canvas.mask("bone", "rib", "vertebra")[where]
    canvas.paint("", where, alpha, hu - 1000 + dice.uniform(-25, 25))
    mask = torch.zeros(canvas.shape, dtype=torch.bool, device=dice.device)
    mask[where] = (alpha > 0.5) & (tumour > 0.5)
    canvas.label("mass", canvas.box, mask)
    return mask
