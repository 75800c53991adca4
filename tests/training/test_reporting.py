"""Reports of crops: what is said is true of the crop, and vectors belong to their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ctvlp.training.batch import BatchMaker, Source, join
from napari_ctvlp.training.config import Plan
from napari_ctvlp.training.data import IGNORE, Chest
from napari_ctvlp.training.reporting import Reporter, in_view, meaning, unsure
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, FINDINGS, Painted
from napari_ctvlp.training.synthesis.crops import Crop, CropMaker
from napari_ctvlp.training.synthesis.reports import Sentence
from napari_ctvlp.training.targets import concepts


def embed(texts: Sequence[str]) -> np.ndarray:
    """One direction per text, by its letters."""
    rows = [np.bincount(np.frombuffer(t.encode(), np.uint8), minlength=384)[:384] for t in texts]
    return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


@pytest.fixture
def crop(small_chest: Chest) -> Crop:
    maker = CropMaker([small_chest])
    made = next(c for c in (maker.make(n, 0.0, ["nodule"]) for n in range(20)) if c.painted)
    made.flags.zero_()
    return made


def test_what_is_painted_is_said_and_nothing_else_is_present(crop: Crop):
    said = Reporter(embed).sentences(crop, 1)
    present = {s.finding for s in said if s.state in ("present", "uncertain")}
    assert present == {p.finding for p in crop.painted} == {"nodule"}
    assert {s.organ for s in said} >= set(in_view(crop))


def test_arrays_belong_to_the_sentences(crop: Crop):
    reporter = Reporter(embed)
    arrays, said = reporter.arrays(crop, 5), reporter.sentences(crop, 5)
    assert arrays["texts"] == tuple(s.text for s in said)
    assert np.array_equal(arrays["vectors"], embed(arrays["texts"]))
    assert [ANATOMIES[n] for n in arrays["organ"]] == [s.organ for s in said]
    assert arrays["meaning"].tolist() == [meaning(s) for s in said]


def test_meanings():
    nodule = Sentence("x", "liver", "nodule", "present")
    assert meaning(nodule) == meaning(replace(nodule, state="uncertain")) == 1
    assert meaning(replace(nodule, state="absent")) == 0
    assert meaning(Sentence("x", "liver")) == 0
    assert meaning(replace(nodule, finding="mass")) == 1 + concepts().index("mass")


def test_where_a_finding_was_left_out_nothing_is_called_normal(crop: Crop):
    assert "lung_left" in in_view(crop)
    fine = torch.nn.functional.interpolate((crop.organs == 1).float()[None, None], scale_factor=2)
    crop.flags[fine[0, 0] > 0] = IGNORE
    assert "lung_left" not in in_view(crop)
    assert unsure(crop) == FINDINGS
    crop.painted = ()
    said = Reporter(embed).sentences(crop, 1)
    assert all(s.organ != "lung_left" and s.state == "normal" for s in said)


def test_a_radiologists_report_is_kept_but_for_what_paint_made_untrue(crop: Crop):
    crop.painted = (Painted("nodule", "lung_left", "left", 12.0),)
    own = [
        Sentence("Left lung clear.", "lung_left"),
        Sentence("No nodule on the left.", "lung_left", "nodule", "absent"),
        Sentence("Cavity on the left.", "lung_left", "cavity", "present"),
        Sentence("Right lung clear.", "lung_right"),
        Sentence("Bladder stone.", "abdomen", "kidney_stone", "present"),
    ]
    crop.organs.fill_(0)
    crop.organs[:20], crop.organs[20:] = 1, 2
    said = Reporter(embed, {crop.case: own}).sentences(crop, 2)
    texts = [s.text for s in said]
    assert texts[:2] == ["Cavity on the left.", "Right lung clear."]
    assert [s.finding for s in said[2:]] == ["nodule"]


def test_batches_hold_what_objectives_read(small_chest: Chest):
    plan = Plan(size=32, batch=2, objectives={"biud": {"weight": 1.0}})
    maker = BatchMaker(Source([small_chest]), plan, Reporter(embed))
    batch = join([maker.make(n, 0.5) for n in (1, 2)], torch.device("cpu"))
    assert batch.organs is not None
    assert batch.organs.shape == (2, 16, 16, 16)
    assert batch.radiographs is not None
    assert batch.radiographs.shape == (2, 2, 32, 32)
    assert float(batch.radiographs.amin()) >= 0
    for one in batch.sentences:
        assert len(one.texts) == len(one.vectors) == len(one.organ) == len(one.meaning)


def test_dense_alone_writes_no_reports(small_chest: Chest):
    made = BatchMaker(Source([small_chest]), Plan(size=16)).make(0, 0.0)
    assert set(made) == {"hu", "place", "rows"}
