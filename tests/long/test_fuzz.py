"""Fuzzing: any orientation must land in place; any damage must be answered in words."""

import tempfile
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_ctvlp.core.geometry import spacing, transform
from napari_ctvlp.core.phantom import MARKER_HU, MARKER_RAS, chest_hu
from napari_ctvlp.engine.verbs import open_scan
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.io.nifti import save_on_source

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
SHAPE = (34, 40, 46)
TRY_MANY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def affines(draw):
    """Draw an index-to-RAS matrix with the phantom's cube near the middle of its grid."""
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from((-1, 1))) for _ in range(3)]
    steps = [draw(st.floats(1.5, 4.0)) for _ in range(3)]
    angles = [draw(st.sampled_from((0.0, 0.0, 0.2, 3.0, 12.0, 31.0))) for _ in range(3)]
    turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.eye(3)[list(order)] @ np.diag(np.multiply(signs, steps))
    shift = [draw(st.floats(-6, 6)) for _ in range(3)]
    affine[:3, 3] = MARKER_RAS - affine[:3, :3] @ (np.array(SHAPE) / 2) + shift
    return affine


def marker(hu, affine):
    """Return the RAS position of the bright cube's centre of mass."""
    return transform(affine, np.argwhere(hu > MARKER_HU / 2)).mean(axis=0)


@TRY_MANY
@given(affine=affines())
def test_every_orientation_lands_in_place_and_is_saved_in_place(affine):
    with tempfile.TemporaryDirectory() as folder:
        path, saved = Path(folder) / "ct.nii", Path(folder) / "labels.nii.gz"
        image = nibabel.Nifti1Image(chest_hu(SHAPE, affine, noise_hu=0), affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
        scan = open_scan(path)
        tolerance = max(spacing(affine))
        assert np.linalg.norm(marker(scan.hu, scan.affine) - MARKER_RAS) < tolerance
        save_on_source(saved, (scan.hu > MARKER_HU / 2).astype(np.uint8), scan)
        labels = nibabel.load(saved)
        assert np.allclose(labels.affine, affine, atol=1e-4)
        assert labels.shape == SHAPE
        found = transform(affine, np.argwhere(np.asarray(labels.dataobj))).mean(axis=0)
        assert np.linalg.norm(found - MARKER_RAS) < tolerance
        itk = SimpleITK.ReadImage(str(saved))
        corner = np.array(itk.TransformIndexToPhysicalPoint([n - 1 for n in SHAPE]))
        expected = transform(affine, np.array(SHAPE) - 1)
        assert np.allclose(corner * [-1, -1, 1], expected, atol=1e-3)


@st.composite
def damage(draw):
    """Draw a function that damages the bytes of a file."""
    kind = draw(st.sampled_from(("cut", "flip", "flip", "zero", "insert")))
    place = draw(st.floats(0, 1)) ** draw(st.sampled_from((1, 4)))
    noise = draw(st.binary(min_size=1, max_size=12))

    def apply(data):
        start = int(place * (len(data) - 1))
        if kind == "cut":
            return data[:start]
        if kind == "insert":
            return data[:start] + noise + data[start:]
        middle = bytes(len(noise)) if kind == "zero" else noise
        return data[:start] + middle + data[start + len(noise) :]

    return apply


@pytest.fixture(scope="module")
def originals(tmp_path_factory, samples):
    """Map a name to the files of one small valid scan each."""
    folder = tmp_path_factory.mktemp("originals")
    plain = samples.write_nifti(folder / "ct.nii")
    packed = samples.write_nifti(folder / "ct.nii.gz")
    series = samples.Series(folder / "dicom")
    series.write()
    return {"nii": [plain], "gz": [packed], "dicom": sorted((folder / "dicom").iterdir())}


def attempt(path):
    """Return the scan, or the refusal."""
    try:
        return open_scan(path)
    except CtvlpError as error:
        return error


@pytest.mark.parametrize("name", ["nii", "gz", "dicom"])
@TRY_MANY
@given(data=st.data())
def test_damage_is_read_or_refused_in_words(name, originals, data):
    files = originals[name]
    broken = data.draw(st.sampled_from(files))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            content = file.read_bytes()
            changed = data.draw(damage())(content) if file == broken else content
            (Path(folder) / file.name).write_bytes(changed)
        answer = attempt(folder if name == "dicom" else Path(folder) / files[0].name)
    if isinstance(answer, CtvlpError):
        assert all(answer.as_dict().values())
    else:
        assert np.isfinite(answer.hu).all()
        assert np.isfinite(answer.affine).all()
