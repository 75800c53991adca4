"""Many phrases in one picture, added one by one; differences and volumes."""

import time
from dataclasses import replace

import numpy as np
import pytest

from napari_ctvlp.core.composite import composite, difference, volume_ml
from napari_ctvlp.core.geometry import coarse_affine, ipl_affine
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase

AFFINE = ipl_affine((4.0, 4.0, 4.0), (0, 0, 0))
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def heat(values, allowed=None):
    values = np.asarray(values, np.float32)
    gate = np.ones(values.shape, bool) if allowed is None else allowed
    return Heatmap(values, AFFINE, gate, Phrase("x", "x"), "mini")


def test_the_strongest_phrase_gives_the_colour():
    one, two = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    one[0, 0, 0], two[0, 0, 0], two[1, 1, 1] = 0.9, 0.4, 0.6
    one[0, 1, 1] = np.nan
    seen = composite([heat(one), heat(two)], [RED, BLUE])
    assert seen.rgba[0, 0, 0].tolist() == [255, 0, 0, 229]
    assert seen.rgba[1, 1, 1].tolist() == [0, 0, 255, 153]
    assert seen.rgba[0, 1, 1, 3] == 0
    assert (seen.winner > 0).sum() == 2


def test_what_the_gate_excludes_is_not_drawn():
    values, gate = np.full((2, 2, 2), 0.8), np.zeros((2, 2, 2), bool)
    assert composite([heat(values, gate)], [RED]).rgba[..., 3].max() == 0


def test_the_21st_phrase_costs_little():
    rng = np.random.default_rng(0)
    heats = [heat(rng.random((84, 72, 92))) for _ in range(21)]
    colours = [tuple(rng.random(3)) for _ in heats]
    seen = composite(heats[:20], colours[:20])
    start = time.process_time()
    seen.add(heats[20], colours[20])
    picture = seen.rgba
    assert time.process_time() - start < 0.2
    np.testing.assert_array_equal(picture, composite(heats, colours).rgba)


def test_another_grid_is_brought_to_the_first():
    coarse = replace(heat(np.full((3, 3, 3), 0.5)), affine=coarse_affine(AFFINE, 2))
    fine = heat(np.full((6, 6, 6), 0.75))
    seen = composite([fine, coarse], [RED, BLUE])
    assert (seen.winner == 1).all()
    apart = difference(fine, coarse)
    np.testing.assert_allclose(apart[1:5, 1:5, 1:5], 0.25)
    assert np.isnan(difference(fine, heat(np.ones((3, 6, 6))))[4:]).all(), "nobody looked there"


def test_difference_and_volume():
    one, two = heat(np.full((2, 2, 2), 0.75)), heat(np.full((2, 2, 2), 0.25))
    assert difference(one, two).tolist() == np.full((2, 2, 2), 0.5).tolist()
    assert (difference(two, one) == -difference(one, two)).all()
    assert volume_ml(one) == pytest.approx(8 * 0.064)
    assert volume_ml(two) == 0
