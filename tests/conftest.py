"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the project's shared data, beside the checkout (or ``CTVLP_SHARED``).

    Tests that need it are skipped where it is absent, and fail where it is absent and
    ``CTVLP_REQUIRE_SHARED=1``.
    """
    folder = Path(os.environ.get("CTVLP_SHARED", ROOT.parent / "shared"))
    if (folder / "data").is_dir():
        return folder
    if os.environ.get("CTVLP_REQUIRE_SHARED") == "1":
        pytest.fail(f"CTVLP_REQUIRE_SHARED is set, but {folder} holds no data")
    pytest.skip(f"no shared data at {folder}")


@pytest.fixture(scope="session")
def sample() -> Path:
    """Path of the sample CT in the checkout."""
    return ROOT / "examples" / "data" / "ct.nii.gz"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``cuda`` on machines without a CUDA device."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
