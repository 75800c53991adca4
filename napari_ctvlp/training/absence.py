"""CTs with several painted findings each, for fitting and measuring the absence check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.evaluation.absence.pairs import Asked
from napari_ctvlp.training.data import FLAG_SHIFT, IGNORE, WEAK_MASS, Chest
from napari_ctvlp.training.pooling import silent_findings
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.unseen import anatomy, scan_of
from napari_ctvlp.training.whole import painted_chest, spots_of

#: Far from the seeds of training, thresholds and ``ctvlp evaluate synthetic``.
SEED = 700_000_000
#: Findings painted into one CT: fewer scans have to be encoded.
TOGETHER = 5


def painted_scans(
    chests: Sequence[Chest], each: int, seed: int = SEED, empty: int = 1, most: int = len(FINDINGS)
) -> Iterator[Asked]:
    """Yield CTs with up to five painted findings each, and some with none.

    Parameters
    ----------
    chests : sequence of Chest
    each : int
        Scans in which a finding is tried, per CT that has a place for it.
    seed : int
    empty : int
        Scans per CT with nothing painted.
    most : int
        Of the painted scans of one turn so many are made, the findings in them drawn by lot.
    """
    for number, chest in enumerate(chests):
        spots = spots_of(chest)
        rng = np.random.default_rng(seed + number)
        for turn in range(each):
            order = [FINDINGS[n] for n in rng.permutation(len(FINDINGS))]
            for start in range(0, len(order), TOGETHER)[:most]:
                wanted = order[start : start + TOGETHER]
                found = _painted(chest, wanted, seed + 1000 * (100 * number + turn) + start, spots)
                if found.there:
                    yield replace(found, study=f"{number} {turn} {start}")
        for turn in range(empty):
            plain = painted_chest(chest, "", seed + 500_000 + 100 * number + turn, spots)
            if plain is not None:
                yield replace(_asked(chest, plain.hu.numpy(), ()), study=f"{number} empty {turn}")


def _painted(
    chest: Chest, wanted: Sequence[str], seed: int, spots: dict[str, NDArray[np.int64]]
) -> Asked:
    """Paint findings one after the other; one that would touch an earlier one is left out."""
    current, there = chest, []
    taken = np.zeros(chest.hu.shape, np.bool_)
    for number, finding in enumerate(wanted):
        found = painted_chest(current, finding, seed + number, spots)
        if found is not None and not (found.voxels & taken).any():
            current = replace(current, hu=_whole(found.hu.numpy()))
            taken |= found.voxels
            there.append(finding)
    return _asked(chest, current.hu, tuple(there))


def _asked(chest: Chest, hu: NDArray[Any], there: tuple[str, ...]) -> Asked:
    scan = scan_of(chest, _whole(hu))
    unknown = ((chest.labels >> FLAG_SHIFT) & (IGNORE | WEAK_MASS)) > 0
    return Asked(
        scan, anatomy(chest, scan), chest.case.name, there,
        frozenset(silent_findings(chest)) - set(there), unknown,
    )  # fmt: skip


def _whole(hu: NDArray[Any]) -> NDArray[np.int16]:
    return np.clip(np.round(hu), -1024, 3071).astype(np.int16)
