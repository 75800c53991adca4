"""Attention of a small fVLM: from and to a place, by layer and head, in patient space."""

import numpy as np
import pytest
import torch

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine.evidence.attention import attend
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders.fvlm import Fvlm
from napari_ctvlp.models.encoders.fvlm_net import Fvlm as Network
from napari_ctvlp.models.encoders.fvlm_net import Sizes
from napari_ctvlp.models.encoders.prompts import Prompts
from napari_ctvlp.models.protocol import Compute

TEXT = {"width": 32, "layers": 1, "heads": 2, "inner": 32, "vocabulary": 60, "positions": 40}


@pytest.fixture(scope="module")
def chest():
    scan = phantom((48, 56, 76), (5.0, 4.5, 4.5))
    labels = np.ones(scan.shape, np.uint8)
    lung = scan.hu < -600
    labels[lung & (np.arange(76) >= 38)], labels[lung & (np.arange(76) < 38)] = 2, 3
    names = [(1, "soft_tissue"), (2, "lung_left"), (3, "lung_right")]
    return scan, anatomy_from_labels(labels, scan, names, source="drawn")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(5)
    network = Network(Sizes(48, 96, blocks=3, heads=4, shared=32, text=TEXT)).eval()
    for tower in (network.visual_encoder.patch_embedding,):
        torch.nn.init.normal_(tower.position_embeddings)
    return Fvlm(store.card("fvlm"), network, Prompts(None), Compute())


def test_where_a_place_looks_and_what_looks_at_it(encoder, chest):
    scan, anatomy = chest
    point = (-74.0, 0.0, 5.0)
    found = attend(encoder, scan, anatomy, point, organ="lung")
    back = attend(encoder, scan, anatomy, point, to=True, organ="lung")
    layers, heads, *shape = found.heads.shape
    assert (layers, heads) == (3, 4)
    assert found.rollout.shape == tuple(shape)
    np.testing.assert_allclose(found.heads.sum(axis=(2, 3, 4)), 1, rtol=1e-4)
    assert found.rollout.sum() == pytest.approx(1, rel=1e-4)
    assert np.abs(transform(found.affine, found.cell) - point).max() <= 24.0
    cell = found.cell
    np.testing.assert_allclose(found.heads[(..., *cell)], back.heads[(..., *back.cell)], rtol=1e-4)
    assert found.mean().shape == tuple(shape)
    assert np.unravel_index(found.rollout.argmax(), shape) == cell


def test_a_place_outside_the_window_is_refused(encoder, chest):
    with pytest.raises(InputRefused, match="outside"):
        attend(encoder, *chest, (900.0, 0.0, 0.0), organ="lung")
    with pytest.raises(InputRefused, match="heart"):
        attend(encoder, *chest, (0.0, 0.0, 0.0), organ="heart")
