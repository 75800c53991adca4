"""Likeness within a modality, and the local contrast around it, by their properties."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from napari_ctvlp.training.objectives.elvis import (
    global_contrast,
    intra_modal,
    local_contrast,
    locality,
    nearness,
    twins,
)

READINGS = ("preserve", "targets", "gram")
PROJECTION_ONLY = ("preserve", "gram")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unit(seed: int, *shape: int) -> torch.Tensor:
    return functional.normalize(draw(seed, *shape), dim=-1)


def rotation(seed: int, width: int) -> torch.Tensor:
    return torch.linalg.qr(draw(seed, width, width))[0]


def every(b: int = 2, n: int = 7) -> torch.Tensor:
    return torch.ones(b, n, dtype=torch.bool)


@pytest.mark.parametrize("reading", PROJECTION_ONLY)
def test_a_rotation_or_a_scale_loses_nothing(reading: str):
    before = draw(0, 2, 7, 8)
    for after in (before @ rotation(1, 8), 3 * before, before * draw(2, 2, 7, 1).abs()):
        assert abs(float(intra_modal(before, after, every(), reading))) < 1e-6
    assert intra_modal(before, draw(3, 2, 7, 8), every(), reading) > 0.01


def test_a_collapsed_projection_costs_the_divergence_from_uniform():
    before = draw(4, 2, 7, 8)
    got = intra_modal(before, torch.ones(2, 7, 5), every())
    table = functional.normalize(before, dim=2)
    table = (table @ table.mT / 0.1)[:, ~torch.eye(7, dtype=torch.bool)].view(2, 7, 6)
    share = table.softmax(2)
    want = (share * share.log()).sum(2).mean() + math.log(6)
    assert torch.isclose(got, want, atol=1e-5)


@pytest.mark.parametrize("reading", READINGS)
def test_order_scale_and_absent_vectors_do_not_count(reading: str):
    before, after, twin = draw(5, 2, 7, 8), draw(6, 2, 7, 4), unit(7, 2, 7, 4)
    present = every()
    present[0, 5:] = False
    loss = intra_modal(before, after, present, reading, twin=twin)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    mixed = (t[:, order] for t in (before, after, present))
    assert torch.isclose(loss, intra_modal(*mixed, reading, twin=twin[:, order]), atol=1e-6)
    scaled = after * draw(8, 2, 7, 1).abs()
    assert torch.isclose(loss, intra_modal(before, scaled, present, reading, twin=twin), atol=1e-6)
    before[0, 5:], after[0, 5:], twin[0, 5:] = 9.0, -9.0, 1.0
    assert loss == intra_modal(before, after, present, reading, twin=twin)


@pytest.mark.parametrize("reading", READINGS)
def test_the_gradient_goes_to_the_projected_only_and_across_them(reading: str):
    before, after = draw(9, 2, 7, 8).requires_grad_(), draw(10, 2, 7, 4).requires_grad_()
    intra_modal(before, after, every(), reading, twin=unit(11, 2, 7, 4)).backward()
    assert before.grad is None
    assert after.grad.abs().max() > 1e-4
    assert (after.grad * after.detach()).sum(2).abs().max() < 1e-6


@pytest.mark.parametrize("reading", READINGS)
def test_two_vectors_have_nothing_to_compare(reading: str):
    present = every()
    present[:, 2:] = False
    after = draw(12, 2, 7, 4).requires_grad_()
    loss = intra_modal(draw(13, 2, 7, 8), after, present, reading, twin=unit(14, 2, 7, 4))
    assert float(loss) == 0
    assert not loss.requires_grad


@pytest.mark.parametrize("reading", READINGS)
def test_half_precision_with_gaps_is_finite(reading: str):
    present = every()
    present[0, 1:] = False
    after = draw(15, 2, 7, 4).bfloat16().requires_grad_()
    twin = unit(16, 2, 7, 4).bfloat16()
    intra_modal(draw(17, 2, 7, 8).bfloat16(), after, present, reading, twin=twin).backward()
    assert torch.isfinite(after.grad).all()
    assert not after.grad[0].any()


def test_targets_of_distinct_vectors_are_plain_contrast():
    local, twin = unit(18, 2, 7, 4), unit(19, 2, 7, 4)
    plain = local_contrast(local, twin, every())
    soft = intra_modal(draw(20, 2, 7, 300), local, every(), "targets", twin=twin, tau=1e-3)
    assert torch.isclose(plain, soft, atol=1e-5)


def test_targets_do_not_tell_equal_vectors_apart():
    before, local, twin = draw(21, 1, 7, 8), unit(22, 1, 7, 4), unit(23, 1, 7, 4)
    before[0, 1] = before[0, 0]
    local[0, 1] = local[0, 0]
    swapped = twin[:, [1, 0, 2, 3, 4, 5, 6]]
    losses = [intra_modal(before, local, every(1), "targets", twin=t) for t in (twin, swapped)]
    assert torch.isclose(*losses, atol=1e-6)


def test_centring_decides_whether_a_shared_direction_counts():
    before, after = draw(24, 2, 7, 8), draw(25, 2, 7, 4)
    shifted = before + 5
    for centred, equal in ((True, True), (False, False)):
        losses = [intra_modal(x, after, every(), centred=centred) for x in (before, shifted)]
        assert bool(torch.isclose(*losses, atol=1e-4)) == equal


def test_global_contrast_at_its_corners():
    images, texts = unit(26, 5, 8), unit(27, 5, 8)
    assert global_contrast(images[:1], texts[:1]) == 0
    alike = images[:1].expand(5, -1)
    assert torch.isclose(global_contrast(alike, alike), torch.tensor(5.0).log())
    assert global_contrast(torch.eye(5), torch.eye(5), 0.01) < 1e-6
    swapped = global_contrast(texts, images, weights=(0.25, 0.75))
    assert torch.isclose(global_contrast(images, texts), swapped)


def test_local_contrast_is_infonce_within_the_sample():
    local, twin = unit(28, 1, 7, 4), unit(29, 1, 7, 4)
    logits = (local @ twin.mT)[0] / 0.3
    truth = torch.arange(7)
    want = functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.T, truth)
    assert torch.isclose(local_contrast(local, twin, every(1)), want / 2, atol=1e-6)


def test_positives_by_distance_end_at_their_reach():
    places = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [9, 0, 0]]])
    assert torch.equal(nearness(places, 0.5), torch.eye(3)[None])
    assert torch.equal(nearness(places, 99, decay=0.0), torch.ones(1, 3, 3))
    row = nearness(places, 5)[0, 0]
    assert row[1] == pytest.approx(math.exp(-3))
    assert row[2] == 0
    vector = unit(30, 1, 1, 4).expand(1, 3, 4)
    spread = local_contrast(vector, vector, every(1, 3), targets=torch.ones(1, 3, 3))
    assert torch.isclose(spread, torch.tensor(3.0).log())


def test_twins_are_unit_averages_of_what_is_present():
    queries, items = unit(31, 1, 5, 4), unit(32, 1, 3, 4)
    present = torch.tensor([[True, True, False]])
    first = twins(queries, items, present)
    items[0, 2] = 7.0
    assert torch.equal(first, twins(queries, items, present))
    assert torch.allclose(first.norm(dim=2), torch.ones(1, 5))
    sharp = twins(items[:, :2], items, present, tau=1e-4)
    assert torch.allclose(sharp, items[:, :2], atol=1e-5)
    assert not twins(queries, items, torch.zeros(1, 3, dtype=torch.bool)).any()


def test_locality_is_one_for_a_rotation_and_near_nought_for_noise():
    before = draw(33, 3, 40, 16)
    assert locality(before, 2 * before @ rotation(34, 16), every(3, 40)) == pytest.approx(1)
    assert abs(locality(before, draw(35, 3, 40, 16), every(3, 40))) < 0.1
    assert math.isnan(locality(before[:, :2], before[:, :2], every(3, 2)))
