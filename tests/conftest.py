"""Fixtures every room shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the shared data folder beside the repository, or ``$CTVLP_SHARED``.

    Tests that ask for it are skipped where it is absent, unless ``CTVLP_REQUIRE_SHARED=1``.
    """
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("CTVLP_SHARED", beside))
    if folder.is_dir():
        return folder
    message = f"the shared data folder {folder} is not there"
    if os.environ.get("CTVLP_REQUIRE_SHARED") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def sample() -> Path:
    """Return the path of the sample CT in the checkout."""
    return Path(__file__).resolve().parents[1] / "examples" / "data" / "ct.nii.gz"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``cuda`` on machines without a CUDA device."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
