"""Organ maps for training: those of our own segmenter are translated, others are taken as told."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.models.segmenters.mini import ID
from napari_ctvlp.training.data import NAMED, ORGAN_IDS, totalsegmentator


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label map as ``ctvlp segment`` writes it, its table beside it."""
    folder = tmp_path_factory.mktemp("organs")
    scan = phantom((40, 36, 48), (7.0, 7.4, 7.2))
    nibabel.loadsave.save(nibabel.Nifti1Image(scan.hu, scan.affine), folder / "ct.nii.gz")
    words = ["segment", str(folder / "ct.nii.gz"), "--out", str(folder / "map.nii.gz")]
    assert CliRunner().invoke(app, words).exit_code == 0
    return folder / "map.nii.gz"


def test_our_own_map_is_translated_by_its_table(segmented: Path):
    """In our numbering 1 is soft tissue: taken for TotalSegmentator's it would be spleen."""
    labels = np.asarray(nibabel.loadsave.load(segmented).dataobj, np.uint8)
    table = json.loads(segmented.with_name("map.json").read_text(encoding="utf-8"))
    drawn = {row["name"]: row["id"] for row in table["organs"] if (labels == row["id"]).any()}
    assert {"soft_tissue", "lung_left", "airways"} <= set(drawn)
    found = totalsegmentator(labels, segmented)
    for name, number in drawn.items():
        assert set(np.unique(found[labels == number])) == {NAMED.get(name, 0)}
    assert not found[labels == 0].any()


def test_any_other_map_is_taken_as_it_is(tmp_path: Path):
    labels = np.arange(118, dtype=np.uint8)
    assert np.array_equal(totalsegmentator(labels, tmp_path / "map.nii.gz"), labels)
    (tmp_path / "map.json").write_text('{"made by": "somebody else"}', encoding="utf-8")
    assert np.array_equal(totalsegmentator(labels, tmp_path / "map.nii.gz"), labels)


def test_names_and_numbers_agree_with_those_of_the_classes():
    known = {number for numbers in ORGAN_IDS.values() for number in numbers}
    assert set(NAMED.values()) <= known
    assert set(NAMED) <= {*ID, "airways"}
