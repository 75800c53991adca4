"""Location words restrict the search to a part of the lungs, and the gate says which."""

import numpy as np
import pytest

from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.grounding import gate
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.zones import zones_of
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.segmenters.classical import ClassicalSegmenter


@pytest.fixture(scope="module")
def chest_anatomy():
    scan = phantom((78, 56, 76), (4.0, 4.5, 4.5))
    return ClassicalSegmenter().segment(scan, compute=Compute())


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        ("peripheral nodule", ("rim",)),
        ("apical pneumothorax", ()),
        ("pneumothorax, apical", ("apex",)),
        ("nodule at the right lung base", ("base",)),
        ("basal consolidation", ("base",)),
        ("perihilar ground glass opacity in the lungs", ("core",)),
        ("peripheral lesion of the liver", ()),
        ("nodule in the left upper lobe", ()),
        ("nodule in the left lung", ()),
    ],
)
def test_the_zone_is_read_from_the_phrase(text, zones):
    assert zones_of(parse(text)) == zones


def searched(text, anatomy):
    told, allowed = gate(parse(text), anatomy, anatomy.labels.shape, anatomy.affine)
    lungs = np.isin(anatomy.labels, [anatomy.by_name[f"lung_{s}"].id for s in ("left", "right")])
    places = transform(anatomy.affine, np.argwhere(lungs & allowed))
    return told.words, places, (lungs & allowed).sum() / lungs.sum()


def test_opposite_words_search_opposite_parts_and_say_so(chest_anatomy):
    base, low, _ = searched("basal consolidation", chest_anatomy)
    top, high, _ = searched("consolidation, apical", chest_anatomy)
    assert "roughly the lower half of the lungs" in base
    assert "upper third" in top
    assert low[:, 2].mean() < high[:, 2].mean() - 60
    _, behind, _ = searched("posterior consolidation", chest_anatomy)
    _, before, _ = searched("anterior consolidation", chest_anatomy)
    assert behind[:, 1].mean() < before[:, 1].mean() - 20


def test_rim_and_core_are_parts_of_the_lungs(chest_anatomy):
    for text in ("subpleural consolidation", "perihilar consolidation"):
        words, places, share = searched(text, chest_anatomy)
        assert "roughly" in words
        assert len(places)
        assert 0.05 < share < 0.95, text


def test_a_cut_lung_is_searched_whole():
    scan = phantom((20, 56, 76), (4.0, 4.5, 4.5))
    anatomy = ClassicalSegmenter().segment(scan, compute=Compute())
    words, _ = gate(parse("basal consolidation"), anatomy, anatomy.labels.shape, anatomy.affine)
    assert "roughly" not in words.words
