"""Contrast by anatomy: what it must be, and the released code's numbers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_ctvlp.training.objectives.contrast import Memory, contrast, same
from napari_ctvlp.training.objectives.fvlm import complete, fvlm_loss, meanings

SCALE = torch.tensor(7.0)


def unit(seed: int, rows: int = 6, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, width, generator=generator), dim=1)


def test_meanings_join_normals_and_equal_texts():
    texts = ["fine", "fine. Old scar", "mass", "mass", "cyst"]
    assert meanings(texts, [True, True, False, False, False]).tolist() == [0, 0, 1, 1, 2]


def test_an_organ_on_a_face_or_absent_does_not_count():
    organs = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    organs[0, 2, 2, 2], organs[0, 0, 3, 3], organs[0, 3, 3, 5] = 1, 2, 4
    assert complete(organs, 4).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("meaning", [[0], [0, 0, 0], [3, 3]])
def test_nothing_to_tell_apart_is_zero_without_a_gradient(meaning: list[int]):
    vectors = unit(0, len(meaning)).requires_grad_()
    loss = fvlm_loss(vectors, vectors, torch.tensor(meaning), SCALE)
    assert float(loss) == 0
    assert not loss.requires_grad


def test_a_text_with_half_its_target_elsewhere_costs_the_entropy_at_least():
    meaning = torch.tensor([0, 0, 1, 2])
    both = unit(1, 3)[[0, 0, 1, 2]]
    loss = fvlm_loss(both, both, meaning, torch.tensor(200.0))
    assert torch.isclose(loss, torch.tensor(2.0).log() / 2, atol=1e-3)


def test_the_gradient_is_share_minus_target():
    images, meaning = torch.eye(4)[:, :].requires_grad_(), torch.tensor([0, 0, 1, 2])
    texts = unit(2, 4, 4)
    fvlm_loss(images, texts, meaning, SCALE).backward()
    similarity = SCALE * images.detach() @ texts.T
    target = same(meaning).float()
    target /= target.sum(1, keepdim=True)
    wrong = (similarity.softmax(1) - target) + (similarity.T.softmax(1) - target).T
    assert torch.allclose(images.grad, SCALE * wrong @ texts / 8, atol=1e-5)


def test_a_past_of_other_organs_texts_is_only_more_columns():
    images, texts, past = unit(3), unit(4), (unit(5, 3), unit(6, 3))
    meaning, past_meaning = torch.tensor([0, 0, 1, 2, 3, 4]), torch.tensor([0, 9, 1])
    got = fvlm_loss(images, texts, meaning, SCALE, past=past, past_meaning=past_meaning)
    target = same(meaning, past_meaning).float()
    target /= target.sum(1, keepdim=True)
    rows = functional.cross_entropy(SCALE * images @ torch.cat([texts, past[1]]).T, target)
    columns = functional.cross_entropy(SCALE * texts @ torch.cat([images, past[0]]).T, target)
    assert torch.isclose(got, (rows + columns) / 2, atol=1e-5)


def test_a_peer_that_agrees_moves_the_target_and_gets_no_gradient():
    images, texts, meaning = unit(7), unit(8), torch.arange(6)
    peer = (SCALE * unit(9) @ unit(10).T).requires_grad_()
    alone = fvlm_loss(images, texts, meaning, SCALE)
    assert torch.isclose(fvlm_loss(images, texts, meaning, SCALE, peer=peer, alpha=1.0), alone)
    theirs = peer.detach()
    rows = functional.cross_entropy(SCALE * images @ texts.T, theirs.softmax(1))
    columns = functional.cross_entropy(SCALE * texts @ images.T, theirs.T.softmax(1))
    got = fvlm_loss(images.requires_grad_(), texts, meaning, SCALE, peer=peer, alpha=0.5)
    assert torch.isclose(got, (alone + (rows + columns) / 2) / 2, atol=1e-5)
    got.backward()
    assert peer.grad is None


def test_a_dropped_pair_is_neither_pulled_nor_pushed():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    drop = torch.zeros(4, 4, dtype=torch.bool)
    drop[0, 1] = drop[1, 0] = True
    contrast(logits, torch.eye(4), torch.eye(4), 1.0, drop=drop).backward()
    assert (logits.grad[drop] == 0).all()
    assert (logits.grad[~drop] != 0).all()


@pytest.mark.parametrize("scale", [2.0, 1000.0])
def test_half_precision_stays_finite(scale: float):
    images = unit(11).bfloat16().requires_grad_()
    loss = fvlm_loss(images, unit(12).bfloat16(), torch.arange(6), torch.tensor(scale))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(images.grad).all()


def test_memory_keeps_the_last_and_survives_a_checkpoint():
    memory = Memory(4, (16, 16))
    for step in range(3):
        group = torch.tensor([step % 2, step % 2])
        memory.add(unit(step, 2), unit(step + 9, 2), group, torch.tensor([step, step]))
    images, texts, meaning = memory.of(0)
    assert torch.equal(images, unit(2, 2))
    assert torch.equal(texts, unit(11, 2))
    assert meaning.tolist() == [2, 2]
    again = Memory(4, (16, 16))
    again.load_state_dict(memory.state_dict())
    for one in (memory, again):
        one.add(unit(5, 1), unit(6, 1), torch.tensor([7]), torch.tensor([1]))
    assert all(torch.equal(a, b) for a, b in zip(memory.buffers(), again.buffers(), strict=True))
    assert memory.of(1)[2].tolist() == [1]
