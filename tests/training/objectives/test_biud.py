"""Retrieval, distillation and robust contrast by their properties."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from napari_ctvlp.training.objectives.biud import (
    alike,
    anchored,
    healthy,
    overlap,
    pairwise,
    related,
    retrieve,
    robust_contrast,
    taught,
)

FORMS = ("cosine", "contrastive", "regression")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unit(seed: int, rows: int = 6, width: int = 16) -> torch.Tensor:
    return functional.normalize(draw(seed, rows, width), dim=1)


def every(rows: int = 6) -> torch.Tensor:
    return torch.ones(rows, dtype=torch.bool)


def rotation(seed: int, width: int) -> torch.Tensor:
    return torch.linalg.qr(draw(seed, width, width))[0]


def infonce(images: torch.Tensor, texts: torch.Tensor, scale: float) -> torch.Tensor:
    logits, truth = scale * images @ texts.T, torch.arange(len(images))
    both = functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.T, truth)
    return both / 2


def test_every_report_retrieves_itself_whatever_its_length():
    pool = draw(0, 9, 16)
    assert retrieve(pool, pool).rows[:, 0].tolist() == list(range(9))
    once, scaled = retrieve(pool, pool, most=3), retrieve(5 * pool, 0.1 * pool, most=3)
    assert torch.equal(once.rows, scaled.rows)
    assert torch.allclose(once.weight, scaled.weight, atol=1e-5)


@pytest.mark.parametrize("most", [1, 4])
def test_weights_sum_to_one_and_do_not_depend_on_the_order_of_the_pool(most: int):
    queries, pool, vectors = draw(1, 5, 16), draw(2, 9, 16), draw(3, 9, 8)
    found = retrieve(queries, pool, most=most, tau=3.0)
    assert torch.allclose(found.weight.sum(1), torch.ones(5))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(4))
    again = retrieve(queries, pool[order], most=most, tau=3.0)
    assert torch.equal(order[again.rows], found.rows)
    assert torch.allclose(taught(again, vectors[order]), taught(found, vectors), atol=1e-6)


def test_a_higher_floor_only_takes_teachers_away():
    queries, pool = draw(5, 20, 16), draw(6, 9, 16)
    shares = [retrieve(queries, pool, floor=f).has for f in (-1.0, 0.3, 0.5, 1.01)]
    assert shares[0].all()
    assert not shares[-1].any()
    assert all(bool((more | ~less).all()) for more, less in itertools.pairwise(shares))


@pytest.mark.parametrize("form", FORMS)
def test_pairwise_knows_its_best_its_rows_and_no_teacher_gradient(form: str):
    student, teacher = draw(7, 6, 16).requires_grad_(), draw(8, 6, 16).requires_grad_()
    has = torch.tensor([1, 1, 0, 1, 0, 1]).bool()
    loss = pairwise(student, teacher, has, form)
    assert torch.isclose(loss, pairwise(student[has], 9 * teacher[has], every(4), form))
    assert loss > pairwise(3 * teacher, teacher, has, form)
    loss.backward()
    assert teacher.grad is None
    assert not student.grad[~has].any()
    assert (student.grad * student.detach()).sum(1).abs().max() < 1e-5
    assert float(pairwise(student, teacher, ~every(), form)) == 0


def test_cosine_form_runs_from_nought_to_two_and_one_pair_has_no_contrast():
    vectors = unit(9)
    turned = vectors.roll(8, 1) * torch.tensor([1.0] * 8 + [-1.0] * 8)
    for other, value in ((2 * vectors, 0.0), (turned, 1.0), (-vectors, 2.0)):
        assert pairwise(vectors, other, every()) == pytest.approx(value, abs=1e-6)
    assert pairwise(vectors[:1], unit(10)[:1], every(1), "contrastive") == 0


def test_relation_to_anchors_is_zero_up_to_a_constant_and_its_gradient_is_the_difference():
    anchors, tau = torch.eye(16), 0.1
    ours, theirs = unit(11).requires_grad_(), unit(12)
    shift = draw(13, 6, 1)
    assert abs(anchored(theirs + shift, theirs, every(), (anchors, anchors))) < 1e-5
    loss = anchored(ours, theirs, every(), (anchors, anchors))
    assert loss > 0
    loss.backward()
    wrong = (ours.detach() / tau).softmax(1) - (theirs / tau).softmax(1)
    assert torch.allclose(ours.grad, tau * wrong / 6, atol=1e-6)


def test_relation_to_anchors_at_great_temperature_is_a_squared_difference():
    ours, theirs = unit(14).double(), unit(15).double()
    anchors = (torch.eye(16), torch.eye(16))
    got = anchored(10 * ours, 10 * theirs, every(), anchors, (100.0, 100.0))
    gap = 10 * (ours - theirs)
    gap = gap - gap.mean(1, keepdim=True)
    assert float(got) == pytest.approx(float((gap**2).sum(1).mean() / 32), rel=0.02)


def test_relations_within_the_batch_do_not_see_rotations():
    ours, theirs = draw(16, 6, 16), draw(17, 6, 9)
    loss = related(ours, theirs, every())
    assert loss > 0.01
    turned = related(ours @ rotation(18, 16), theirs @ rotation(19, 9), every())
    assert torch.isclose(loss, turned, atol=1e-4)
    assert abs(related(theirs @ rotation(20, 9), theirs, every())) < 1e-5
    assert related(ours, theirs, torch.tensor([1, 1, 0, 0, 0, 0]).bool()) == 0


@pytest.mark.parametrize("mode", ["soft", "mask"])
def test_robust_contrast_without_a_false_negative_is_infonce(mode: str):
    images, texts = unit(21), unit(22)
    weights = alike(draw(23, 6, 300), floor=0.9)
    assert torch.equal(weights, torch.eye(6))
    got = robust_contrast(images, texts, weights, 7.0, mode=mode)
    assert torch.isclose(got, infonce(images, texts, 7.0), atol=1e-6)
    peer = draw(24, 6, 6)
    again = robust_contrast(images, texts, weights, 7.0, mode=mode, peer=peer, alpha=0.0)
    assert torch.equal(got, again)


def test_a_false_negative_is_pulled_when_corrected_and_left_alone_when_masked():
    table = torch.zeros(4, 4, requires_grad=True)
    weights = torch.eye(4)
    weights[0, 1] = weights[1, 0] = 1
    for mode, sign in (("soft", -1), ("mask", 0)):
        (gradient,) = torch.autograd.grad(
            robust_contrast(table, torch.eye(4), weights, 1.0, mode=mode), table
        )
        assert torch.sign(gradient[0, 1]) == sign
    plain = robust_contrast(table, torch.eye(4), torch.eye(4), 1.0)
    (gradient,) = torch.autograd.grad(plain, table)
    assert gradient[0, 1] > 0


def test_the_loss_is_bounded_by_the_entropy_of_its_targets():
    weights = overlap(torch.tensor([[1, 1], [1, 0], [0, 0], [0, 0]]).bool())
    target = weights / weights.sum(1, keepdim=True)
    entropy = -torch.special.xlogy(target, target).sum(1).mean()
    assert robust_contrast(unit(25, 4), unit(26, 4), weights, 7.0) > entropy


def test_a_batch_of_one_meaning_teaches_nothing_at_its_best():
    vectors = unit(25, 1).expand(4, -1).clone().requires_grad_()
    loss = robust_contrast(vectors, vectors.detach(), torch.ones(4, 4), 7.0)
    loss.backward()
    assert torch.isclose(loss, torch.tensor(4.0).log())
    assert vectors.grad.abs().max() < 1e-6


def test_labels_overlap_by_jaccard_and_normals_find_one_another_in_the_past_too():
    labels = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    assert overlap(labels, labels[2:])[:, :].tolist() == [
        [1.0, 0.5, 0.0, 0.0],
        [0.5, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 1.0],
    ]
    normal = torch.tensor([True, False, True])
    assert healthy(normal, torch.tensor([True, False])).tolist() == [
        [1, 0, 1, 1, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 1, 1, 0],
    ]


def test_a_higher_threshold_never_adds_a_false_negative():
    reports = draw(27, 8, 3)
    tables = [alike(reports, reports[:2], floor=f) > 0 for f in (0.0, 0.5, 0.9, 1.0)]
    assert torch.equal(tables[-1], torch.eye(8, 10) > 0)
    for more, less in itertools.pairwise(tables):
        assert bool((more | ~less).all())
    assert torch.equal(tables[1][:, :8], tables[1][:, :8].T)


def test_order_of_patients_and_remembered_columns():
    images, texts, reports, past = unit(28), unit(29), draw(30, 6, 3), (unit(31, 4), unit(32, 4))
    weights = alike(reports, draw(33, 4, 3), floor=0.3)
    loss = robust_contrast(images, texts, weights, 7.0, past=past)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    mixed = weights[order][:, [*order.tolist(), 6, 7, 8, 9]]
    again = robust_contrast(images[order], texts[order], mixed, 7.0, past=past)
    assert torch.isclose(loss, again, atol=1e-5)


@pytest.mark.parametrize("tau", [0.01, 0.5])
def test_both_ends_of_the_temperature_are_finite_in_half_precision(tau: float):
    images = unit(34).half().requires_grad_()
    weights = alike(draw(35, 6, 3), floor=0.5)
    peer = draw(36, 6, 6).half()
    loss = robust_contrast(images, unit(37).half(), weights, 1 / tau, peer=peer, alpha=0.4)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(images.grad).all()
