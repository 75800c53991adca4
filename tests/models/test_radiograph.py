"""Radiographs of volumes whose integrals are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_ctvlp.core.geometry import ipl_affine
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.models.radiograph import (
    FRONTAL,
    LATERAL,
    WATER_PER_MM,
    Pose,
    attenuation,
    both_views,
    project,
    render,
)

SIZE = 48


def box(i: slice, p: slice, left: slice, value: float = 0.0) -> torch.Tensor:
    """HU of a box in air."""
    hu = torch.full((SIZE, SIZE, SIZE), -1000.0)
    hu[i, p, left] = value
    return hu


def blobs() -> torch.Tensor:
    """A smooth density without any symmetry."""
    axes = torch.meshgrid(*[torch.arange(SIZE) - (SIZE - 1) / 2] * 3, indexing="ij")
    where = torch.stack(axes, -1)
    spots = ((5.0, -7.0, 6.0, 4.0), (-6.0, 3.0, -8.0, 5.0), (0.0, 9.0, 2.0, 3.0))
    return sum(torch.exp(-((where - torch.tensor(s[:3])) ** 2).sum(-1) / s[3] ** 2) for s in spots)


def test_attenuation_of_air_water_and_twice_water():
    got = attenuation(torch.tensor([-1024.0, -1000, 0, 1000]))
    assert torch.allclose(got, WATER_PER_MM * torch.tensor([0.0, 0, 1, 2]))


@pytest.mark.parametrize(
    ("pose", "thick"),
    [(FRONTAL, 20), (LATERAL, 30), (Pose(turn_deg=30), 20 / math.cos(math.radians(30)))],
)
def test_a_box_is_as_opaque_as_it_is_thick(pose: Pose, thick: float):
    """40 mm of water from front to back, 60 mm across; oblique rays meet the two large faces."""
    density = attenuation(box(slice(8, 40), slice(14, 34), slice(9, 39)))
    image = project(density, (2, 2, 2), pose, shape=(49, 49))
    assert float(image[24, 24]) == pytest.approx(2 * thick * WATER_PER_MM, rel=0.01)
    assert float(image[2, 24]) == 0


def test_uneven_voxels_and_pixels_keep_the_thickness():
    density = attenuation(torch.zeros(20, 30, 40))
    image = project(density, (5, 3, 1), FRONTAL, shape=(31, 31), pixel_mm=1.0, step_mm=0.5)
    assert float(image[15, 15]) == pytest.approx(90 * WATER_PER_MM, rel=0.01)


@pytest.mark.parametrize("turn", [15.0, 90.0])
def test_turning_the_volume_is_turning_the_pose(turn: float):
    """A point at index offset x goes to R x; the image must not notice."""
    density, angle = blobs(), math.radians(turn)
    back = torch.tensor([[1, 0, 0], [0, math.cos(angle), math.sin(angle)],
                         [0, -math.sin(angle), math.cos(angle)]])  # fmt: skip
    # Sampling at R^-1 x turns posterior toward left.
    where = torch.stack(
        torch.meshgrid(*[torch.arange(SIZE) - (SIZE - 1) / 2] * 3, indexing="ij"), -1
    )
    grid = 2 * (where @ back.T) / SIZE
    turned = functional.grid_sample(density[None, None], grid.flip(-1)[None], align_corners=False)[
        0, 0
    ]
    frontal = project(turned, (1, 1, 1), FRONTAL, shape=(48, 48), pixel_mm=1.0, step_mm=0.5)
    posed = project(density, (1, 1, 1), Pose(turn), shape=(48, 48), pixel_mm=1.0, step_mm=0.5)
    assert (frontal - posed).abs().max() < 0.03 * posed.max()
    straight = project(density, (1, 1, 1), FRONTAL, shape=(48, 48), pixel_mm=1.0, step_mm=0.5)
    assert (straight - posed).abs().max() > 0.1 * posed.max()


def test_the_patients_left_is_on_the_right_and_the_front_on_the_left():
    top_left_back = box(slice(4, 10), slice(38, 44), slice(36, 44))
    for pose in (FRONTAL, LATERAL):
        image = project(attenuation(top_left_back), (2, 2, 2), pose, shape=(48, 48))
        row, column = divmod(int(image.argmax()), 48)
        assert row < 12
        assert column > 34
    assert (both_views(top_left_back)[:, :12, 34:].sum((1, 2)) > 0).all()
    assert not both_views(top_left_back)[:, 12:, :].any()


def test_the_fast_images_are_the_parallel_ones():
    hu = 1000 * (blobs() - 0.5)
    images = [project(attenuation(hu), (2, 2, 2), p, shape=(48, 48)) for p in (FRONTAL, LATERAL)]
    assert torch.allclose(both_views(hu), torch.stack(images), atol=1e-4)
    assert both_views(hu[None, :, :40]).shape == (1, 2, 48, 48)


def test_a_cone_enlarges_what_is_near_the_tube():
    """Rays run from back to front: a rod at the back is enlarged, one at the front shrunk."""
    widths = []
    for p in (2, 45):
        density = attenuation(box(slice(20, 28), slice(p, p + 1), slice(12, 36), 3000.0))
        image = project(
            density, (2, 2, 2), Pose(source_mm=400), shape=(60, 160), pixel_mm=0.5, step_mm=1.0
        )
        widths.append(int((image[30] > image[30].max() / 2).sum()) * 0.5)
    front, back = 400 + 43, 400 - 43
    assert widths == pytest.approx([48 * 400 / front, 48 * 400 / back], abs=1.1)


def test_gradients_reach_every_voxel_that_is_seen():
    density = blobs().requires_grad_()
    image = project(density, (1, 1, 1), Pose(10, 5), shape=(80, 80), pixel_mm=1.0, step_mm=1.0)
    image.sum().backward()
    assert (density.grad[8:-8, 8:-8, 8:-8] > 0).all()


def test_a_scan_is_rendered_to_the_size_it_has():
    hu = np.full((20, 30, 40), -1000, np.int16)
    hu[5:15, 10:20, 10:30] = 0
    affine = ipl_affine((2, 1, 1), (0, 0, 0))
    scan = Scan(hu, affine, Source((), (20, 30, 40), affine), ScanMeta())
    frontal, lateral = render(scan, pixel_mm=1.0)
    assert (frontal.integrals.shape, lateral.integrals.shape) == ((40, 40), (40, 30))
    assert frontal.integrals[20, 20] == pytest.approx(10 * WATER_PER_MM, rel=0.01)
    assert lateral.integrals[20, 15] == pytest.approx(20 * WATER_PER_MM, rel=0.01)
    assert frontal.integrals.dtype == np.float32
