"""Which words are hidden, and how often."""

from __future__ import annotations

import pytest
import torch

from napari_ctvlp.training.objectives.masking import SPARED, Masked, mask_entities

MASK, VOCABULARY = 4, 1000


def hide(rows: int = 50, seed: int = 0, often: float = 0.5, seldom: float = 0.05) -> Masked:
    """Each row: first token, ten words of two tokens, last token; every third word an entity."""
    words = torch.tensor([0, *[w for w in range(1, 11) for _ in (0, 1)], 11]).expand(rows, -1)
    special = (words == 0) | (words == 11)
    entity = (words % 3 == 0) & (torch.arange(22) % 2 == 1)
    ids = 5 + torch.arange(22).expand(rows, -1)
    generator = torch.Generator().manual_seed(seed)
    return mask_entities(
        ids, words, entity, special, mask=MASK, vocabulary=VOCABULARY, generator=generator,
        often=often, seldom=seldom,
    )  # fmt: skip


def test_whole_words_and_never_a_special_token():
    got = hide()
    hidden = got.labels != SPARED
    assert not hidden[:, [0, -1]].any()
    assert torch.equal(hidden[:, 1:-1:2], hidden[:, 2:-1:2])
    ids = 5 + torch.arange(22).expand(50, -1)
    assert torch.equal(got.ids[~hidden], ids[~hidden])
    assert torch.equal(got.labels[hidden], ids[hidden])


def test_certain_entities_and_nothing_else():
    hidden = hide(often=1.0, seldom=0.0).labels != SPARED
    words = torch.tensor([0, *[w for w in range(1, 11) for _ in (0, 1)], 11])
    assert torch.equal(hidden, ((words > 0) & (words % 3 == 0)).expand(50, -1))


@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_equal_rates_are_plain_masking(rate: float):
    """Of 50 000 words the share is within four standard deviations."""
    got = hide(rows=5000, often=rate, seldom=rate)
    share = (got.labels[:, 1:-1:2] != SPARED).float().mean()
    assert abs(float(share) - rate) < 4 * (rate * (1 - rate) / 50_000) ** 0.5


def test_four_in_five_hidden_tokens_show_the_mask():
    got = hide(rows=3000, often=1.0, seldom=1.0)
    shown = got.ids[:, 1:-1]
    assert float((shown == MASK).float().mean()) == pytest.approx(0.8, abs=0.01)
    assert float((shown == got.labels[:, 1:-1]).float().mean()) == pytest.approx(0.1, abs=0.01)


def test_the_seed_decides():
    assert torch.equal(hide(seed=1).labels, hide(seed=1).labels)
    assert not torch.equal(hide(seed=1).labels, hide(seed=2).labels)
