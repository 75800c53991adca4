"""Painted findings for the evaluation: a scan, its organs, and where the finding lies."""

import numpy as np
import pytest

from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.regions import side_mm
from napari_ctvlp.training.unseen import SEED, anatomy, sample
from napari_ctvlp.training.whole import painted_chests


@pytest.fixture(scope="module")
def painted(small_chest):
    return [*painted_chests([small_chest], ["nodule", "liver_cyst"], SEED, 2)]


def test_a_finding_without_a_place_in_any_ct_is_left_out(painted):
    assert [entry.finding for _, entry in painted] == ["nodule", "nodule"]


def test_a_sample_tells_what_was_painted_and_where(painted):
    for chest, entry in painted:
        found = sample(chest, entry)
        assert found.finding == "nodule"
        assert found.organ == f"lung_{found.side}"
        assert found.truth.shape == found.scan.shape
        middle = transform(found.scan.affine, np.argwhere(found.truth).mean(axis=0))
        assert (side_mm(found.anatomy, middle[None])[0] > 0) == (found.side == "left")
        assert found.scan.hu[found.truth].mean() > chest.hu[entry.voxels].mean() + 100


def test_sizes_can_be_asked_for(small_chest):
    for _, entry in painted_chests([small_chest], ["nodule"], SEED, 2, (5.0, 10.0)):
        assert 5 <= entry.made.size_mm <= 10


def test_nothing_painted_has_no_truth(small_chest):
    ((chest, entry),) = painted_chests([small_chest], [""], SEED, 1)
    found = sample(chest, entry)
    assert not found.truth.any()
    assert found.finding == found.organ == ""


def test_prepared_classes_become_organs(small_chest, painted):
    found = anatomy(small_chest, sample(*painted[0]).scan)
    assert found.has("lung_left")
    assert found.has("soft_tissue")
    assert not found.has("liver")
    left = np.argwhere(found.mask("lung_left"))[:, 2].mean()
    assert left > np.argwhere(found.mask("lung_right"))[:, 2].mean()
