"""Radiographs computed from a CT: integrals of attenuation along rays.

Arrays run (inferior, posterior, left), so a frontal image, rows down and columns to the patient's
left, already shows the left of the patient on the right: the radiological convention. A lateral
image shows the front of the patient on the left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.core.scan import Scan

#: Linear attenuation of water at 60 keV, about the mean energy of a chest radiograph at 120 kV,
#: per mm: mass attenuation 0.2059 cm2/g (Hubbell and Seltzer, NISTIR 5632, 1995).
WATER_PER_MM = 0.02059
#: Rows of the detector that are worked out at a time.
ROWS = 16


@dataclass(frozen=True)
class Pose:
    """From where a radiograph is taken.

    Attributes
    ----------
    turn_deg : float
        Rotation of the tube about the long axis: 0 frontal, with rays from back to front; 90 left
        lateral, with rays from right to left; between them oblique.
    tilt_deg : float
        Tilt about the image's horizontal axis: rays also run upward when positive.
    source_mm : float
        From the tube to the middle of the volume; infinite for parallel rays.
    """

    turn_deg: float = 0.0
    tilt_deg: float = 0.0
    source_mm: float = math.inf

    def axes(self) -> Tensor:
        """Return image down, image right and the rays' direction, rows of (i, p, l)."""
        turn, tilt = math.radians(self.turn_deg), math.radians(self.tilt_deg)
        right = torch.tensor([0.0, math.sin(turn), math.cos(turn)])
        level = torch.tensor([0.0, -math.cos(turn), math.sin(turn)])
        axis = torch.tensor([1.0, 0.0, 0.0])
        down = math.cos(tilt) * axis + math.sin(tilt) * level
        return torch.stack([down, right, math.cos(tilt) * level - math.sin(tilt) * axis])


FRONTAL, LATERAL = Pose(), Pose(turn_deg=90.0)


@dataclass(frozen=True)
class Radiograph:
    """A computed radiograph.

    Attributes
    ----------
    integrals : ndarray, shape (h, w), float32
        Attenuation along the ray to each pixel; transmission is its negative exponential.
    pixel_mm : float
        Edge of a pixel in the plane through the volume's middle.
    pose : Pose
    """

    integrals: NDArray[np.float32]
    pixel_mm: float
    pose: Pose


def attenuation(hu: Tensor) -> Tensor:
    """Return linear attenuation per mm from HU, by the definition of the unit; never negative."""
    return WATER_PER_MM * (1 + hu / 1000).clamp(min=0)


def project(
    density: Tensor, voxel_mm: Sequence[float], pose: Pose = FRONTAL, *,
    shape: tuple[int, int], pixel_mm: float = 2.0, step_mm: float = 2.0,
) -> Tensor:  # fmt: skip
    """Integrate a volume along the rays of a pose; gradients flow back to the volume.

    Parameters
    ----------
    density : Tensor, shape (i, p, l)
        Per mm; 0 outside.
    voxel_mm : sequence of three float
    pose : Pose
    shape : (h, w)
        Of the image, whose middle looks at the volume's middle.
    pixel_mm, step_mm : float
        Edge of a pixel, and distance of samples along the depth.

    Returns
    -------
    Tensor, shape (h, w)
    """
    size = torch.tensor(density.shape, dtype=torch.float32) * torch.tensor(voxel_mm).float()
    steps = math.ceil(float(size.norm()) / step_mm)
    down, right = (_centred(n) * pixel_mm for n in shape)
    depth = _centred(steps) * step_mm
    unit = 2 * pose.axes() / size
    parts = []
    for rows in down.split(ROWS):
        spread = 1 + depth / pose.source_mm
        v, u = rows.view(-1, 1, 1) * spread, right.view(-1, 1) * spread
        where = v[..., None] * unit[0] + u[..., None] * unit[1] + depth[:, None] * unit[2]
        grid = where.flip(-1)[None].to(density)
        seen = functional.grid_sample(density[None, None], grid, align_corners=False)[0, 0]
        slant = (rows.view(-1, 1) ** 2 + right**2) / pose.source_mm**2
        parts.append(seen.sum(dim=2) * step_mm * torch.sqrt(1 + slant).to(density))
    return torch.cat(parts)


def both_views(hu: Tensor, voxel_mm: float = 2.0) -> Tensor:
    """Return frontal and lateral images with parallel rays, as fast as a sum.

    Parameters
    ----------
    hu : Tensor, shape (..., i, p, l)
    voxel_mm : float
        Edge of the cubic voxels.

    Returns
    -------
    Tensor, shape (..., 2, i, max(p, l))
        Integrals of attenuation; the narrower image is centred between zeros.
    """
    density = attenuation(hu.float()) * voxel_mm
    views = [density.sum(dim=-2), density.sum(dim=-1)]
    width = max(view.shape[-1] for view in views)
    return torch.stack([_widened(view, width) for view in views], dim=-3)


def render(
    scan: Scan, poses: Sequence[Pose] = (FRONTAL, LATERAL), pixel_mm: float = 2.0
) -> tuple[Radiograph, ...]:
    """Return radiographs of a scan, as wide as the volume is in the plane of its middle."""
    voxel_mm = scan.spacing.tolist()
    density = attenuation(torch.from_numpy(np.asarray(scan.hu, dtype=np.float32)))
    size = np.array(density.shape) * voxel_mm
    made = []
    for pose in poses:
        extent = np.abs(pose.axes().numpy()) @ size
        height, width = (max(1, round(float(mm) / pixel_mm)) for mm in extent[:2])
        image = project(
            density, voxel_mm, pose, shape=(height, width), pixel_mm=pixel_mm,
            step_mm=float(min(voxel_mm)),
        )  # fmt: skip
        made.append(Radiograph(image.numpy(), pixel_mm, pose))
    return tuple(made)


def _centred(count: int) -> Tensor:
    return torch.arange(count) - (count - 1) / 2


def _widened(view: Tensor, width: int) -> Tensor:
    spare = width - view.shape[-1]
    return functional.pad(view, (spare // 2, spare - spare // 2))
