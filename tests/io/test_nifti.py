"""NIfTI: what loads in silence, what is warned of, what is refused, and where voxels land."""

from __future__ import annotations

import gzip
from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from napari_ctvlp.errors import InputRefused, OutOfResources
from napari_ctvlp.io.read import can_read, read_path
from napari_ctvlp.io.stream import check_memory


def codes(result):
    return [m.code for m in result.warnings]


def refusal(path):
    with pytest.raises(InputRefused) as caught:
        read_path(path)
    error = caught.value
    assert all((error.expected, error.found, error.advice))
    assert path.name in error.found or path.name in error.advice
    return error.code


def test_plain_ct_loads_in_silence(tmp_path, samples):
    for name in ("ct.nii", "ct.nii.gz", "CT Thorax (2) v1.2 Größe.nii.gz"):
        result = read_path(samples.write_nifti(tmp_path / name))
        (volume,) = result.volumes
        assert (result.warnings, result.notices, volume.unit) == ((), (), "HU")
        assert volume.data.dtype == np.int16
        assert np.array_equal(volume.data, samples.hu_volume())
        assert np.allclose(volume.affine, samples.AFFINE, atol=1e-5)
        assert volume.orientation == "LPS"
        assert volume.spacing_mm == pytest.approx([0.7, 0.9, 2.5])


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_marker_keeps_its_world_point_in_every_axis_order_and_flip(tmp_path, samples, order):
    for signs in product((1, -1), repeat=3):
        affine = np.diag([0.0, 0.0, 0.0, 1.0])
        affine[list(order), range(3)] = np.array(signs) * (0.7, 0.9, 2.5)
        affine[:3, 3] = (11, -22, 33)
        (volume,) = read_path(samples.write_nifti(tmp_path / "turned.nii", affine=affine)).volumes
        point = (affine @ [1, 2, 3, 1])[:3]
        assert volume.voxel_at(point) == (1, 2, 3)
        assert volume.data[volume.voxel_at(point)] == 700
        assert volume.voxel_at(affine[:3, :3] @ [-3, 0, 0] + affine[:3, 3]) is None


def test_rescale_is_applied_once(tmp_path, samples):
    image = nibabel.Nifti1Image((samples.hu_volume() + 1024).astype(np.uint16), samples.AFFINE)
    image.header.set_slope_inter(1, -1024)
    image.to_filename(tmp_path / "raw.nii")
    (volume,) = read_path(tmp_path / "raw.nii").volumes
    assert volume.unit == "HU"
    assert np.array_equal(volume.data, samples.hu_volume())


def test_fractions_are_kept(tmp_path, samples):
    values = samples.hu_volume().astype(np.float32) + 0.25
    (volume,) = read_path(samples.write_nifti(tmp_path / "f.nii", values)).volumes
    assert volume.data.dtype == np.float32
    assert np.array_equal(volume.data, values)


def test_a_ct_stored_without_rescale_is_warned_of(tmp_path, samples):
    result = read_path(
        samples.write_nifti(tmp_path / "raw.nii", (samples.hu_volume() + 1024).astype(np.uint16))
    )
    assert codes(result) == ["no-rescale"]
    assert result.volumes[0].unit == "stored"


def test_values_unlike_ct_are_warned_of(tmp_path, samples):
    rng = np.random.default_rng(1)
    mr = rng.integers(200, 6000, samples.SHAPE).astype(np.int16)
    assert codes(read_path(samples.write_nifti(tmp_path / "mr.nii", mr))) == ["not-ct"]
    unit = rng.normal(0, 1, samples.SHAPE).astype(np.float32)
    assert codes(read_path(samples.write_nifti(tmp_path / "unit.nii", unit))) == ["not-ct"]
    labels = rng.integers(0, 4, samples.SHAPE).astype(np.uint8)
    result = read_path(samples.write_nifti(tmp_path / "labels.nii", labels))
    assert codes(result) == ["looks-like-labels"]
    assert result.volumes[0].unit == "label"


def test_nan_voxels_are_counted_and_left_out_of_the_range(tmp_path, samples):
    values = samples.hu_volume().astype(np.float32)
    values[0, 0, :3] = np.nan
    values[0, 1, 0] = np.inf
    result = read_path(samples.write_nifti(tmp_path / "nan.nii", values))
    assert codes(result) == ["non-finite"]
    assert "4 of 315" in result.warnings[0].message
    assert result.volumes[0].range == (-990, 700)


def test_two_and_four_axes(tmp_path, samples):
    flat = samples.write_nifti(tmp_path / "flat.nii", samples.hu_volume()[..., 0])
    result = read_path(flat)
    assert codes(result) == ["2d"]
    assert result.volumes[0].stored_shape == samples.SHAPE[:2]
    two = np.stack([samples.hu_volume(), samples.hu_volume() + 50], axis=-1)
    result = read_path(samples.write_nifti(tmp_path / "two.nii", two))
    assert codes(result) == ["4d"]
    assert result.volumes[0].stored_shape == (*samples.SHAPE, 2)
    assert read_path(samples.write_nifti(tmp_path / "one.nii", two[..., :1])).warnings == ()


def test_slice_of_its_own(tmp_path, samples):
    assert codes(
        read_path(samples.write_nifti(tmp_path / "one.nii", samples.hu_volume()[..., :1]))
    ) == ["single-slice"]


def test_forms_that_disagree(tmp_path, samples):
    path = tmp_path / "forms.nii"
    other = samples.AFFINE.copy()
    other[0] *= -1
    image = nibabel.Nifti1Image(samples.hu_volume(), samples.AFFINE)
    image.set_sform(samples.AFFINE, 1)
    image.set_qform(other, 1)
    image.to_filename(path)
    result = read_path(path)
    assert codes(result) == ["sform-qform"]
    assert np.allclose(result.volumes[0].affine, samples.AFFINE, atol=1e-5)


def test_bare_voxel_size_gives_no_sides(tmp_path, samples):
    path = samples.write_nifti(tmp_path / "bare.nii", sform_code=0, qform_code=0)
    assert codes(read_path(path)) == ["no-orientation"]


def test_micrometres_become_millimetres(tmp_path, samples):
    affine = samples.AFFINE.copy()
    affine[:3] *= 1000
    result = read_path(samples.write_nifti(tmp_path / "um.nii", affine=affine, xyzt_units=3))
    assert codes(result) == ["units"]
    assert np.allclose(result.volumes[0].affine, samples.AFFINE, atol=1e-3)


def test_shear_is_kept_and_said(tmp_path, samples):
    affine = samples.AFFINE.copy()
    affine[1, 2] = 0.7
    result = read_path(samples.write_nifti(tmp_path / "shear.nii", affine=affine))
    assert codes(result) == ["sheared"]
    assert np.allclose(result.volumes[0].affine, affine, atol=1e-5)


def test_wrong_names_are_said(tmp_path, samples):
    zipped = samples.write_nifti(tmp_path / "ct.nii.gz")
    zipped.rename(tmp_path / "ct.nii")
    assert codes(read_path(tmp_path / "ct.nii")) == ["wrong-extension"]
    (tmp_path / "ct.dcm").write_bytes(gzip.decompress((tmp_path / "ct.nii").read_bytes()))
    assert codes(read_path(tmp_path / "ct.dcm")) == ["wrong-extension"]


def test_pair_opens_from_either_file_and_misses_its_twin(tmp_path, samples):
    nibabel.Nifti1Pair(samples.hu_volume(), samples.AFFINE).to_filename(tmp_path / "ct.hdr")
    for name in ("ct.hdr", "ct.img"):
        result = read_path(tmp_path / name)
        assert result.warnings == ()
        assert np.array_equal(result.volumes[0].data, samples.hu_volume())
    (tmp_path / "ct.img").unlink()
    with pytest.raises(InputRefused, match=r"ct\.img is not there") as caught:
        read_path(tmp_path / "ct.hdr")
    assert caught.value.code == "missing-data-file"


def test_broken_files_are_refused(tmp_path, samples):
    good = samples.write_nifti(tmp_path / "good.nii").read_bytes()
    packed = gzip.compress(good)
    flipped = bytearray(packed)
    flipped[-8] ^= 0xFF
    for name, content, code in (
        ("empty.nii.gz", b"", "empty"),
        ("short.nii", good[:-100], "truncated"),
        ("header.nii", good[:352], "truncated"),
        ("half.nii", good[:200], "truncated"),
        ("short.nii.gz", packed[: len(packed) // 2], "truncated"),
        ("flipped.nii.gz", bytes(flipped), "corrupt"),
        ("text.nii", b"hello " * 200, "not-nifti"),
        ("text.dat", b"hello " * 200, "nothing-readable"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert refusal(path) == code, name
        assert path.read_bytes() == content
    assert can_read(tmp_path / "good.nii")
    assert not can_read(tmp_path / "text.nii")
    assert not can_read(tmp_path / "nowhere.nii")


def test_header_lies_are_refused_before_memory_is_taken(tmp_path, samples):
    for name, field, code in (
        ("huge", {"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}, "truncated"),
        ("zero", {"dim": [3, 9, 0, 5, 1, 1, 1, 1]}, "bad-dim"),
        ("minus", {"dim": [3, -9, 7, 5, 1, 1, 1, 1]}, "bad-dim"),
        ("complex", {"datatype": 32}, "complex"),
        ("colour", {"datatype": 128}, "colour"),
        ("nan", {"srow_x": [np.nan] * 4}, "singular-affine"),
        ("vector", {"intent_code": 1007}, "vector"),
    ):
        path = samples.write_nifti(tmp_path / f"{name}.nii", **field)
        with pytest.raises(InputRefused) as caught:
            read_path(path)
        assert caught.value.code == code, name


def test_spacing_zero_without_sform_is_refused(tmp_path, samples):
    path = samples.write_nifti(
        tmp_path / "flat.nii", sform_code=0, pixdim=[1, 0.7, 0.9, 0, 1, 0, 0, 0]
    )
    assert refusal(path) == "bad-spacing"


def test_missing_path_has_words(tmp_path, samples):
    assert refusal(tmp_path / "gone.nii") == "no-such-file"


def test_more_than_the_memory_of_any_machine_is_refused(tmp_path):
    with pytest.raises(OutOfResources, match="GB of memory"):
        check_memory(tmp_path / "ct.nii", 1 << 62)
