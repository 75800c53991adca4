"""Frozen trunk with a linear head against a tuned one, on labelled phantom studies.

``python benchmarks/finetune.py --studies 16 32 64 --seeds 0 1 2`` prints AUROC on 100 fresh
studies, per seed, for the signs of ``training/phantom_studies.py``. Every seed draws others.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.store import load_encoder
from napari_ctvlp.training.finetune import auroc, finetune
from napari_ctvlp.training.heads import MODES, Mode, Recipe
from napari_ctvlp.training.phantom_studies import SIGNS, studies
from napari_ctvlp.training.trunks import Example, TowerTail

#: Seeds of test studies begin here, far from those of training studies.
TEST = 1_000_000


def main() -> None:
    """Measure and print one row per sign, number of studies and mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signs", nargs="+", default=list(SIGNS), choices=list(SIGNS))
    parser.add_argument("--studies", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--test", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    tower = load_encoder("mini", Compute()).tower  # type: ignore[attr-defined]
    print(
        "| sign | studies | head | AUROC per seed | mean | Brier | CPU s |\n" + "| --- " * 7 + "|"
    )
    for sign in given.signs:
        test = studies(tower, sign, given.test, TEST)
        pools = [studies(tower, sign, max(given.studies), 10_000 * s) for s in given.seeds]
        for count in given.studies:
            for mode in MODES:
                row(tower, f"{sign} | {count}", mode, given.seeds, [p[:count] for p in pools], test)


def row(
    tower: Tower,
    name: str,
    mode: Mode,
    seeds: list[int],
    pools: list[list[Example]],
    test: list[Example],
) -> None:
    """Fit one head per seed and print their accuracy on the test studies."""
    truth = torch.cat([study.labels for study in test])
    values, briers, began = [], [], time.process_time()
    for seed, pool in zip(seeds, pools, strict=True):
        tuned = finetune(pool, ["sign"], Recipe(mode=mode, seed=seed), TowerTail(tower))
        scores = tuned.probabilities(test)[0][:, 0]
        values.append(auroc(scores, truth))
        briers.append(float((scores - truth).square().mean()))
    each = ", ".join(f"{value:.3f}" for value in values)
    mean, brier = statistics.mean(values), statistics.mean(briers)
    spent = (time.process_time() - began) / len(pools)
    print(f"| {name} | {mode} | {each} | {mean:.3f} | {brier:.3f} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
