"""What stands around the measuring: refusals, bars, the printed table."""

import pytest

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation.protocol import protocol
from napari_ctvlp.evaluation.runner import bars, run
from napari_ctvlp.evaluation.tables import table

SCORES = {"auroc": 0.9, "ap": 0.1, "cnr": 1.2, "ungated_auroc": 0.8, "ungated_cnr": None}


def row(**main):
    measured = {
        **SCORES,
        "phrase": "lung mass in the left lung",
        "iou": 0.1,
        "energy": 0.2,
        "dice": 0.3,
        "hit": True,
        "peak": 0.7,
        "peak_ras_mm": [1.0, 2.0, 3.0],
        "peak_mm": 2.0,
        "peak_hit": True,
        "ungated_peak_mm": 30.0,
        "ungated_peak_hit": False,
        "verdict": "present",
        **main,
    }
    base = {**SCORES, "auroc": 0.6, "peak_hit": False}
    means = {
        "phrases": 10,
        "auroc": 0.9,
        "auroc_95": [0.8, 0.95],
        "auroc_lowest": 0.7,
        "cnr": 1.0,
        "ap": 0.1,
        "peak_hits": 9,
        "ungated_peak_hits": 8,
    }
    return {
        "name": "LUNG1-001",
        "bar": True,
        "truth": "radiotherapy contour",
        "reference_ml": 156.0,
        "covered": 0.99,
        "lungs": {"left": 0.95, "right": 0.90},
        "main": measured,
        "baselines": {"random": {**base, "auroc_sd": 0.1}, "centre": base, "hu": base},
        "means": {"trained": means, "held_out": means},
        "negation": {"asserted": 0.7, "negated": 0.01},
        "swaps": {"lung mass": 0.5},
        "unrelated": {"a red bicycle in the rain": "cannot tell"},
    }


def test_bars_say_what_passed():
    judged = {item["bar"]: item["passed"] for item in bars([row()], protocol())}
    failed = [name for name, passed in judged.items() if not passed]
    assert failed == ["LUNG1-001: Dice of the right lung"]
    assert len(judged) == 6


@pytest.mark.parametrize(
    "fault", [{"auroc": 0.84}, {"peak_mm": 8.1}, {"peak_mm": float("inf")}, {"auroc": float("nan")}]
)
def test_a_model_that_falls_short_fails(fault):
    judged = bars([row(**fault)], protocol())
    assert sum(not item["passed"] for item in judged) >= 2


def test_a_map_no_better_than_a_baseline_fails():
    close = row()
    close["baselines"]["hu"] = {**close["baselines"]["hu"], "auroc": 0.9}
    judged = {item["bar"]: item["passed"] for item in bars([close], protocol())}
    assert not judged["LUNG1-001: AUROC above every baseline"]


def test_the_table_shows_model_baselines_and_bars():
    report = {
        "protocol": "1",
        "region": "1",
        "model": {"id": "mini", "weights": {}},
        "missing": ["LUNG1-002"],
        "cases": [row()],
        "seen": [],
        "bars": bars([row()], protocol()),
    }
    text = table(report)
    for words in ("mini", "random map", "centre of the field", "HU heuristic", "held-out", "FAIL"):
        assert words in text
    assert "Not found, so not measured: LUNG1-002" in text


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(InputRefused, match="holds none of them"):
        run(tmp_path)
