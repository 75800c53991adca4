"""A small prepared chest, made of arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ctvlp.core.geometry import ipl_affine
from napari_ctvlp.models.encoders.mini_grid import ChestBox
from napari_ctvlp.training.data import (
    CLASSES,
    FLAG_SHIFT,
    IGNORE,
    SIDE_SHIFT,
    Case,
    Chest,
)

SHAPE = (88, 96, 112)
#: Where a real finding was left out, and its radius in voxels.
LEFT_OUT, RADIUS = (44, 48, 80), 7


@pytest.fixture(scope="session")
def small_chest() -> Chest:
    """Two ellipsoid lungs in an ellipsoid body, one of them with a left-out finding."""
    i, p, left = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    body = ((p - 48) / 44) ** 2 + ((left - 56) / 52) ** 2 < 1
    depth = np.clip(44 * (1 - np.sqrt(((p - 48) / 44) ** 2 + ((left - 56) / 52) ** 2)) * 2, 0, 90)
    side = np.zeros(SHAPE, np.int16)
    lung_mm = np.full(SHAPE, -100.0)
    for number, middle in ((1, 80), (2, 32)):
        r = np.sqrt(((i - 44) / 40) ** 2 + ((p - 48) / 32) ** 2 + ((left - middle) / 19) ** 2)
        side[r < 1] = number
        lung_mm = np.maximum(lung_mm, 38 * (1 - r))
    hu = np.where(body, np.where(side > 0, -850, 30), -1000) + (side == 0) * body * ((i + left) % 9)
    fat = body & (side == 0) & (abs(left - 56) < 8)
    hu[fat] = -90
    classes = np.where(body, CLASSES.index("soft_tissue"), 0)
    classes[side > 0] = CLASSES.index("lungs")
    away = (i - LEFT_OUT[0]) ** 2 + (p - LEFT_OUT[1]) ** 2 + (left - LEFT_OUT[2]) ** 2
    hu[away < 16] = 40
    flags = np.where(away < RADIUS**2, IGNORE, 0)
    labels = (classes + (side << SIDE_SHIFT) + (flags << FLAG_SHIFT)).astype(np.int16)
    return Chest(
        Case("small", "small", 1.0, organs=True, unknown_findings=False),
        hu.astype(np.int16),
        np.clip(lung_mm, -100, 100).astype(np.int8),
        depth.astype(np.uint8),
        labels,
        ipl_affine((2, 2, 2), (0, 0, 0)),
        ChestBox(np.array([88.0, 96, 112]), np.array([80.0, 64, 86])),
    )
