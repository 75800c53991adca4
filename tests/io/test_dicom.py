"""DICOM: order, gaps, phases, geometry and values of series we wrote ourselves."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.read import can_read, read_path


def codes(result):
    return [m.code for m in result.warnings]


def refusal(path):
    with pytest.raises(InputRefused) as caught:
        read_path(path)
    assert all((caught.value.expected, caught.value.found, caught.value.advice))
    return caught.value.code


def test_plain_series_loads_in_order_with_its_geometry(tmp_path, samples):
    series = samples.Series(tmp_path / "ct")
    folder = series.write()
    (folder / "notes.txt").write_text("not an image")
    assert can_read(folder)
    result = read_path(folder)
    (volume,) = result.volumes
    assert result.warnings == ()
    assert [m.code for m in result.notices] == ["not-dicom"]
    assert np.array_equal(volume.data, series.volume)
    wanted = [[-0.7, 0, 0, 10], [0, -0.9, 0, -20], [0, 0, 5, 100], [0, 0, 0, 1]]
    assert np.allclose(volume.affine, wanted)
    assert (volume.unit, volume.modality, volume.series) == ("HU", "CT", "Thorax 5mm")
    assert volume.uid == series.uid
    assert [p.name[-1] for p in volume.files] == list("012345")


def test_rescale_belongs_to_each_slice(tmp_path, samples):
    def change(data, k):
        data.RescaleIntercept = -1024 - k
        data.PixelData = (np.frombuffer(data.PixelData, "<u2") + k).astype("<u2").tobytes()

    series = samples.Series(tmp_path / "ct").each(change)
    (volume,) = read_path(series.write()).volumes
    assert np.array_equal(volume.data, series.volume)


def test_missing_slice_keeps_real_positions(tmp_path, samples):
    series = samples.Series(tmp_path / "ct", count=8)
    result = read_path(series.write(skip=[3]))
    (volume,) = result.volumes
    assert codes(result) == ["missing-slice"]
    assert volume.origins[:, 2] == pytest.approx([100, 105, 110, 120, 125, 130, 135])
    assert volume.spacing_mm[2] is None
    for k in (0, 2, 4, 7):
        voxel = volume.voxel_at((10 - 0.7 * 2, -20 - 0.9 * 3, 100 + 5 * k))
        assert volume.data[voxel] == series.volume[2, 3, k]


def test_uneven_distances(tmp_path, samples):
    def change(data, k):
        data.ImagePositionPatient = [-10.0, 20.0, 100.0 + k * k]

    result = read_path(samples.Series(tmp_path / "ct").each(change).write())
    assert codes(result) == ["uneven-spacing"]


def test_gantry_tilt_keeps_the_shear(tmp_path, samples):
    def change(data, k):
        data.ImageOrientationPatient = [1, 0, 0, 0, 0.9588197, 0.2840153]

    result = read_path(samples.Series(tmp_path / "ct").each(change).write())
    assert codes(result) == ["gantry-tilt"]
    assert result.volumes[0].affine[:3, 2] == pytest.approx([0, 0, 5])


def test_slices_at_one_position(tmp_path, samples):
    def copy_place(data, k):
        if k == 4:
            data.ImagePositionPatient = [-10.0, 20.0, 115.0]

    result = read_path(samples.Series(tmp_path / "ct").each(copy_place).write())
    assert codes(result) == ["duplicate-position", "missing-slice"]
    assert "_4" in result.warnings[0].message
    assert "_3" in result.warnings[0].message
    assert result.volumes[0].data.shape[2] == 5


def test_two_phases_become_two_volumes(tmp_path, samples):
    def change(data, k):
        data.ImagePositionPatient = [-10.0, 20.0, 100.0 + 5 * (k % 3)]
        data.AcquisitionNumber = 1 + k // 3

    result = read_path(samples.Series(tmp_path / "ct").each(change).write())
    assert codes(result) == ["two-phases"]
    assert [v.data.shape for v in result.volumes] == [(8, 6, 3)] * 2


def test_two_directions_become_two_volumes(tmp_path, samples):
    def change(data, k):
        if k > 3:
            data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
            data.ImagePositionPatient = [-10.0, 20.0 + k, 100.0]

    result = read_path(samples.Series(tmp_path / "ct").each(change).write())
    assert codes(result) == ["mixed-orientation"]
    assert [v.data.shape[2] for v in result.volumes] == [4, 2]


def test_two_series_are_listed_and_chosen(tmp_path, samples):
    samples.Series(tmp_path / "ct", count=4).write()
    second = samples.Series(tmp_path / "ct" / "more", SeriesNumber=9)
    second.write()
    result = read_path(tmp_path / "ct")
    assert codes(result) == ["two-series"]
    assert "--series" in result.warnings[0].message
    assert [v.index for v in result.volumes] == [1, 2]
    for choice in (2, "2", second.uid):
        (volume,) = read_path(tmp_path / "ct", choice).volumes
        assert volume.uid == second.uid
    with pytest.raises(InputRefused, match="from 1 to 2"):
        read_path(tmp_path / "ct", 3)


def test_two_patients_are_kept_apart_without_their_names(tmp_path, samples):
    samples.Series(tmp_path / "ct").write()
    samples.Series(tmp_path / "ct" / "b", PatientID="0815", PatientName="Roe^Richard").write()
    result = read_path(tmp_path / "ct")
    assert codes(result) == ["two-patients", "two-series"]
    words = " ".join(m.message for m in result.warnings)
    assert not any(secret in words for secret in ("Doe", "Roe", "4711", "0815"))


def test_mr_opens_with_a_warning(tmp_path, samples):
    result = read_path(samples.mr_series(tmp_path / "mr"))
    assert codes(result) == ["not-ct"]
    assert result.volumes[0].unit == "arbitrary"


def test_ct_without_rescale_shows_stored_numbers(tmp_path, samples):
    series = samples.Series(tmp_path / "ct").drop("RescaleSlope", "RescaleIntercept")
    result = read_path(series.write())
    assert codes(result) == ["no-rescale"]
    assert np.array_equal(result.volumes[0].data, series.volume + 1024)


def test_padding_is_air(tmp_path, samples):
    def change(data, k):
        pixels = np.frombuffer(data.PixelData, "<u2").copy()
        pixels[20:24] = 63536
        data.BitsStored, data.HighBit = 16, 15
        data.PixelPaddingValue = 63536
        data.PixelData = pixels.tobytes()

    result = read_path(samples.Series(tmp_path / "ct").each(change).write())
    assert codes(result) == ["padding"]
    assert result.volumes[0].range[1] == 700
    assert result.volumes[0].range[0] == -1000


def test_localisers_are_set_aside(tmp_path, samples):
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    samples.Series(tmp_path / "ct" / "scout", count=1, **scout).write()
    assert refusal(tmp_path / "ct") == "localiser-only"
    samples.Series(tmp_path / "ct" / "axial").write()
    result = read_path(tmp_path / "ct")
    assert result.warnings == ()
    assert [m.code for m in result.notices] == ["localiser-set-aside"]


@pytest.mark.parametrize(
    ("keyword", "code"),
    [
        ("ImagePositionPatient", "no-position"),
        ("ImageOrientationPatient", "no-orientation"),
        ("PixelSpacing", "no-pixel-spacing"),
        ("PixelData", "no-pixel-data"),
    ],
)
def test_a_series_without_what_places_it_is_refused(tmp_path, samples, keyword, code):
    folder = samples.Series(tmp_path / "ct").drop(keyword).write()
    assert refusal(folder) == code


def test_one_slice_without_position_is_set_aside_by_name(tmp_path, samples):
    series = samples.Series(tmp_path / "ct", count=8)
    del series.slices[3].ImagePositionPatient
    result = read_path(series.write())
    assert codes(result) == ["no-position", "missing-slice"]
    assert "_3" in result.warnings[0].message


def test_a_slice_cut_short_is_set_aside_by_name(tmp_path, samples):
    folder = samples.Series(tmp_path / "ct", count=8).write()
    (victim,) = folder.glob("*_5")
    victim.write_bytes(victim.read_bytes()[:-20])
    result = read_path(folder)
    assert codes(result) == ["truncated", "missing-slice"]
    assert victim.name in result.warnings[0].message


def test_an_odd_matrix_is_refused_by_name(tmp_path, samples):
    series = samples.Series(tmp_path / "ct")
    series.slices[2].Rows, series.slices[2].Columns = 3, 4
    folder = series.write()
    with pytest.raises(InputRefused, match="_2 differs") as caught:
        read_path(folder)
    assert caught.value.code == "matrix-differs"


def test_broken_numbers_are_refused(tmp_path, samples):
    for n, (elements, code) in enumerate(
        (
            ({"RescaleSlope": 0}, "bad-rescale"),
            ({"PixelSpacing": [0, 0]}, "bad-spacing"),
            ({"Modality": "DX"}, "not-a-volume"),
            ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "not-ct-image"),
            ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, "not-ct-image"),
        )
    ):
        assert refusal(samples.Series(tmp_path / str(n), **elements).write()) == code


def test_single_slice_has_no_spacing(tmp_path, samples):
    result = read_path(samples.Series(tmp_path / "ct", count=1).write())
    assert codes(result) == ["single-slice"]
    assert result.volumes[0].spacing_mm == [0.7, 0.9, None]


def test_folder_without_dicom_is_refused(tmp_path, samples):
    (tmp_path / "note.txt").write_text("holiday")
    (tmp_path / "empty.dcm").touch()
    assert refusal(tmp_path) == "nothing-readable"
    assert not can_read(tmp_path)
    samples.write_nifti(tmp_path / "ct.nii")
    with pytest.raises(InputRefused) as caught:
        read_path(tmp_path)
    assert "ct.nii" in caught.value.advice


def test_twelve_bit_signed_pixels_ignore_the_bits_above(tmp_path, samples):
    def change(data, k):
        data.PixelRepresentation = 1
        values = np.frombuffer(data.PixelData, "<u2").astype(np.int32) - 1024
        data.PixelData = ((values & 0x0FFF) | 0x5000).astype("<u2").tobytes()
        data.RescaleIntercept = 0

    series = samples.Series(tmp_path / "ct").each(change)
    (volume,) = read_path(series.write()).volumes
    assert np.array_equal(volume.data, series.volume)


def test_compressed_slices_read_like_plain_ones(tmp_path, samples):
    from pydicom.uid import JPEGLSLossless, RLELossless

    for syntax in (RLELossless, JPEGLSLossless):
        series = samples.Series(tmp_path / syntax.name.replace(" ", ""))
        folder = series.write()
        for data in series.slices:
            data["PixelData"].VR = "OW"
            data.compress(syntax, generate_instance_uid=False)
            path = next(folder.glob(f"*_{data.InstanceNumber - 1}"))
            data.save_as(path, enforce_file_format=True)
        (volume,) = read_path(folder).volumes
        assert np.array_equal(volume.data, series.volume)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_an_index_cannot_lead_out_of_its_folder(tmp_path, samples):
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    outside = samples.Series(tmp_path / "outside", count=2).write()
    disc = tmp_path / "disc"
    disc.mkdir()
    records = []
    for name in outside.iterdir():
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = ["..", "outside", name.name]
        records.append(record)
    index = Dataset()
    index.SOPClassUID = "1.2.840.10008.1.3.10"
    index.DirectoryRecordSequence = records
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.save_as(disc / "DICOMDIR", enforce_file_format=True)
    assert refusal(disc / "DICOMDIR") == "dicomdir-no-files"


def test_names_of_patients_stay_out_of_labels(tmp_path, samples):
    described = {"SeriesDescription": "Doe Jane <b>../../etc 4711 Thorax"}
    (volume,) = read_path(samples.Series(tmp_path / "ct", **described).write()).volumes
    assert volume.series == "b etc Thorax"
