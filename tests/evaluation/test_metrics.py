"""Properties that any implementation of the metrics must have."""

import itertools

import numpy as np
import pytest

from napari_ctvlp.core.geometry import ipl_affine, resample
from napari_ctvlp.evaluation import metrics

SHAPE = (20, 24, 22)
AFFINE = ipl_affine((2.0, 1.5, 1.0), (10.0, -20.0, 5.0))
EVERYWHERE = np.ones(SHAPE, dtype=bool)


@pytest.fixture
def reference():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5:9, 6:12, 7:11] = True
    return mask


@pytest.fixture
def noise():
    return np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)


def test_dice_of_itself_is_one_and_of_disjoint_masks_zero(reference):
    assert metrics.dice(reference, reference) == 1
    assert metrics.dice(reference, ~reference) == 0
    assert metrics.dice(reference & False, reference) == 0
    assert metrics.dice(reference & False, reference & False) == 1


def test_dice_follows_from_iou_and_ignores_common_flips(reference, noise):
    other = noise > 0.3
    overlap = metrics.iou(other, reference)
    assert metrics.dice(other, reference) == pytest.approx(2 * overlap / (1 + overlap))
    for axes in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in (1, 2)):
        flipped = metrics.dice(np.flip(other, axes), np.flip(reference, axes))
        assert flipped == metrics.dice(other, reference)


def test_cnr_ignores_scale_and_offset_and_changes_sign(reference, noise):
    values = noise + 2 * reference
    score = metrics.cnr(values, reference, EVERYWHERE)
    assert score > 0
    assert metrics.cnr(3 * values + 7, reference, EVERYWHERE) == pytest.approx(score, rel=1e-4)
    assert metrics.cnr(-values, reference, EVERYWHERE) == pytest.approx(-score)


def test_cnr_is_undefined_without_contrast_or_reference(reference, noise):
    flat = np.ones(SHAPE, dtype=np.float32)
    assert np.isnan(metrics.cnr(flat, reference, EVERYWHERE))
    assert np.isnan(metrics.cnr(noise, reference & False, EVERYWHERE))
    same = np.where(np.arange(noise.size).reshape(SHAPE) % 2, 1.0, -1.0)
    assert metrics.cnr(same, reference, EVERYWHERE) == pytest.approx(0)


def test_hits_get_rarer_as_the_bar_rises(reference, noise):
    found = reference & (noise > 0)
    hits = [metrics.hit(found, reference, t) for t in (0.05, 0.1, 0.5, 0.9)]
    assert hits == sorted(hits, reverse=True)
    assert hits[0]


def test_the_peak_ignores_constants_nan_and_the_world_outside(reference, noise):
    first = metrics.peak_ras(noise, AFFINE, reference)
    assert metrics.peak_ras(noise + 5, AFFINE, reference) == first
    holes = noise.copy()
    holes[~reference] = np.nan
    assert metrics.peak_ras(holes, AFFINE, EVERYWHERE) == first
    assert metrics.distance_to_reference(first, reference, AFFINE) == 0
    flat = np.zeros(SHAPE)
    assert metrics.peak_ras(flat, AFFINE, EVERYWHERE) == tuple(AFFINE[:3, 3])
    assert metrics.peak_ras(flat * np.nan, AFFINE, EVERYWHERE) is None


def test_distance_is_in_millimetres_of_the_world(reference):
    outside = AFFINE @ (5 - 3, 6, 7, 1)
    assert metrics.distance_to_reference(outside[:3], reference, AFFINE) == pytest.approx(6)
    assert metrics.distance_to_reference(None, reference, AFFINE) == float("inf")


def test_a_random_map_is_a_coin(reference):
    maps = [np.random.default_rng(s).standard_normal(SHAPE) for s in range(40)]
    areas = [metrics.auroc(m, reference, EVERYWHERE) for m in maps]
    contrasts = [metrics.cnr(m, reference, EVERYWHERE) for m in maps]
    precisions = [metrics.average_precision(m, reference, EVERYWHERE) for m in maps]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)
    assert np.mean(contrasts) == pytest.approx(0, abs=0.05)
    assert np.mean(precisions) == pytest.approx(reference.mean(), rel=0.3)


def test_auroc_is_the_share_of_ordered_pairs(reference, noise):
    values = np.round(noise, 1)
    inside, outside = values[reference], values[~reference]
    above = (inside[:, None] > outside).mean() + 0.5 * (inside[:, None] == outside).mean()
    assert metrics.auroc(values, reference, EVERYWHERE) == pytest.approx(above)
    assert metrics.auroc(np.zeros(SHAPE), reference, EVERYWHERE) == pytest.approx(0.5)
    assert metrics.auroc(reference * 1.0, reference, EVERYWHERE) == 1
    assert metrics.average_precision(reference * 1.0, reference, EVERYWHERE) == 1


def test_not_looking_is_never_rewarded(reference):
    values = reference * 1.0
    values[reference] = np.nan
    assert metrics.auroc(values, reference, EVERYWHERE) == 0


def test_empty_references_are_undefined_not_zero(noise):
    nothing = np.zeros(SHAPE, dtype=bool)
    assert np.isnan(metrics.auroc(noise, nothing, EVERYWHERE))
    assert np.isnan(metrics.auroc(noise, EVERYWHERE, nothing))
    assert np.isnan(metrics.average_precision(noise, nothing, EVERYWHERE))
    assert np.isnan(metrics.energy_pointing(nothing * 1.0, nothing, EVERYWHERE))


def test_energy_is_the_share_of_the_positive_mass(reference):
    assert metrics.energy_pointing(reference - 0.0, reference, EVERYWHERE) == 1
    constant = np.ones(SHAPE)
    assert metrics.energy_pointing(constant, reference, EVERYWHERE) == pytest.approx(
        reference.mean()
    )
    assert metrics.energy_pointing(constant - 9 * ~reference, reference, EVERYWHERE) == 1


def test_iou_at_thresholds_is_a_mean(reference):
    values = np.where(reference, 0.35, 0.0)
    expected = (1 + 1 + 1 + 0 + 0) / 5
    scores = metrics.iou_at(values, reference, EVERYWHERE, (0.1, 0.2, 0.3, 0.4, 0.5))
    assert scores == pytest.approx(expected)


def test_a_token_map_is_brought_up_and_the_reference_stays(reference):
    coarse = ipl_affine((4.0, 4.0, 4.0), (10.0, -20.0, 5.0))
    tokens = resample(reference.astype(np.float32), AFFINE, (10, 9, 6), coarse)
    raised = resample(tokens, coarse, SHAPE, AFFINE, fill=np.nan)
    assert raised.shape == reference.shape
    assert metrics.auroc(raised, reference, EVERYWHERE) > 0.95


def test_the_bootstrap_interval_holds_the_mean():
    mean, low, high = metrics.bootstrap_mean([0.2, 0.9, 0.7, 0.8], 500)
    assert low < mean < high
    assert metrics.bootstrap_mean([0.4] * 3, 50) == pytest.approx((0.4, 0.4, 0.4))


def test_false_blobs_are_components_above_the_lesion_that_do_not_reach_it():
    values = np.zeros((1, 5, 9))
    inside, near = (np.zeros(values.shape, dtype=bool) for _ in range(2))
    inside[0, 2, 1], near[0, 1:4, 0:3] = True, True
    values[0, 2, 1] = 0.5
    values[0, 0, 5], values[0, 1, 6] = 0.9, 0.7  # one blob, over a corner
    values[0, 4, 8] = 0.6  # another
    values[0, 4, 5] = 0.5  # as high as the lesion, not above it
    values[0, 2, 2] = 0.8  # the lesion's own rim
    allowed = np.ones(values.shape, dtype=bool)
    assert metrics.false_blobs(values, allowed, inside, near) == 2
    allowed[0, 4, 8] = False
    assert metrics.false_blobs(values, allowed, inside, near) == 1
    values[0, 2, 1] = 1.0
    assert metrics.false_blobs(values, allowed, inside, near) == 0
    values[0, 2, 1] = np.nan  # not looked at: everything that was is above it
    assert metrics.false_blobs(values, allowed & ~near, inside, near) == 1


def test_correlation_ignores_scale_and_the_world_outside(noise, reference):
    holes = np.where(reference, 2 * noise + 3, np.nan)
    assert metrics.correlation(noise, holes, EVERYWHERE) == pytest.approx(1)
    assert metrics.correlation(noise, -noise, reference) == pytest.approx(-1)
    assert np.isnan(metrics.correlation(noise, noise * 0, EVERYWHERE))


def test_the_top_mean_takes_the_highest_allowed_cells():
    values = np.array([5.0, 1.0, np.nan, 4.0, 3.0, 9.0])
    allowed = np.array([True, True, True, True, True, False])
    assert metrics.top_mean(values, allowed, 2) == pytest.approx(4.5)
    assert metrics.top_mean(values, allowed, 0) == pytest.approx(5)
    assert metrics.top_mean(values, allowed, 99) == pytest.approx(13 / 4)
    assert np.isnan(metrics.top_mean(values, allowed & False, 3))


def test_a_drop_is_counted_in_sds_of_neutral_phrases():
    assert metrics.drop_in_sds(0.9, 0.3, [0.1, 0.2, 0.3]) == pytest.approx(6)
    assert np.isnan(metrics.drop_in_sds(0.9, 0.3, [0.2, 0.2, 0.2]))


def test_average_precision_by_hand():
    values = np.array([4.0, 3.0, 3.0, 2.0, 1.0])
    truth = np.array([True, False, True, False, True])
    # recall steps of one third at 1/1, 2/3 and 3/5
    expected = (1 + 2 / 3 + 3 / 5) / 3
    found = metrics.average_precision(values, truth, np.ones(5, dtype=bool))
    assert found == pytest.approx(expected)
