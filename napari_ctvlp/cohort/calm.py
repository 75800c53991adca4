"""Preloaded by the workers of a local cluster: Ctrl-C is for the command, which ends them."""

from __future__ import annotations

import signal


def dask_setup(_: object) -> None:
    """Leave SIGINT, which a terminal sends to all its processes, to the one that was started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
