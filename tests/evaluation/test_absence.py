"""False support, risk by coverage, and the fit, on numbers whose answer is known."""

import math

import numpy as np
import pytest

from napari_ctvlp.core.absence import CLUES
from napari_ctvlp.evaluation.absence import chart, layout
from napari_ctvlp.evaluation.absence.curves import false_support, interval, report, risk_coverage
from napari_ctvlp.evaluation.absence.fit import FITTED, fit
from napari_ctvlp.evaluation.absence.pairs import Pair
from napari_ctvlp.evaluation.runner import plain
from napari_ctvlp.evaluation.tables import text


def made(count=400, seed=0):
    """Peaks that say little, a comparison that says much, in four CTs."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        there = bool(rng.random() < 0.3)
        clues = dict.fromkeys(CLUES, math.nan)
        clues |= {"extent": rng.normal(0.3 * there, 1), "standing": rng.normal(3.0 * there, 1)}
        peak = 1 / (1 + math.exp(-clues["extent"]))
        finding = ("nodule", "mass")[number % 2]
        rows.append(Pair(f"ct{number % 4}", finding, there, peak, 0.5, clues, "", "", "present"))
    return rows


def test_false_support_at_a_sensitivity():
    there = np.array([True] * 10 + [False] * 10)
    scores = np.array([*range(10), *[0.5] * 9, 20.0])
    assert false_support(scores, there) == pytest.approx(0.1)
    assert false_support(scores, there, 1.0) == 1.0
    assert false_support(-scores, there) == pytest.approx(0.9)
    assert math.isnan(false_support(scores, np.ones(20, bool)))


def test_intervals_go_over_studies():
    there = np.array([True, False] * 20)
    scores = {"naive": np.tile([0.4, 0.6], 20), "check": np.tile([0.6, 0.4], 20)}
    found = interval(scores, there, np.repeat(np.arange(10).astype(str), 4))
    assert found == {"naive": (1.0, 1.0), "check": (0.0, 0.0), "difference": (1.0, 1.0)}
    noisy = {"naive": np.random.default_rng(0).random(40), "check": scores["check"]}
    low, high = interval(noisy, there, np.arange(40).astype(str))["difference"]
    assert 0 < low < high <= 1


def test_nan_is_the_lowest_score():
    there = np.array([True, True, False, False])
    assert false_support(np.array([1.0, 2.0, np.nan, 0.5]), there) == 0.0


def test_the_surest_answers_come_first():
    scores, there = np.array([3.0, -3.0, 0.5, -0.4]), np.array([True, False, False, True])
    curve = risk_coverage(scores, there, 0.0)
    assert curve["coverage"] == [0.5, 0.75, 1.0]
    assert curve["error"] == pytest.approx([0.0, 1 / 3, 0.5])
    assert curve["balanced"][0] == 0.0


def test_the_fit_finds_what_tells_and_keeps_its_false_alarm_level():
    known = fit(made(), "mini", "w", "numbers", false_alarm=0.1)
    slopes = dict(zip(CLUES, known.slopes, strict=True))
    assert slopes["standing"] > 3 * abs(slopes["extent"])
    assert slopes["height"] == pytest.approx(0, abs=1e-6)
    assert not any(slopes[name] for name in CLUES if name not in FITTED)
    assert (known.scans, known.positives + known.negatives) == (4, 400)
    fresh = made(2000, seed=9)
    called = [known.probability(p.clues, p.finding) >= known.present for p in fresh if not p.there]
    assert np.mean(called) <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 120)
    assert known.absent <= known.present


def test_more_of_a_clue_never_speaks_against_a_finding():
    turned = [Pair(**{**vars(p), "there": not p.there}) for p in made()]
    assert fit(turned, "mini", "w", "numbers").slopes == (0.0,) * len(CLUES)


def test_labels_without_meaning_give_no_support():
    rng = np.random.default_rng(3)
    rows = made()
    flags = rng.permutation([p.there for p in rows])
    shuffled = [Pair(**{**vars(p), "there": bool(f)}) for p, f in zip(rows, flags, strict=True)]
    known = fit(shuffled, "mini", "w", "numbers")
    told = [known.probability(p.clues, p.finding) for p in rows]
    assert np.std(told) < 0.15


def test_the_report_compares_with_the_naive_peak(tmp_path):
    known = fit(made(), "mini", "w", "numbers")
    found = plain(report(made(1000, seed=5), known))
    rates = {name: row["rate"] for name, row in found["false_support"].items()}
    assert rates["absence check"] < 0.5 * rates["naive peak"]
    answers = found["answers"]
    assert answers["absence check"]["error"] < answers["card's thresholds"]["error"]
    assert 0 <= answers["absence check"]["cannot_tell"] < 1
    assert "absence check" in text(layout.tables(found))
    chart.draw(found, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_doubts_are_not_asked_of_the_check():
    rows = [Pair(**{**vars(p), "doubt": "not in this scan"}) for p in made(40)] + made(200, 2)
    found = report(rows, fit(made(), "mini", "w", "numbers"))
    assert (found["pairs"], found["in_view"]) == (240, 200)
