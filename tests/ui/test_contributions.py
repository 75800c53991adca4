"""What napari is told: the manifest, the readers, thin imports."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels
from npe2 import PluginManifest

from napari_ctvlp.core.resources import PACKAGE, sample_folder
from napari_ctvlp.ui.arrange import DOCKS
from napari_ctvlp.ui.contributions import get_reader

HEAVY = ("torch", "transformers", "monai", "nibabel", "pydicom", "SimpleITK", "matplotlib.pyplot")


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_file(PACKAGE / "napari.yaml")


def test_the_manifest_is_valid_and_every_command_exists(manifest):
    manifest.validate_imports()
    given = {widget.display_name for widget in manifest.contributions.widgets}
    assert given >= {"Reading room", "Views", "3D", *DOCKS}


def fresh(program):
    """Run a program in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_contributions_import_only_qtpy_and_numpy():
    program = "import sys, napari_ctvlp.ui.contributions\nprint(*sorted(sys.modules))"
    loaded = fresh(program).split()
    assert not [name for name in (*HEAVY, "napari", "scipy", "magicgui") if name in loaded]


def test_opening_every_dock_imports_no_model_code():
    """The readers may come: they are loaded beside, so that the first slice need not wait."""
    models = tuple(name for name in HEAVY if name not in ("pydicom", "SimpleITK", "nibabel"))
    program = f"""
import sys, time, napari
from qtpy.QtWidgets import QApplication
from napari_ctvlp.ui.arrange import lay_out
viewer = napari.Viewer(show=True)
widgets = lay_out(viewer)
patience = time.monotonic() + 120
while len(widgets["Views"].canvases) < 2 and time.monotonic() < patience:
    QApplication.processEvents()
    time.sleep(0.01)
assert len(widgets["Views"].canvases) == 2
print(*[name for name in {models!r} if name in sys.modules])
viewer.close()
"""
    assert fresh(program).strip() == ""


def test_readers_claim_cts_and_leave_the_rest(tmp_path):
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "slice.tif").touch()
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "IM0001").touch()
    for name in ("a.nii", "a.nii.gz", "a.dcm", "a.nrrd", "a.mha", "A.NII.GZ"):
        assert get_reader(str(tmp_path / name)) is not None, name
    for name in ("a.png", "a.txt", "a.gz"):
        assert get_reader(str(tmp_path / name)) is None, name
    assert get_reader(str(tmp_path / "series")) is not None
    assert get_reader(str(tmp_path / "stack")) is None
    slices = [str(tmp_path / "series" / f"{number}.dcm") for number in range(3)]
    assert get_reader(slices) is not None
    assert get_reader([str(tmp_path / "a.nii"), str(tmp_path / "b.nii")]) is None


def test_samples_open_through_napari(make_napari_viewer):
    viewer = make_napari_viewer()
    (chest,) = viewer.open_sample("napari-ctvlp", "chest-ct")
    (made,) = viewer.open_sample("napari-ctvlp", "phantom")
    for layer in (chest, made):
        assert layer.ndim == 3
        assert tuple(layer.axis_labels) == ("I", "P", "L")
        assert {str(unit) for unit in layer.units} == {"millimeter"}
    stored = nib.load(sample_folder() / "ct.nii.gz")
    spacing = sorted(float(mm) for mm in stored.header.get_zooms()[:3])
    assert sorted(chest.scale) == pytest.approx(spacing, abs=1e-4)


def test_a_label_file_becomes_a_labels_layer(make_napari_viewer, tmp_path):
    labels = np.zeros((8, 9, 10), np.uint8)
    labels[2:5] = 3
    nib.save(nib.Nifti1Image(labels, np.diag([-2.0, -2.0, 3.0, 1.0])), tmp_path / "organs.nii.gz")
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "organs.nii.gz"), plugin="napari-ctvlp")
    assert isinstance(layer, Labels)
    assert layer.scale == pytest.approx((3.0, 2.0, 2.0))


@pytest.mark.parametrize("content", [b"", b"no image at all", "cut", "complex"])
def test_a_refused_file_leaves_the_viewer_unchanged(make_napari_viewer, tmp_path, content):
    path = tmp_path / "odd.nii"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        kind = np.complex64 if content == "complex" else np.int16
        nib.save(nib.Nifti1Image(np.zeros((8, 9, 10), kind), np.eye(4)), path)
        if content == "cut":
            path.write_bytes(path.read_bytes()[:700])
    viewer = make_napari_viewer()
    with pytest.raises(Exception, match=r"odd\.nii") as refused:
        viewer.open(str(path), plugin="napari-ctvlp")
    assert "Expected" in str(refused.value) or "Expected" in str(refused.value.__cause__)
    assert len(viewer.layers) == 0
