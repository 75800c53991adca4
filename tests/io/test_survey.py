"""What a folder or a drop holds: patients, studies and series, and why one is unsuitable."""

import numpy as np
import pytest
from pydicom.uid import generate_uid

from napari_ctvlp.engine.opening import glance_at, open_item, open_scan, preview_of
from napari_ctvlp.errors import InputRefused, JobCancelled
from napari_ctvlp.io.survey import survey


@pytest.fixture
def mixed(tmp_path, samples):
    """Two patients, a localiser, an MR, a short series, a NIfTI file and something else."""
    chest = samples.Series(
        tmp_path / "a", count=12, ConvolutionKernel="B30f", ContrastBolusAgent="Iomeprol",
        StudyDate="20240131", StudyDescription="Thorax",
    )  # fmt: skip
    chest.write()
    scout = samples.Series(tmp_path / "b", count=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    for other in (scout, samples.Series(tmp_path / "c", count=3)):
        for keyword in ("StudyInstanceUID", "StudyDate", "StudyDescription"):
            value = chest.slices[0][keyword].value
            other.each(lambda data, k, key=keyword, value=value: setattr(data, key, value))
        other.write()
    samples.Series(
        tmp_path / "d", PatientName="Roe^Richard", PatientID="0815", Modality="MR"
    ).write()
    samples.write_nifti(tmp_path / "e.nii.gz")
    (tmp_path / "readme.txt").write_text("not an image")
    return tmp_path


def test_everything_is_listed_under_its_patient_and_study(mixed):
    found = survey([mixed])
    names = [patient.name for patient in found.patients]
    assert names == ["Doe Jane", "Roe Richard", ""]
    (study,) = found.patients[0].studies
    assert (study.date, study.description) == ("20240131", "Thorax")
    chest = next(item for item in study.items if item.shape == (8, 6, 12))
    assert (chest.plane, chest.kernel, chest.contrast) == ("axial", "B30f", "Iomeprol")
    assert chest.spacing_mm == pytest.approx((0.7, 0.9, 5.0))
    assert chest.suitable
    assert chest.thumbnail.shape == (6, 8)


def test_the_unsuitable_says_why(mixed):
    reasons = [item.reason for item in survey([mixed]).items() if not item.suitable]
    assert len(reasons) == 3
    assert any("localiser" in reason for reason in reasons)
    assert any("Only 3 slices" in reason for reason in reasons)
    assert any("MR" in reason for reason in reasons)


def test_one_suitable_series_needs_no_question(mixed):
    assert survey([mixed]).only is None, "the CT and the NIfTI file are both suitable"
    (mixed / "e.nii.gz").unlink()
    found = survey([mixed])
    assert found.only.kernel == "B30f"
    scan = open_item(found.only)
    assert np.array_equal(scan.hu, open_scan(mixed / "a").hu)
    assert np.allclose(scan.affine, open_scan(mixed / "a").affine)


def test_the_preview_is_a_slice_of_the_scan_in_its_place(mixed):
    item = next(item for item in survey([mixed / "a"]).items())
    preview, scan = preview_of(item), open_item(item)
    assert preview.meta.notices[0].code == "provisional"
    at = round((preview.affine[2, 3] - scan.affine[2, 3]) / scan.affine[2, 0])
    assert np.array_equal(preview.hu[0], scan.hu[at])
    assert np.allclose(preview.affine[:2], scan.affine[:2])


def test_a_glance_is_a_slice_of_the_scan_in_its_place(tmp_path, samples):
    inner = tmp_path / "disc" / "study"
    samples.Series(inner, count=12).write()
    (inner / "a note.txt").write_text("sorts first, and is no slice")
    scan = open_scan(inner)
    for paths in ([tmp_path], sorted(inner.iterdir())):
        seen = glance_at(paths)
        assert seen.meta.notices[0].code == "provisional"
        assert seen.shape == (1, *scan.shape[1:])
        at = round((seen.affine[2, 3] - scan.affine[2, 3]) / scan.affine[2, 0])
        assert np.array_equal(seen.hu[0], scan.hu[at])
        assert np.allclose(seen.affine[:, 1:3], scan.affine[:, 1:3])
        assert np.allclose(seen.affine[:2, 3], scan.affine[:2, 3])


def test_a_glance_shows_nothing_that_may_be_something_else(mixed, tmp_path_factory, samples):
    assert glance_at([mixed]) is None, "folders beside files"
    assert glance_at([mixed / "c"]) is None, "too few slices"
    assert glance_at([mixed / "nowhere"]) is None
    assert glance_at([mixed / f"gone {n}" for n in range(12)]) is None

    def of(name, change, **elements):
        series = samples.Series(tmp_path_factory.mktemp(name), count=12, **elements)
        series.each(change).write()
        return [series.folder]

    def same(data, k):
        pass

    assert glance_at(of("as it is", same)) is not None
    assert glance_at(of("mr", same, Modality="MR")) is None, "no HU"
    turned = [np.cos(0.2), np.sin(0.2), 0, -np.sin(0.2), np.cos(0.2), 0]
    assert glance_at(of("turned", same, ImageOrientationPatient=turned)) is None

    def two(data, k):  # the third slice is the last file by name
        data.SeriesInstanceUID = generate_uid() if k == 3 else data.SeriesInstanceUID

    assert glance_at(of("two", two)) is None, "the last file is of another series"
    (broken,) = of("broken", same)
    middle = sorted(broken.iterdir())[6]
    middle.write_bytes(middle.read_bytes()[:-40])
    assert glance_at([broken]) is None, "the middle file is cut short"
    (indexed,) = of("indexed", same)
    (indexed / "DICOMDIR").write_bytes(b"")
    assert glance_at([indexed]) is None, "the index may name other places"


def test_two_phases_are_two_items(tmp_path, samples):
    first, second = samples.Series(tmp_path, count=11), samples.Series(tmp_path, count=11)
    second.each(lambda data, k: setattr(data, "SeriesInstanceUID", first.uid))
    second.each(lambda data, k: setattr(data, "AcquisitionNumber", 2))
    first.write()
    for k, data in enumerate(second.slices):
        data.StudyInstanceUID = first.study
        data.SOPInstanceUID, data.RescaleIntercept = generate_uid(), -1000
        first.slices[k] = data
    first.folder = tmp_path / "second"
    first.folder.mkdir()
    first.write()
    items = list(survey([tmp_path]).items())
    assert [item.label for item in items] == ["Thorax 5mm (1 of 2)", "Thorax 5mm (2 of 2)"]
    assert not np.array_equal(open_item(items[0]).hu, open_item(items[1]).hu)


def test_several_paths_are_one_list_and_a_cancel_stops_it(mixed):
    files = sorted((mixed / "a").iterdir())
    assert len(list(survey(files).items())) == 1

    def stop(share, stage):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        survey([mixed], stop)


def test_a_folder_without_images_is_refused_in_words(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(InputRefused, match="holds none") as refusal:
        survey([tmp_path])
    assert refusal.value.code == "nothing-readable"


def test_labels_carry_neither_name_nor_number(tmp_path, samples):
    samples.Series(tmp_path, count=11, SeriesDescription="Thorax Doe 4711").write()
    (item,) = survey([tmp_path]).items()
    assert item.label == "Thorax"
