"""A peak is judged against what should score lower; nothing is supported for want of a doubt."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from napari_ctvlp.core import absence, ensemble, grounding
from napari_ctvlp.core.absence import CLUES, Calibration, Others
from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.encoding import TextVector, TokenGrid
from napari_ctvlp.core.extent import cut_organs, cut_share, out_of_view
from napari_ctvlp.core.geometry import ipl_affine
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.scan import Scan, Source

SHAPE, STEP = (20, 24, 40), (4.0, 4.0, 4.0)
AFFINE = ipl_affine(STEP, (0, 0, 0))
LEFT, RIGHT = (10, 12, 30), (10, 12, 9)
ONE = TextVector(np.array([1, 0], np.float32), -4.0)
TWO = TextVector(np.array([0, 1], np.float32), -4.0)
FLAT = TextVector(np.zeros(2, np.float32), -4.0)


@pytest.fixture(scope="module")
def anatomy():
    labels = np.ones(SHAPE, np.uint8)
    labels[4:16, 5:19, 24:36] = 2
    labels[4:16, 5:19, 4:16] = 3
    labels[4:, 10:14, 18:22] = 4
    scan = Scan(np.zeros(SHAPE, np.int16), AFFINE, Source((), SHAPE, AFFINE))
    names = [(1, "soft_tissue"), (2, "lung_left"), (3, "lung_right"), (4, "heart"), (5, "liver")]
    return anatomy_from_labels(labels, scan, names, source="drawn")


def grid_with(*places, channel=0):
    tokens = np.zeros((*SHAPE, 2), np.float32)
    for i, p, l in places:  # noqa: E741
        tokens[i - 1 : i + 2, p - 1 : p + 2, l - 1 : l + 2, channel] = 8
    return TokenGrid(tokens, AFFINE, np.ones(SHAPE, bool))


def seen(grid, anatomy, text="nodule", vector=ONE, **others):
    heat = grounding.heatmap(
        grid, vector, parse(text), anatomy, model="mini",
        settings={"concepts": ["nodule", "mass"]}, background=(FLAT,),
    )  # fmt: skip
    return heat, absence.clues(heat, grid, anatomy, Others((FLAT,), **others), "nodule")


def calibrated(**slopes):
    weights = tuple(slopes.get(name, 0.0) for name in CLUES)
    return Calibration(
        "mini", "w", (0.0,) * len(CLUES), (1.0,) * len(CLUES), weights, 0.0, {"mass": 1.0},
        0.7, 0.3, 0.1, 0.1, 3, 10, 90, "2026-11-25", "phantoms",
    )  # fmt: skip


def test_a_peak_stands_out_of_everything_it_is_compared_with(anatomy):
    _, found = seen(grid_with(LEFT), anatomy, denied=FLAT, rivals={"effusion": TWO})
    assert set(found) == set(CLUES)
    assert all(found[name] > 2 for name in ("denied", "neutral", "rival", "mirror", "elsewhere"))


def test_the_other_side_looking_alike_speaks_against_a_peak(anatomy):
    alone, both = (seen(g, anatomy)[1] for g in (grid_with(LEFT), grid_with(LEFT, RIGHT)))
    assert alone["mirror"] > 2 > 0.5 > abs(both["mirror"])
    assert alone["level"] == pytest.approx(both["level"])


def test_another_finding_that_fits_better_speaks_against_a_peak(anatomy):
    grid = grid_with(LEFT)
    _, weak = seen(grid, anatomy, rivals={"effusion": replace(ONE, bias=0.0)})
    _, none = seen(grid, anatomy, rivals={"effusion": TWO})
    assert weak["rival"] < 0 < none["rival"]
    _, own = seen(grid, anatomy, rivals={"nodule": replace(ONE, bias=0.0)})
    assert math.isnan(own["rival"])


def test_what_is_not_there_to_compare_with_says_nothing(anatomy):
    _, found = seen(grid_with((10, 12, 20)), anatomy)
    assert math.isnan(found["mirror"])
    assert math.isnan(found["denied"])
    sure = calibrated(mirror=5.0)
    assert sure.probability(found, "nodule") == pytest.approx(0.5)


def test_three_answers_with_a_sentence_and_a_number(anatomy):
    heat, found = seen(grid_with(LEFT), anatomy)
    answers = {
        slope: absence.judged(heat, found, calibrated(mirror=slope), anatomy)
        for slope in (2.0, 0.05, -2.0)
    }
    assert [heat.verdict for heat in answers.values()] == ["present", "cannot tell", "absent"]
    for heat in answers.values():
        assert f"{heat.support:.0%}" in heat.reason
    assert "false alarms at this level: 10%" in answers[2.0].reason
    assert answers[2.0].naive == seen(grid_with(LEFT), anatomy)[0].verdict


def test_a_denied_phrase_gets_the_margin_of_absence(anatomy):
    known = calibrated(mirror=2.0)
    said, denied = (
        absence.judged(*seen(grid_with(LEFT), anatomy, text), known, anatomy)
        for text in ("nodule", "no nodule")
    )
    assert denied.support == said.support
    assert denied.margin == pytest.approx(-said.margin)
    assert denied.reason.startswith(grounding.DENIED)


def test_without_a_calibration_the_cards_thresholds_answer(anatomy):
    heat, found = seen(grid_with(LEFT), anatomy)
    judged = absence.judged(heat, found, None, anatomy)
    assert (judged.verdict, judged.reason) == (heat.verdict, heat.reason)
    assert math.isnan(judged.support)
    assert judged.clues == found


def test_a_cut_organ_is_not_called_free(anatomy):
    assert cut_share(anatomy, "heart") == 1.0
    assert cut_share(anatomy, "lung_left") == 0.0
    assert "part of the heart" in cut_organs(parse("nodule in the heart"), anatomy)
    heat, found = seen(grid_with(LEFT), anatomy)
    heat = replace(heat, phrase=replace(heat.phrase, anatomy="heart"))
    told = absence.judged(heat, found, calibrated(mirror=-2.0), anatomy)
    assert told.verdict == "cannot tell"


def test_an_organ_out_of_view_cannot_be_judged(anatomy):
    assert "liver is not in this scan" in out_of_view(parse("liver cyst"), anatomy)
    assert out_of_view(parse("nodule in the left lung"), anatomy) == ""
    heat, found = seen(grid_with(LEFT), anatomy, "liver cyst")
    told = absence.judged(heat, found, calibrated(mirror=2.0), anatomy)
    assert told.verdict == "cannot tell"
    assert told.doubt in told.reason


def test_a_calibration_is_what_was_written():
    known = calibrated(mirror=1.0)
    assert Calibration.of(asdict(known)) == known
    assert known.probability({}, "mass") > known.probability({}, "nodule") == 0.5


def test_the_mean_of_wordings_is_the_mean_of_their_maps(anatomy):
    grid = grid_with(LEFT)
    other = TextVector(np.array([0.5, 0.2], np.float32), -2.0)
    mixed = grounding.similarity(grid, ensemble.mean([ONE, other]))
    each = [grounding.similarity(grid, vector) for vector in (ONE, other)]
    np.testing.assert_allclose(mixed, np.mean(each, axis=0), rtol=1e-5)
    assert ensemble.mean([ONE]).vector.tolist() == ONE.vector.tolist()


def test_each_wording_is_read_at_the_peak_of_their_mean(anatomy):
    grid = grid_with(LEFT)
    heat, _ = seen(grid, anatomy)
    low = TextVector(np.array([0.2, 0], np.float32), -4.0)
    said = ensemble.spread(heat, grid, ["a", "b"], [ONE, low], sigma_mm=4.0)
    assert said[0].value == pytest.approx(heat.peak, rel=1e-3)
    assert said[1].value < 0.2
    assert ensemble.flips(said, 0.5)
    assert not ensemble.flips(said[:1], 0.5)


def test_templates_of_a_card():
    card = {"templates": {"present": ["{}", "there is {}"], "absent": ["no {}"]}}
    assert ensemble.filled(card, "nodule.", "present") == ("nodule", "there is nodule")
    assert ensemble.filled(card, "nodule", "absent") == ("no nodule",)
    assert ensemble.filled({}, "nodule", "present") == ("nodule",)
    assert ensemble.filled({}, "nodule", "absent") == ()
