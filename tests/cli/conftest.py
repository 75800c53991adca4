"""A phantom on disk in an awkward orientation, and a way to run commands on it."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from napari_ctvlp.cli.main import app


@pytest.fixture(scope="session")
def ct(chest, tmp_path_factory) -> Path:
    """Write the phantom with its axes running anterior, left, superior and return its path."""
    path = tmp_path_factory.mktemp("ct") / "chest.nii.gz"
    stored = np.flip(chest.hu, (0, 1)).transpose(1, 2, 0)
    affine = np.zeros((4, 4))
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = (0, 4.5, 0), (-4.5, 0, 0), (0, 0, 5)
    affine[:, 3] = chest.affine @ (47, 55, 0, 1)
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored), affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


@pytest.fixture
def settings(tmp_path_factory, monkeypatch) -> Path:
    """Return a settings folder of the test's own, so that no vocabulary of the user's is read."""
    folder = tmp_path_factory.mktemp("settings")
    monkeypatch.setenv("CTVLP_CONFIG", str(folder))
    return folder


@pytest.fixture
def ctvlp(settings):
    """Return a function that runs one command in this process."""

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run
