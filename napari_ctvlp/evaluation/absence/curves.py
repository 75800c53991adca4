"""False support at a fixed sensitivity, and risk by coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.absence import Calibration
from napari_ctvlp.evaluation.absence.pairs import Pair

Report = dict[str, Any]
Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]
#: Sensitivity at which false support is compared.
SENSITIVITY = 0.9
#: Draws of the bootstrap.
DRAWS = 2000
_NAIVE, _CHECK = "naive peak", "absence check"


def false_support(scores: Scores, there: Truth, sensitivity: float = SENSITIVITY) -> float:
    """Share of the absent at or above the threshold that this share of the present reach.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        NaN counts as lowest.
    there : ndarray of bool, shape (n,)
    sensitivity : float
        The threshold is the highest one that at least this share of the present reach.

    Returns
    -------
    float
        NaN without both kinds.
    """
    values = np.where(np.isfinite(scores), scores, -np.inf)
    positive = np.sort(values[there])[::-1]
    if not positive.size or there.all():
        return math.nan
    threshold = positive[math.ceil(sensitivity * positive.size - 1e-9) - 1]
    return float((values[~there] >= threshold).mean())


def interval(
    methods: Mapping[str, Scores], there: Truth, studies: NDArray[np.str_], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return 95 % percentile intervals of false support over studies (Efron 1979).

    Parameters
    ----------
    methods : mapping of str to ndarray, shape (n,)
    there : ndarray of bool, shape (n,)
    studies : ndarray of str, shape (n,)
        Questions about one study are drawn together.
    seed : int

    Returns
    -------
    dict
        Per method, and under ``"difference"`` for the first less the last. Draws without both
        kinds are left out.
    """
    rng, names = np.random.default_rng(seed), np.unique(studies)
    own = [np.flatnonzero(studies == name) for name in names]
    rows = []
    for _ in range(DRAWS):
        chosen = np.concatenate([own[n] for n in rng.integers(0, len(own), len(own))])
        rates = [false_support(scores[chosen], there[chosen]) for scores in methods.values()]
        if np.isfinite(rates).all():
            rows.append([*rates, rates[0] - rates[-1]])
    told = (*methods, "difference")
    ends = np.percentile(rows or [[np.nan] * len(told)], [2.5, 97.5], axis=0).T
    return {name: (float(low), float(high)) for name, (low, high) in zip(told, ends, strict=True)}


def risk_coverage(scores: Scores, there: Truth, middle: float) -> Report:
    """Error of the surest answers, by the share of questions answered.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Log odds or anything whose distance to ``middle`` is how sure an answer is.
    there : ndarray of bool, shape (n,)
    middle : float
        At or above it the answer is "present", below "absent".

    Returns
    -------
    dict
        ``coverage``, ``error`` and ``balanced`` error (mean of the two kinds'), lists of equal
        length, from the surest answer on; ties are answered together.
    """
    sure = np.abs(scores - middle)
    wrong = (scores >= middle) != there
    coverage, error, balanced = [], [], []
    for level in np.unique(sure)[::-1]:
        answered = sure >= level
        kinds = [wrong[answered & kind] for kind in (there, ~there)]
        coverage.append(float(answered.mean()))
        error.append(float(wrong[answered].mean()))
        both = all(kind.size for kind in kinds)
        balanced.append(float(np.mean([k.mean() for k in kinds])) if both else math.nan)
    return {"coverage": coverage, "error": error, "balanced": balanced}


def report(pairs: Sequence[Pair], calibration: Calibration) -> Report:
    """Compare the check with the naive peak.

    Returns
    -------
    dict
        ``pairs``, ``positives``, ``scans``; per method in ``false_support`` its rate at 90 %
        sensitivity over pairs whose organ is in view, with an interval over painted scans;
        ``gain``, the interval of the naive rate less the check's; ``answers`` of both;
        ``curves``; ``findings``.
    """
    seen = [pair for pair in pairs if not pair.doubt and math.isfinite(pair.peak)]
    there = np.array([pair.there for pair in seen])
    support = np.array([calibration.probability(p.clues, p.finding) for p in seen])
    methods = {
        _NAIVE: np.array([pair.peak for pair in seen]),
        "peak less the card's threshold": np.array([pair.peak - pair.limit for pair in seen]),
        _CHECK: support,
    }
    scans = np.array([pair.scan for pair in seen])
    ends = interval(methods, there, np.array([pair.study or pair.scan for pair in seen]))
    odds = np.log(np.clip(support, 1e-9, 1) / np.clip(1 - support, 1e-9, 1))
    middle = _odds(calibration.present)
    margin = methods["peak less the card's threshold"]
    return {
        "pairs": len(pairs), "in_view": len(seen), "positives": int(there.sum()),
        "scans": len(set(scans.tolist())), "sensitivity": SENSITIVITY,
        "calibration": {n: getattr(calibration, n) for n in (
            "present", "absent", "false_alarm", "missed", "scans", "positives", "negatives",
            "made", "source")},
        "false_support": {
            name: {"rate": false_support(scores, there), "interval": ends[name],
                   "auroc": _auroc(scores, there)}
            for name, scores in methods.items()
        },
        "gain": ends["difference"],
        "answers": {
            _CHECK: _answers([_answer(s, p, calibration) for s, p in
                                       zip(support, seen, strict=True)], there),
            "card's thresholds": _answers([pair.naive for pair in seen], there),
        },
        "curves": {
            _CHECK: risk_coverage(odds, there, middle),
            "peak less the card's threshold": risk_coverage(margin, there, 0.0),
        },
        "findings": _by_finding(seen, support, calibration),
    }  # fmt: skip


def _answer(support: float, pair: Pair, calibration: Calibration) -> str:
    if support >= calibration.present:
        return "present"
    return "absent" if support < calibration.absent and not pair.cut else "cannot tell"


def _answers(given: Sequence[str], there: Truth) -> Report:
    """Sum answers up: share of "cannot tell", errors outside it."""
    said = np.array(given)
    told = said != "cannot tell"
    wrong = told & ((said == "present") != there)
    return {
        "cannot_tell": _share(~told),
        "error": _share(wrong[told]),
        "false_present": _share((said == "present")[~there]),
        "false_absent": _share((said == "absent")[there]),
        "present_found": _share((said == "present")[there]),
    }


def _by_finding(seen: Sequence[Pair], support: Scores, calibration: Calibration) -> Report:
    """Counts and answers of each finding."""
    rows: Report = {}
    for name in dict.fromkeys(pair.finding for pair in seen):
        own = [
            (pair.there, _answer(score, pair, calibration))
            for pair, score in zip(seen, support, strict=True)
            if pair.finding == name
        ]
        kinds = {"there": True, "not there": False}
        rows[name] = {
            word: _counted([said for there, said in own if there == kind])
            for word, kind in kinds.items()
        }
    return rows


def _counted(answers: Sequence[str]) -> dict[str, int]:
    return {kind: answers.count(kind) for kind in ("present", "absent", "cannot tell")}


def _auroc(scores: Scores, there: Truth) -> float:
    from napari_ctvlp.evaluation.metrics import auroc

    return auroc(scores, there, np.ones(len(there), np.bool_))


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if flags.size else math.nan


def _odds(p: float) -> float:
    clipped = min(1 - 1e-9, max(1e-9, p))
    return math.log(clipped / (1 - clipped))
