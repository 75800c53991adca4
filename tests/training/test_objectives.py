"""The losses by their definitions."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_ctvlp.training.objectives.dense import dense_loss, pointing_loss, rivalry_loss
from napari_ctvlp.training.objectives.fvlm import fvlm_loss


def _logits(seed: int, rows: int = 40, columns: int = 5) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def _target(seed: int, rows: int = 40, columns: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (rows, columns), generator=generator).to(torch.int8)


def test_dense_is_zero_where_everything_is_said_right():
    target = _target(0)
    assert dense_loss((2.0 * target - 1) * 60, target) < 1e-6


def test_dense_is_zero_where_nothing_is_said():
    logits = _logits(1).requires_grad_()
    loss = dense_loss(logits, torch.full((40, 5), -1, dtype=torch.int8))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_dense_gives_ignored_tokens_no_gradient(seed: int):
    logits, target = _logits(seed).requires_grad_(), _target(seed + 1)
    dense_loss(logits, target).backward()
    assert not logits.grad[target == -1].any()
    assert logits.grad[target == 1].all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_dense_does_not_depend_on_the_order_of_tokens_or_concepts(seed: int):
    logits, target = _logits(seed), _target(seed + 1)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    columns = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    mixed = dense_loss(logits[rows][:, columns], target[rows][:, columns])
    assert torch.isclose(dense_loss(logits, target), mixed, atol=1e-5)


def test_dense_counts_one_lesion_token_as_much_as_all_the_others():
    target = torch.zeros(101, 1, dtype=torch.int8)
    target[0] = 1
    loss = dense_loss(torch.zeros(101, 1), target, hard=0.0)
    assert torch.isclose(loss, 2 * torch.log(torch.tensor(2.0)))


def test_rivalry_is_the_mean_over_findings_not_over_tokens():
    logits = _logits(3, 12, 4)
    kind = torch.tensor([0] * 9 + [1] * 2 + [-1])
    rivals = torch.arange(4)
    first = functional.cross_entropy(logits[:9], kind[:9])
    second = functional.cross_entropy(logits[9:11], kind[9:11])
    assert torch.isclose(rivalry_loss(logits, kind, rivals), (first + second) / 2)


def test_rivalry_without_a_finding_is_zero():
    assert rivalry_loss(_logits(4), torch.full((40,), -1), torch.arange(5)) == 0


def test_pointing_is_minus_the_log_share_of_the_present_tokens():
    logits = _logits(5, 12, 2)
    target = torch.zeros(12, 2, dtype=torch.int8)
    target[:3, 0], target[3:5, 0] = 1, -1
    said = torch.cat([logits[:3, 0], logits[5:, 0]])
    share = torch.softmax(said, 0)[:3].sum()
    assert torch.isclose(pointing_loss(logits, target), -share.log())
    assert pointing_loss(logits, torch.zeros_like(target)) == 0


def _unit(seed: int, rows: int = 6) -> torch.Tensor:
    return functional.normalize(_logits(seed, rows, 16), dim=1)


def test_fvlm_reduces_to_infonce_when_every_text_differs():
    images, texts, scale = _unit(5), _unit(6), torch.tensor(7.0)
    similarity = scale * images @ texts.T
    truth = torch.arange(6)
    infonce = functional.cross_entropy(similarity, truth)
    infonce = infonce + functional.cross_entropy(similarity.T, truth)
    assert torch.isclose(fvlm_loss(images, texts, truth, scale), infonce / 2, atol=1e-5)


def test_fvlm_does_not_push_normals_apart():
    """All normal and all alike is the optimum; without calibration it would cost log n."""
    vector = _unit(7, 1).expand(4, -1)
    assert abs(float(fvlm_loss(vector, vector, torch.zeros(4), torch.tensor(10.0)))) < 1e-5
    assert fvlm_loss(vector, vector, torch.arange(4), torch.tensor(10.0)) > 1.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_fvlm_is_never_negative_and_blind_to_the_order_of_patients(seed: int):
    images, texts = _unit(seed), _unit(seed + 1)
    meaning = torch.randint(0, 3, (6,), generator=torch.Generator().manual_seed(seed))
    loss = fvlm_loss(images, texts, meaning, torch.tensor(5.0))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    mixed = fvlm_loss(images[order], texts[order], meaning[order], torch.tensor(5.0))
    assert loss > -1e-5
    assert torch.isclose(loss, mixed, atol=1e-5)
