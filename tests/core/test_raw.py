"""Phrases on grids of cosines and splits: which organ is read, and what may be claimed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ctvlp.core import raw
from napari_ctvlp.core.anatomy import AnatomyMap, Organ
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.geometry import coarse_affine, ipl_affine
from napari_ctvlp.core.parser import parse
from napari_ctvlp.errors import ModelRefused

SHAPE, AFFINE = (8, 8, 8), ipl_affine((16, 16, 16), (-64, -64, -64))
SETTINGS = {
    "maps": {"default": "split"},
    "organs": {"lung": ["lung_left", "lung_right"], "heart": ["heart"]},
    "routes": {"default": "lung", "findings": {"lymph_node": "heart"}},
}
#: Looks for the first of three channels.
FIRST = TextVector(np.array([1, 0, 0], np.float32))


@pytest.fixture
def anatomy():
    """Return two lungs side by side with a heart in one corner, on a grid twice as fine."""
    labels = np.full((16, 16, 16), 1, np.uint8)
    labels[..., 8:] = 2
    labels[:2, :2, :2] = 3
    rows = [(1, "lung_right"), (2, "lung_left"), (3, "heart")]
    table = tuple(Organ(number, name, 1.0, 0.0, True) for number, name in rows)
    return AnatomyMap(labels, coarse_affine(AFFINE, 0.5), table, "drawn")


@pytest.fixture
def encoding():
    rng = np.random.default_rng(5)
    tokens = rng.normal(size=(*SHAPE, 3)).astype(np.float32)
    tokens[4, 4, 6] = (9, 9, 9)
    valid = np.ones(SHAPE, bool)
    valid[7] = False
    rest = np.array([2, 0, 0], np.float32)
    grids = (
        TokenGrid(tokens, AFFINE, valid, organ="lung", kind="split", rest=rest),
        TokenGrid(tokens, AFFINE, valid, organ="lung", kind="cosine"),
        TokenGrid(tokens * 2, AFFINE, valid, organ="heart", kind="split"),
    )
    return Encoding(grids, {}, "host", "", "scan")


@pytest.fixture
def ground(encoding, anatomy):
    def run(text, settings=SETTINGS, **options):
        return raw.ground(encoding, FIRST, parse(text), anatomy, settings=settings, **options)

    return run


def test_a_score_is_the_sum_of_its_split_and_the_rest(ground, encoding):
    heatmap = ground("nodule")
    whole = encoding.grids[0].tokens[..., 0][encoding.grids[0].valid].sum() + 2
    assert heatmap.score == pytest.approx(float(whole), rel=1e-5)
    assert np.isnan(heatmap.values[7]).all()
    assert heatmap.peak_index == (4, 4, 6)
    assert heatmap.full_scale == heatmap.peak == 9


@pytest.mark.parametrize(
    ("text", "organ"),
    [("nodule", "lung"), ("nodule in the heart", "heart"), ("enlarged lymph node", "heart")],
)
def test_a_phrase_is_read_where_it_belongs(ground, text, organ):
    assert ground(text).organ == organ
    assert f"window of the {organ}" in ground(text).gate.words


def test_an_organ_the_model_lacks_is_not_looked_for_elsewhere(ground):
    heatmap = ground("cyst in the liver")
    assert heatmap.verdict == "cannot tell"
    assert "knows no liver, only these organs: lung, heart" in heatmap.reason
    assert heatmap.peak_ras is None


def test_a_side_is_searched_by_parts_of_cells(ground):
    heatmap = ground("nodule in the right lung")
    assert heatmap.peak_index[2] < 5
    assert heatmap.values[4, 4, 6] == 9


def test_without_a_threshold_nothing_is_claimed(ground):
    heatmap = ground(
        "nodule", kind="cosine", background=[TextVector(np.eye(3, dtype=np.float32)[1])]
    )
    assert heatmap.verdict == "cannot tell"
    assert "highest cosine is 9 (neutral phrases reach it with p = 1.00)" in heatmap.reason
    assert np.isnan(heatmap.margin)


@pytest.mark.parametrize(
    ("present", "absent", "verdict"),
    [(8, 1, "present"), (20, 10, "absent"), (20, 1, "cannot tell")],
)
def test_thresholds_of_the_card_decide(ground, present, absent, verdict):
    settings = {**SETTINGS, "thresholds": {"present": present, "absent": absent}}
    assert ground("nodule", settings).verdict == verdict
    denied = ground("no nodule", settings)
    assert denied.reason.startswith("Not asserted")
    assert denied.margin == present - 9


def test_an_unknown_kind_of_map_is_refused(ground):
    with pytest.raises(ModelRefused, match="host has no maps of the kind 'logit'"):
        ground("nodule", kind="logit")
