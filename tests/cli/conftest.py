"""A phantom on disk in an awkward orientation, and a way to run commands on it."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from napari_ctvlp.cli.main import app
from napari_ctvlp.core.geometry import from_ipl

#: Index to RAS of the file: its axes run anterior, left, superior.
ORDER = np.array([[0, -4.6, 0, 170.0], [4.6, 0, 0, -140.0], [0, 0, 5.0, -150.0], [0, 0, 0, 1.0]])


@pytest.fixture(scope="session")
def ct(chest, tmp_path_factory) -> Path:
    """Write the phantom with permuted and flipped axes and return its path."""
    path = tmp_path_factory.mktemp("ct") / "chest.nii.gz"
    image = nibabel.Nifti1Image(np.ascontiguousarray(from_ipl(chest.hu, ORDER)), ORDER)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


@pytest.fixture
def ctvlp():
    """Return a function that runs one command in this process."""

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run
