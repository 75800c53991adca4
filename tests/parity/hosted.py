"""Filling a hosted encoder's networks with the generated weights of a stored set."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from napari_ctvlp.models import store

from . import rule
from .fixtures import Stored

Net = TypeVar("Net", bound=nn.Module)


def filled(net: Net, stored: Stored, card: str) -> Net:
    """Fill a network by official key; what it does not need is what the card lets pass."""
    rows = {row[0]: row for row in stored.meta["keys"]}
    assert rule.keys_digest(rows.values()) == stored.meta["keys_sha256"]
    needed = net.state_dict()
    ignored = store.card(card).settings["checkpoints"]["model"]["ignore"]
    beside = [key for key in rows if key not in needed]
    assert [key for key in beside if not any(fnmatchcase(key, one) for one in ignored)] == []
    made = rule.fill([rows[key] for key in needed], stored.seed, stored.meta["constants"])
    net.load_state_dict(
        {key: torch.from_numpy(np.asarray(value)) for key, value in made.items()}, assign=True
    )
    return net.eval().requires_grad_(False)
