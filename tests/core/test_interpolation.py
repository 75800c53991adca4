"""The fast way gives what the general one gives."""

import numpy as np
import pytest

from napari_ctvlp.core.geometry import ipl_affine, resample
from napari_ctvlp.core.interpolation import linear_aligned


@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0), (-7.3, 11.0, 2.2), (40.0, 40.0, 40.0)])
def test_same_as_general_resampling(start):
    values = np.random.default_rng(3).normal(size=(9, 11, 8)).astype(np.float32)
    source, target = ipl_affine((4, 5, 6), (3, 2, 1)), ipl_affine((2.5, 0.9, 1.1), start)
    fast = linear_aligned(values, source, (17, 31, 23), target)
    np.testing.assert_allclose(fast, resample(values, source, (17, 31, 23), target), atol=1e-5)


def test_the_same_grid_gives_the_same_bits():
    values = np.random.default_rng(4).normal(size=(5, 6, 7)).astype(np.float32)
    affine = ipl_affine((2, 3, 4), (10, 20, 30))
    np.testing.assert_array_equal(linear_aligned(values, affine, values.shape, affine), values)
