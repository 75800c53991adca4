"""The folder of the stored parity sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def parity(request: pytest.FixtureRequest) -> Path:
    """Return ``$CTVLP_PARITY``, or the folder in the shared data; skipped as ``shared`` is."""
    named = os.environ.get("CTVLP_PARITY")
    return Path(named) if named else request.getfixturevalue("shared") / "parity"
