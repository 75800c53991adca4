"""Pieces of a mask, their sizes, and how places of one image resemble each other."""

import math

import numpy as np
import pytest

from napari_ctvlp.core.components import components
from napari_ctvlp.core.encoding import TextVector, TokenGrid
from napari_ctvlp.core.geometry import ipl_affine, transform
from napari_ctvlp.core.locality import cell_of, locality, nearest_words, self_similarity

AFFINE = ipl_affine((2.0, 1.0, 3.0), (5.0, 6.0, 7.0))


def test_pieces_with_their_sizes_peaks_and_hu():
    mask = np.zeros((12, 14, 16), bool)
    mask[2:4, 3:6, 4:8] = True
    mask[9, 10, 12] = True
    values = np.where(mask, 0.5, 0.1).astype(np.float32)
    values[9, 10, 12], values[3, 4, 5] = 0.9, 0.7
    hu = np.where(mask, 40, -800).astype(np.int16)
    labels, (small, large) = components(mask, values, AFFINE, hu)
    assert (small.id, large.id) == (1, 2)
    assert small.ml == pytest.approx(0.006)
    assert large.ml == pytest.approx(24 * 0.006)
    assert large.mm == pytest.approx(math.dist((0, 0, 0), (2, 2, 9)) + 2.0)
    assert small.mm == pytest.approx(2.0)
    assert (small.peak, large.peak) == pytest.approx((0.9, 0.7))
    assert large.peak_ras == pytest.approx(tuple(transform(AFFINE, (3, 4, 5))))
    assert large.mean_hu == 40
    assert (labels > 0).sum() == 25
    assert labels[9, 10, 12] == 1


def test_small_pieces_can_be_dropped_and_diagonals_hang_together():
    mask = np.zeros((6, 6, 6), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = mask[5, 5, 5] = True
    labels, found = components(mask, mask.astype(np.float32), AFFINE, least_ml=0.01)
    assert len(found) == 1
    assert labels.max() == 1
    assert math.isnan(found[0].mean_hu)
    assert components(np.zeros((3, 3, 3), bool), np.zeros((3, 3, 3), np.float32), AFFINE)[1] == ()


def test_a_rotation_keeps_locality_and_noise_destroys_it():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 8)).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    assert locality(rows, rows @ turn) == pytest.approx(1, abs=1e-5)
    assert locality(rows, rows @ turn, seed=3) == pytest.approx(1, abs=1e-5)
    assert abs(locality(rows, rng.standard_normal((300, 5)).astype(np.float32))) < 0.1
    assert math.isnan(locality(rows, np.ones((300, 4), np.float32)))
    assert math.isnan(locality(rows[:2], rows[:2]))


@pytest.fixture
def grid():
    tokens = np.random.default_rng(1).standard_normal((4, 5, 6, 3)).astype(np.float32)
    valid = np.ones((4, 5, 6), bool)
    valid[0] = False
    return TokenGrid(tokens, AFFINE, valid)


def test_every_place_resembles_itself_most(grid):
    point = tuple(transform(AFFINE, (2, 3, 4)).tolist())
    found = self_similarity(grid, point)
    assert found[2, 3, 4] == pytest.approx(1)
    assert np.nanmax(found) <= 1 + 1e-6
    assert np.isnan(found[0]).all()
    assert cell_of(grid, point) == (2, 3, 4)


def test_a_place_nobody_looked_at_resembles_nothing(grid):
    outside = tuple(transform(AFFINE, (0, 1, 1)).tolist())
    assert np.isnan(self_similarity(grid, outside)).all()
    assert nearest_words(grid, outside, {"a": TextVector(np.ones(3, np.float32))}) == ()


def test_words_at_a_place_come_highest_first(grid):
    own = grid.tokens[2, 3, 4].astype(np.float32)
    words = {"away": TextVector(-own), "here": TextVector(own), "raised": TextVector(own, 1.0)}
    point = tuple(transform(AFFINE, (2, 3, 4)).tolist())
    found = nearest_words(grid, point, words, n=2)
    assert [word for word, _ in found] == ["raised", "here"]
    assert found[1][1] == pytest.approx(float(own @ own), rel=1e-5)
