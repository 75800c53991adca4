"""False peaks: where a model sees findings in training chests that are not there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.targets import concepts
from napari_ctvlp.training.whole import encode_whole, thorax_of, token_place, unknown_tokens

#: Concepts whose peaks are looked at, and how many of each per chest.
LOOKED_AT = ("nodule", "mass", "lesion", "lymph_node", "cavity")
PEAKS = 10
#: Two peaks are at least this many tokens apart.
APART = 4


def mine(tower: Tower, chests: Sequence[Chest]) -> dict[str, list[list[int]]]:
    """Return the highest peaks by case name, as 2 mm voxels (i, p, l).

    Places about which nothing can be said (real findings) are never among them.
    """
    return {chest.case.name: _peaks(tower, chest) for chest in chests}


def _peaks(tower: Tower, chest: Chest) -> list[list[int]]:
    hu = torch.from_numpy(chest.hu.astype(np.float32))
    tokens = encode_whole(tower, hu, token_place(chest))
    searched = thorax_of(chest) & ~unknown_tokens(chest)
    found: list[list[int]] = []
    with torch.inference_mode():
        logits = tower.logits(tokens.reshape(-1, tokens.shape[-1])).numpy()
    for name in LOOKED_AT:
        values = logits[:, concepts().index(name)].reshape(searched.shape)
        values = np.where(searched, values, -np.inf)
        for _ in range(PEAKS):
            top = np.unravel_index(int(values.argmax()), values.shape)
            if not np.isfinite(values[top]):
                break
            found.append([2 * int(n) for n in top])
            values[tuple(slice(max(0, n - APART), n + APART + 1) for n in top)] = -np.inf
    return found
