"""Attention of small copies of published encoders: geometry, both directions, refusals in words."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.evidence.asking import place_attention
from napari_ctvlp.errors import InputRefused, ModelRefused


@pytest.fixture(scope="module")
def chest():
    scan = phantom((52, 44, 62), (6.0, 6.4, 6.0))
    return scan, verbs.segment(scan, "classical")


@pytest.fixture
def hosted(hosting, tmp_path, monkeypatch):
    yield lambda model: hosting.host(model, tmp_path, monkeypatch)
    verbs.forget()


@pytest.mark.parametrize(("model", "layers", "heads"), [("fvlm", 12, 4), ("colipri", 1, 2)])
def test_a_place_looks_mostly_at_itself_where_weights_are_random(
    model, layers, heads, chest, hosted
):
    hosted(model)
    scan, anatomy = chest
    centre = transform(scan.affine, (np.array(scan.shape) - 1) / 2)
    point = tuple(float(v) for v in centre + np.array((55, 10, 5)))
    known = {}
    for direction in ("from", "to"):
        found = place_attention(scan, point, direction=direction, anatomy=anatomy, model=model)
        assert found.heads.shape[:2] == (layers, heads)
        assert np.unravel_index(found.rollout.argmax(), found.rollout.shape) == found.cell
        edges = np.linalg.norm(found.affine[:3, :3], axis=0)
        away = np.abs(transform(found.affine, found.cell) - point)
        assert (away <= np.sort(edges)[::-1][0] / 2 + 0.01).all()
        known[direction] = found
    one = known["from"]
    np.testing.assert_allclose(one.heads.sum((2, 3, 4)), 1, rtol=1e-4)
    assert one.rollout.sum() == pytest.approx(1, rel=1e-4)
    own = (..., *one.cell)
    np.testing.assert_allclose(one.heads[own], known["to"].heads[own], rtol=1e-3)
    np.testing.assert_array_equal(one.map(0, 1), one.heads[0, 1])
    with pytest.raises(InputRefused, match="outside"):
        place_attention(scan, (900.0, 0.0, 0.0), anatomy=anatomy, model=model)


def test_an_encoder_without_attention_says_so(chest):
    scan, anatomy = chest
    with pytest.raises(ModelRefused, match="mini is not one"):
        place_attention(scan, (0.0, 0.0, 0.0), anatomy=anatomy)
