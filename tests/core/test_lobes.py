"""Lobes named by a phrase: roughly right, and never claimed without a whole lung."""

import numpy as np
import pytest

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.grounding import gate
from napari_ctvlp.core.lobes import LOBES, lobe_field, lobe_of
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.segmenters.classical import ClassicalSegmenter


@pytest.fixture(scope="module")
def chest_anatomy():
    scan = phantom((78, 56, 76), (4.0, 4.5, 4.5))
    return ClassicalSegmenter().segment(scan, compute=Compute())


@pytest.mark.parametrize(
    ("text", "lobe"),
    [("nodule in the left lower lobe", "lower lobe"), ("RUL mass", "upper lobe"),
     ("nodules in both upper lobes", "upper lobe"), ("left lung nodule", ""),
     ("nodule in the right middle lobe", ""), ("upper lobe and lower lobe nodules", "")],
)  # fmt: skip
def test_the_lobe_is_read_from_the_phrase(text, lobe):
    assert lobe_of(parse(text)) == lobe


def test_lower_is_below_and_behind_upper_and_both_meet(chest_anatomy):
    lung = chest_anatomy.mask("lung_left")
    grid = (chest_anatomy.labels.shape, chest_anatomy.affine)
    lower, upper = (
        lobe_field(f"{one} lobe", "left", chest_anatomy, *grid) for one in ("lower", "upper")
    )
    assert (lower | upper).all()
    _, back, up = transform(chest_anatomy.affine, np.argwhere(lung & lower & ~upper)).mean(axis=0)
    _, front, top = transform(chest_anatomy.affine, np.argwhere(lung & upper & ~lower)).mean(axis=0)
    assert up < top - 50
    assert back < front - 10
    for part in (lower & ~upper, upper & ~lower):
        assert 0.15 < (lung & part).sum() / lung.sum() < 0.6


def test_the_gate_uses_the_lobe_and_says_so(chest_anatomy):
    grid = (chest_anatomy.labels.shape, chest_anatomy.affine)
    whole, everywhere = gate(parse("nodule in the left lung"), chest_anatomy, *grid)
    told, allowed = gate(parse("nodule in the left lower lobe"), chest_anatomy, *grid)
    assert "roughly the lower lobe" in told.words
    assert "lobe" not in whole.words
    assert (allowed <= everywhere).all()
    assert 0.3 < allowed.sum() / everywhere.sum() < 0.9


def test_a_cut_lung_has_no_lobes():
    scan = phantom((20, 56, 76), (4.0, 4.5, 4.5))
    anatomy = ClassicalSegmenter().segment(scan, compute=Compute())
    grid = (anatomy.labels.shape, anatomy.affine)
    assert all(lobe_field(lobe, "left", anatomy, *grid) is None for lobe in LOBES)
    assert "lobe" not in gate(parse("nodule in the left lower lobe"), anatomy, *grid)[0].words


def test_no_lungs_no_lobes(chest_anatomy):
    scan = phantom((20, 24, 28), (12.0, 12.0, 12.0))
    empty = anatomy_from_labels(np.zeros(scan.shape, np.uint8), scan, [(1, "x")], source="none")
    assert lobe_field("lower lobe", "left", empty, scan.shape, scan.affine) is None
