"""Small pieces of the phantom under planted names, NIfTI and DICOM, and a store of them."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_ctvlp.core.phantom import chest_hu

NAME, NUMBER = "Mustermann", "PAT4711X"
PHRASES = ("nodule in the left lung", "no pleural effusion")
#: Centre (RAS mm) and orientation of each piece; all are 54 to 66 mm wide.
PIECES = (((-70.0, -30.0, -30.0), (-1, -1, 1)), ((60.0, 0.0, -40.0), (1, 1, -1)))


def write_piece(path: Path, centre=(-70.0, -30.0, -30.0), signs=(1, 1, 1), seed=0, step=3.0):
    """Write a piece of the phantom, with its axes running along ``signs`` of R, A, S."""
    shape = np.array((22, 20, 18))
    affine = np.diag([*(step * np.array(signs)), 1.0])
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ (shape - 1) / 2
    image = nibabel.Nifti1Image(chest_hu(tuple(shape), affine, seed=seed), affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return path


@pytest.fixture(scope="session")
def piece():
    """Return a function that writes a piece of the phantom."""
    return write_piece


@pytest.fixture(scope="session")
def studies():
    """Return ``studies.py``: many small studies."""
    path = Path(__file__).with_name("studies.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def archive(tmp_path_factory, samples, studies):
    """Return a manifest of four pieces, two of them coronal and sagittal slices, and four broken.

    All stand under planted names.
    """
    folder = tmp_path_factory.mktemp("archive") / f"{NAME}_Erika"
    paths = [
        write_piece(folder / f"{NUMBER}-{n}.nii.gz", centre, signs, n)
        for n, (centre, signs) in enumerate(PIECES)
    ]
    empty, cut = folder / f"{NAME}-empty.nii.gz", folder / f"{NAME}-cut.nii.gz"
    empty.write_bytes(b"")
    cut.write_bytes(paths[0].read_bytes()[:2000])
    mr = samples.mr_series(folder / f"{NAME}-mr")
    paths += [studies.write_series(folder / f"{NAME}-{n}", n) for n in (2, 4)]
    half = studies.write_series(folder / f"{NAME}-half", 6)
    for file in list(half.iterdir()):
        (half / f"{NAME}_{file.name}").write_bytes(file.read_bytes()[:-100])
        file.unlink()
    manifest = folder.parent / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "nodule"])
        for number, path in enumerate([*paths, empty, cut, mr, half]):
            writer.writerow([path, f"{NAME}^Erika", str(int(number == 0))])
    return manifest


@pytest.fixture(scope="session")
def store(archive, tmp_path_factory):
    """Return a store of the archive, computed in this process, with tokens; nobody changes it."""
    from napari_ctvlp.cohort.batch import batch
    from napari_ctvlp.cohort.store import Store

    out = tmp_path_factory.mktemp("cohort") / "store"
    report = batch(archive, out, phrases=PHRASES, workers=0, tokens=True)
    assert (report.found, report.done, report.failed) == (8, 8, 4)
    return Store(out)


def contents(folder):
    """Return every row of every table of a store."""
    from napari_ctvlp.cohort.schema import TABLES
    from napari_ctvlp.cohort.store import Store

    connection = Store(folder).connect()
    return {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in TABLES}


@pytest.fixture(scope="session")
def rows():
    """Return a function that reads a store whole."""
    return contents
