"""open_scan: IPL order without a copy, resampling that keeps world points, saving in place."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from napari_ctvlp.core.geometry import transform, voxel_of
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.nifti import save_ipl, save_on_source

SHAPE = (21, 17, 13)


def smooth(points):
    """A field that linear interpolation reproduces exactly, in HU."""
    return points @ np.array([2.0, -3.0, 4.0]) - 300.0


def field_volume(affine, shape=SHAPE):
    """Values of the field at every voxel."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return smooth(transform(affine, grid))


def turned(degrees_z, degrees_x, spacing=(0.8, 1.0, 2.0)):
    """An affine turned about two axes."""
    z, x = np.radians([degrees_z, degrees_x])
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_z) @ about_x @ np.diag([-1, -1, 1]) * spacing
    affine[:3, 3] = (15, 25, -12)
    return affine


def every_orientation():
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            affine = np.diag([0.0, 0.0, 0.0, 1.0])
            affine[list(order), range(3)] = np.array(signs) * (0.7, 0.9, 2.5)
            affine[:3, 3] = (11, -22, 33)
            yield affine


def same_in_both_readers(path, affine):
    """The saved affine in nibabel and in SimpleITK, to 1e-4."""
    import SimpleITK as sitk  # noqa: N813

    image = nibabel.load(path)
    assert np.abs(image.affine - affine).max() < 1e-4
    assert np.abs(image.get_qform() - affine).max() < 1e-4
    assert int(image.header["sform_code"]) > 0
    assert int(image.header["qform_code"]) > 0
    other = sitk.ReadImage(path)
    for index in ((0, 0, 0), tuple(n - 1 for n in image.shape)):
        ras = np.array(other.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert np.abs(ras - transform(affine, index)).max() < 1e-3
    return np.asarray(image.dataobj), sitk.GetArrayFromImage(other).T


def test_every_orientation_opens_as_a_view_and_saves_in_place(tmp_path, samples):
    values = samples.hu_volume()
    for n, affine in enumerate(every_orientation()):
        scan = open_scan(samples.write_nifti(tmp_path / f"{n}.nii", values, affine))
        assert not scan.source.resampled
        assert scan.meta.warnings == ()
        point = transform(affine, (1, 2, 3))
        voxel = tuple(np.rint(voxel_of(scan.affine, point)).astype(int))
        assert scan.hu[voxel] == 700
        assert np.all(np.diag(scan.affine[:3, 2::-1]) < 0)
        save_on_source(tmp_path / f"out{n}.nii", scan.hu == 700, scan)
        for saved in same_in_both_readers(tmp_path / f"out{n}.nii", affine):
            assert np.array_equal(saved, (values == 700).astype(np.uint8))


def test_voxels_are_not_copied(tmp_path, samples):
    scan = open_scan(samples.write_nifti(tmp_path / "ct.nii"))
    assert scan.hu.dtype == np.int16
    assert scan.hu.base is not None
    assert not scan.hu.flags.writeable


@pytest.mark.parametrize("angles", [(20.0, -12.0), (0.0, 30.0), (44.0, 3.0)])
def test_oblique_scan_is_resampled_and_results_come_back(tmp_path, samples, angles):
    affine = turned(*angles)
    values = field_volume(affine).astype(np.float32)
    scan = open_scan(samples.write_nifti(tmp_path / "oblique.nii", values, affine))
    assert scan.source.resampled
    assert [m.code for m in scan.meta.notices] == ["resampled"]
    middle = transform(affine, (np.array(SHAPE) - 1) / 2)
    voxel = np.rint(voxel_of(scan.affine, middle)).astype(int)
    assert scan.hu[tuple(voxel)] == pytest.approx(smooth(transform(scan.affine, voxel)), abs=0.5)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in scan.shape], indexing="ij"), axis=-1)
    heat = smooth(transform(scan.affine, grid)).astype(np.float32)
    heat[: scan.shape[0] // 3] = np.nan
    save_on_source(tmp_path / "heat.nii", heat, scan)
    saved, other = same_in_both_readers(tmp_path / "heat.nii", affine)
    finite = np.isfinite(saved)
    assert 0.5 < finite.mean() < 1.0
    assert np.abs(saved - values)[finite].max() < 0.05
    assert np.array_equal(saved[finite], other[finite])
    labels = (heat > 0).astype(np.uint8) * 3
    save_on_source(tmp_path / "labels.nii", labels, scan)
    stored, _ = same_in_both_readers(tmp_path / "labels.nii", affine)
    assert set(np.unique(stored)) <= {0, 3}


def test_a_hair_of_rotation_is_snapped_about_the_centre(tmp_path, samples):
    affine = turned(0.2, 0.1)
    scan = open_scan(samples.write_nifti(tmp_path / "ct.nii", field_volume(affine), affine))
    assert not scan.source.resampled
    ends = np.array(list(product(*[(0, n - 1) for n in scan.shape])))
    away = smooth(transform(scan.affine, ends)) - [scan.hu[tuple(e)] for e in ends]
    assert np.abs(away).max() < 4
    save_on_source(tmp_path / "out.nii", scan.hu, scan)
    assert np.abs(nibabel.load(tmp_path / "out.nii").affine - affine).max() < 1e-4


def test_uneven_slices_are_interpolated_between_real_positions(tmp_path, samples):
    places = [0.0, 5.0, 10.0, 25.0, 27.5, 40.0]

    def change(data, k):
        data.ImagePositionPatient = [-10.0, 20.0, places[k]]
        level = np.full((6, 8), 1024 + int(10 * places[k]), dtype="<u2")
        data.PixelData = level.tobytes()

    scan = open_scan(samples.Series(tmp_path / "ct").each(change).write())
    assert [m.code for m in scan.meta.warnings] == ["uneven-spacing"]
    assert [m.code for m in scan.meta.notices] == ["resampled"]
    assert scan.spacing[0] == pytest.approx(2.5)
    heights = transform(scan.affine, np.c_[np.arange(scan.shape[0]), [[0, 0]] * scan.shape[0]])
    assert scan.hu[:, 2, 2] == pytest.approx(10 * heights[:, 2], abs=1)
    save_on_source(tmp_path / "out.nii", scan.hu, scan)
    assert nibabel.load(tmp_path / "out.nii").shape == (8, 6, 17)


def test_gantry_tilt_puts_structures_back_in_place(tmp_path, samples):
    tilt = np.radians(20.0)
    axes = [1, 0, 0, 0, np.cos(tilt), np.sin(tilt)]

    def change(data, k):
        data.ImageOrientationPatient = [float(x) for x in axes]
        data.RescaleSlope, data.RescaleIntercept = 0.5, -1024
        row = np.arange(6)[:, np.newaxis] * 0.9
        a, s = -(20 + row * axes[4]), 100 + 5 * k + row * axes[5]
        hu = np.broadcast_to(5 * a + 2 * s, (6, 8))
        data.BitsStored, data.HighBit = 16, 15
        data.PixelData = np.rint((hu + 1024) * 2).astype("<u2").tobytes()

    scan = open_scan(samples.Series(tmp_path / "ct").each(change).write())
    assert [m.code for m in scan.meta.warnings] == ["gantry-tilt"]
    assert scan.source.resampled
    inner = [v for v in np.ndindex(scan.shape) if scan.hu[v] > -400][10::7]
    points = transform(scan.affine, np.array(inner))
    wanted = points[:, 1] * 5 + points[:, 2] * 2
    got = np.array([scan.hu[v] for v in inner])
    assert np.median(np.abs(got - wanted)) < 1


def test_dicom_and_its_nifti_copy_are_one_scan(tmp_path, samples):
    folder = samples.Series(tmp_path / "ct").write()
    first = open_scan(folder)
    save_on_source(tmp_path / "copy.nii", first.hu, first)
    second = open_scan(tmp_path / "copy.nii")
    assert np.array_equal(first.hu, second.hu)
    assert np.allclose(first.affine, second.affine, atol=1e-5)
    assert first.meta.modality == "CT"
    assert not any("Doe" in str(v) for v in vars(first.meta).values())


def test_nan_and_values_no_scanner_measures_become_air(tmp_path, samples):
    values = samples.hu_volume().astype(np.float32)
    values[0, 0, 0], values[0, 1, 0] = np.nan, -3024
    scan = open_scan(samples.write_nifti(tmp_path / "ct.nii", values))
    assert [m.code for m in scan.meta.warnings] == ["non-finite"]
    assert [m.code for m in scan.meta.notices] == ["padding"]
    assert np.isfinite(scan.hu).all()
    assert scan.hu.min() == -1000


def test_the_best_of_several_volumes_is_opened_and_said(tmp_path, samples):
    samples.Series(tmp_path / "ct", count=3).write()
    big = samples.Series(tmp_path / "ct" / "big", count=9, SeriesNumber=8)
    big.write()
    mr = samples.Series(tmp_path / "ct" / "mr", count=12, Modality="MR", SeriesNumber=1)
    mr.write()
    scan = open_scan(tmp_path / "ct")
    assert scan.shape[0] == 9
    (message,) = (m.message for m in scan.meta.warnings)
    assert "Number 3 is opened" in message
    assert open_scan(tmp_path / "ct", series=2).shape[0] == 3


def test_saving_something_else_changes_nothing(tmp_path, samples):
    scan = open_scan(samples.write_nifti(tmp_path / "ct.nii"))
    with pytest.raises(InputRefused) as caught:
        save_on_source(tmp_path / "out.nii", np.zeros((3, 3, 3)), scan)
    assert caught.value.code == "bad-dim"
    assert not (tmp_path / "out.nii").exists()


def test_token_grids_are_saved_as_they_are(tmp_path):
    affine = turned(0, 0)
    values = np.full((4, 5, 6), np.nan, dtype=np.float32)
    values[1, 2, 3] = 0.5
    save_ipl(tmp_path / "heat.nii.gz", values, affine)
    image = nibabel.load(tmp_path / "heat.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), values, equal_nan=True)
    assert np.allclose(image.affine, affine, atol=1e-5)
