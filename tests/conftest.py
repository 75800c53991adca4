"""Fixtures every room shares."""

from __future__ import annotations

import importlib.util
import os
import queue
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.client import WorkerClient
from napari_ctvlp.errors import CtvlpError


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let processes that share the tests out keep a file together."""
    folder = Path(__file__).parent
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.relative_to(folder).as_posix()))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``cuda`` on machines without a CUDA device."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the results of the tests, and of processes they start, in a folder of their own."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTVLP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def chest() -> Scan:
    """Return the phantom on a coarse grid, whose numbers a NIfTI header holds exactly."""
    return phantom((48, 56, 76), (5.0, 4.5, 4.5))


class Desk:
    """A client of the compute process whose answers can be waited for."""

    def __init__(self) -> None:
        self.progress: list[tuple[int, float, str]] = []
        self.answers: queue.Queue[tuple[int, Any]] = queue.Queue()
        self.client = WorkerClient(
            on_progress=lambda number, share, stage: self.progress.append((number, share, stage)),
            on_done=lambda number, result: self.answers.put((number, result)),
            on_failed=lambda number, error: self.answers.put((number, error)),
        )

    def next_answer(self) -> tuple[int, Any]:
        """Wait for the next end of any job: its number, and its result or its error."""
        return self.answers.get(timeout=240)

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Submit a job, wait for its end, raise its error."""
        number = self.client.submit(verb, **arguments)
        answered, result = self.next_answer()
        assert answered == number
        if isinstance(result, CtvlpError):
            raise result
        return result

    def stages(self, number: int) -> list[str]:
        """Return the stages a job reported."""
        return [stage for told, _, stage in self.progress if told == number]


@pytest.fixture(scope="session")
def worker() -> Iterator[Desk]:
    """Return the one compute process that all tests share."""
    desk = Desk()
    yield desk
    desk.client.close()


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """Return ``tests/io/samples.py``: small image files written on the spot."""
    return _module("io/samples.py")


@pytest.fixture(scope="session")
def hosting() -> ModuleType:
    """Return ``tests/models/small.py``: small copies of published encoders."""
    return _module("models/small.py")


def _module(name: str) -> ModuleType:
    path = Path(__file__).parent / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
