"""Fits the absence check: how much each comparison of a peak weighs, and where answers part.

Few CTs decide, so little is fitted: three clues, none of which may speak against a finding by
being stronger, and one offset per finding. Scores that thresholds are set on come from fits without
the CT they belong to.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from napari_ctvlp.core.absence import CLUES, Calibration
from napari_ctvlp.evaluation.absence.pairs import Pair

#: The clues that weigh; with the others beside them CTs left out of the fit were told worse.
FITTED = ("height", "standing", "extent")
#: Strength of the pull toward 0: of the clues' weights, and of a finding's own offset.
PULL, OWN_PULL = 1.0, 3.0

Matrix = NDArray[np.float64]


def fit(
    pairs: Sequence[Pair],
    model: str,
    weights: str,
    source: str,
    *,
    false_alarm: float = 0.1,
    missed: float = 0.1,
) -> Calibration:
    """Fit the check on pairs whose organ is in view.

    Parameters
    ----------
    pairs : sequence of Pair
    model, weights : str
        Card id and digest of what the pairs were read with.
    source : str
        What the scans were, for the user.
    false_alarm : float
        Share of the absent that may reach "present", on CTs left out of the fit; the quantile
        is the conformal one.
    missed : float
        Share of the present that may fall under "absent".
    """
    used = [pair for pair in pairs if not pair.doubt and math.isfinite(pair.peak)]
    there = np.array([pair.there for pair in used])
    scans = np.array([pair.scan for pair in used])
    left_out = np.zeros(len(used))
    for name in np.unique(scans):
        own = scans == name
        if len(np.unique(there[~own])) == 2:
            part = _fitted([p for p, mine in zip(used, own, strict=True) if not mine])
            left_out[own] = [part.probability(p.clues, p.finding) for p in np.array(used)[own]]
    present = _conformal(left_out[~there], false_alarm)
    absent = min(present, float(np.quantile(left_out[there], missed)))
    return replace(
        _fitted(used), model=model, weights=weights, present=present, absent=absent,
        false_alarm=false_alarm, missed=missed, scans=len(np.unique(scans)), source=source,
        positives=int(there.sum()), negatives=int((~there).sum()),
        made=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )  # fmt: skip


def _fitted(pairs: Sequence[Pair]) -> Calibration:
    """Fit clue weights and findings' offsets by penalised logistic regression."""
    raw = np.array([[pair.clues[name] for name in FITTED] for pair in pairs], np.float64)
    known = np.isfinite(raw)
    count = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, raw, 0).sum(axis=0) / count
    scales = np.sqrt((np.where(known, raw - means, 0) ** 2).sum(axis=0) / count)
    scales = np.where(scales > 1e-6, scales, 1.0)
    clues = np.nan_to_num((raw - means) / scales)
    names = sorted({pair.finding for pair in pairs})
    own = np.array([[pair.finding == name for name in names] for pair in pairs], np.float64)
    table = np.hstack([np.ones((len(pairs), 1)), clues, own])
    pull = np.array([0.0, *[PULL] * len(FITTED), *[OWN_PULL] * len(names)])
    truth = np.array([pair.there for pair in pairs], np.float64)
    found = _logistic(table, truth, pull)
    offsets = found[1 + len(FITTED) :]
    return Calibration(
        "", "", _spread(means, 0.0), _spread(scales, 1.0), _spread(found[1:], 0.0),
        float(found[0]), dict(zip(names, offsets.tolist(), strict=True)),
        0.5, 0.5, 0.0, 0.0, 0, 0, 0, "", "",
    )  # fmt: skip


def _spread(fitted: Matrix, rest: float) -> tuple[float, ...]:
    """Return numbers of :data:`FITTED` in the order of :data:`CLUES`, ``rest`` for the others."""
    known = dict(zip(FITTED, fitted.tolist(), strict=False))
    return tuple(known.get(name, rest) for name in CLUES)


def _logistic(table: Matrix, truth: Matrix, pull: Matrix) -> Matrix:
    """Minimise the log loss, present and absent weighing the same in all, plus the pull.

    No clue's slope is below 0.
    """
    share = truth.mean()
    weight = np.where(truth > 0, 0.5 / share, 0.5 / (1 - share))

    def loss(w: Matrix) -> tuple[float, Matrix]:
        logits = table @ w
        value = weight @ (np.logaddexp(0, logits) - truth * logits) + 0.5 * pull @ w**2
        slope = table.T @ (weight * (1 / (1 + np.exp(-logits)) - truth)) + pull * w
        return float(value), slope

    free = [(None, None)] * (table.shape[1] - 1 - len(FITTED))
    bounds = [(None, None), *[(0.0, None)] * len(FITTED), *free]
    start = np.zeros(table.shape[1])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x, np.float64)


def _conformal(absent: Matrix, alarms: float) -> float:
    """Return the score that a further absent pair exceeds with a chance of at most ``alarms``."""
    rank = math.ceil((len(absent) + 1) * (1 - alarms))
    return float(np.sort(absent)[rank - 1]) if rank <= len(absent) else 1.0
