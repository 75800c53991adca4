"""Attention of small copies of published encoders: geometry, both directions, refusals in words."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.evidence.asking import place_attention
from napari_ctvlp.engine.evidence.attention import attend
from napari_ctvlp.engine.evidence.probe import Probe
from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import ct_clip, ct_clip_net, visd_boost, visd_boost_net
from napari_ctvlp.models.protocol import Compute


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


def test_windows_side_by_side_leave_no_place_between_them(chest, hosted):
    hosted("colipri")
    scan, anatomy = chest
    encoder = Probe.of("nodule", "colipri", "cpu").encoder
    encoder.card = replace(encoder.card, settings={**encoder.card.settings, "field": "whole"})
    low = transform(scan.affine, (np.array(scan.shape) - 1) / 2) - (0, 0, 80)
    frame = encoder.attention_frame(scan, anatomy, tuple(low.tolist()))
    face = transform(frame.affine, np.array(frame.shape) - (1, 1, 0.5))[2]
    starts = set()
    for beside in (-0.4, 0.4):
        point = (float(low[0]), float(low[1]), float(face + beside))
        frame = encoder.attention_frame(scan, anatomy, point)
        assert frame.holds(point)
        starts.add(tuple(frame.affine[:3, 3].tolist()))
    assert len(starts) == 2


TEXT = {"text_width": 16, "text_layers": 1, "text_heads": 2, "text_inner": 16, "vocabulary": 30}


@pytest.mark.parametrize("model", ["ct_clip", "visd_boost"])
def test_slabs_and_organ_cells_lie_where_the_place_is(model, chest):
    scan, _ = chest
    labels = np.where(scan.hu < -500, 2, 1).astype(np.uint8)
    labels[20:30, 15:30, 20:45] = 3
    names = [(1, "soft_tissue"), (2, "lung_left"), (3, "heart")]
    anatomy = anatomy_from_labels(labels, scan, names, source="drawn")
    torch.manual_seed(0)
    encoder, organ = small(model)
    point = tuple(transform(scan.affine, (25.0, 22.0, 32.0)).tolist())
    for to in (False, True):
        found = attend(encoder, scan, anatomy, point, to=to, organ=organ)
        assert np.unravel_index(found.rollout.argmax(), found.rollout.shape) == found.cell
        halves = np.linalg.norm(found.affine[:3, :3], axis=0)[::-1] / 2
        assert (np.abs(transform(found.affine, found.cell) - point) <= halves + 0.01).all()
        assert to or (found.heads.sum((2, 3, 4)) > 0.9).all()
        assert found.heads.shape[0] == {"ct_clip": 4, "visd_boost": 2}[model]
    known = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert known() is None, "what is kept for the next place does not hold the network"


def small(model):
    """Return an encoder with random weights, and the organ to look at."""
    card = store.card(model)
    if model == "ct_clip":
        net = ct_clip_net.CtClip(ct_clip_net.Sizes(
            image=(40, 96, 96), patch=(10, 24, 24), width=32, codes=16, spatial=2, temporal=2,
            heads=2, head_width=8, shared=16, **TEXT,
        ))  # fmt: skip
        return ct_clip.CtClip(card, net.eval(), None, Compute()), ""
    sizes = visd_boost_net.Sizes(widths=(8, 8, 16, 16), latent=32, inner=32, **TEXT)
    net = visd_boost_net.VisdBoost(sizes).eval()
    return visd_boost.VisdBoost(card, net, None, Compute()), "heart"


def test_an_encoder_without_attention_says_so(chest):
    scan, anatomy = chest
    with pytest.raises(ModelRefused, match="mini is not one"):
        place_attention(scan, (0.0, 0.0, 0.0), anatomy=anatomy)
