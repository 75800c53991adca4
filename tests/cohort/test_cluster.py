"""How many workers fit, from the models' own estimates."""

from __future__ import annotations

import pytest

from napari_ctvlp.cohort.cluster import fitting, needed_bytes
from napari_ctvlp.cohort.inputs import Input

GB = 2**30
#: A chest CT of the usual size, 512 x 512 x 400 voxels and 40 litres.
CHEST = Input("chest.nii.gz")


@pytest.mark.parametrize(
    ("cores", "free_gb", "gpus", "scans", "workers"),
    [
        (2, 24, 0, 300, 2),
        (16, 24, 0, 300, 16),
        (64, 24, 0, 300, 18),
        (16, 4, 0, 300, 3),
        (16, 1, 0, 300, 1),
        (16, 24, 1, 300, 1),
        (16, 24, 4, 300, 4),
        (16, 24, 4, 2, 2),
    ],
)
def test_workers_are_as_many_as_cores_memory_and_gpus_allow(cores, free_gb, gpus, scans, workers):
    need = needed_bytes(CHEST, ("mini", "anatomy"))
    assert 1.0 < need / GB < 1.4, "the estimate of the cards has changed: so does the table"
    assert fitting([need] * scans, cores, free_gb * GB, gpus) == workers


def test_the_larger_model_of_a_run_counts():
    alone = needed_bytes(CHEST, ("anatomy",))
    assert needed_bytes(CHEST, ("fvlm", "anatomy")) > alone
    assert fitting([needed_bytes(CHEST, ("fvlm", "anatomy"))] * 50, 64, 24 * GB) == 10


def test_a_scan_that_never_fits_holds_nobody_back():
    """A broken header may state terabytes: that scan is refused when its turn comes."""
    small = needed_bytes(CHEST, ("mini", "anatomy"))
    huge = needed_bytes(Input("huge.nii", voxels=32767**3), ("mini", "anatomy"))
    assert fitting([small, huge, small, small], 8, 24 * GB) == 4
    assert fitting([huge], 8, 24 * GB) == 1
