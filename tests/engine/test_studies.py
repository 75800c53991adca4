"""Segmentations in and out, alignment, sessions: what goes out comes back the same."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy.spatial.transform import Rotation

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import resample
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.report import finding_text
from napari_ctvlp.engine import saving, verbs
from napari_ctvlp.engine.aligning import align
from napari_ctvlp.engine.labelled import open_anatomy
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.engine.sessions import (
    find_scan,
    read_session,
    run_session,
    saved_session,
    write_session,
)
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.headers import find_files
from napari_ctvlp.io.nifti import on_source


@pytest.fixture
def series(tmp_path, samples):
    """A DICOM series of its own and the scan read from it."""
    made = samples.Series(tmp_path / "ct", count=9)
    made.write()
    return made, open_scan(tmp_path / "ct")


@pytest.fixture
def organs(series):
    """Three organs, one of them without a code."""
    _, scan = series
    labels = np.zeros(scan.shape, np.uint8)
    labels[1:7, 1:3, 1:4], labels[2:6, 3:5, 4:7], labels[4, 0, 0] = 1, 2, 7
    rows = [(1, "lung_right"), (2, "liver"), (7, "odd_thing")]
    return anatomy_from_labels(labels, scan, rows, source="anatomy")


def same(one, other):
    """Whether two maps hold the same organs in the same voxels."""
    names = {organ.name for organ in one.organs}
    assert names == {organ.name for organ in other.organs}
    return all(np.array_equal(one.mask(name), other.mask(name)) for name in names)


@pytest.mark.parametrize("name", ["organs.dcm", "organs.nii.gz"])
def test_organs_come_back_as_they_went_out(name, series, organs, tmp_path):
    _, scan = series
    save = saving.save_organs_seg if name.endswith("dcm") else saving.save_organs_nifti
    save(tmp_path / name, organs, scan)
    assert same(open_anatomy(tmp_path / name, scan), organs)


def test_a_dicom_seg_takes_identity_and_codes_from_source_and_table(series, organs, tmp_path):
    _, scan = series
    saving.save_organs_seg(tmp_path / "organs.dcm", organs, scan)
    written = dcmread(tmp_path / "organs.dcm")
    first = dcmread(scan.source.files[0])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert written[keyword].value == first[keyword].value
    codes = [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in written.SegmentSequence]
    assert codes == ["3341006", "10200004", "85756007"]
    assert not any("Doe" in repr(value) for value in vars(scan.meta).values())


def test_a_seg_needs_dicom_slices(organs, tmp_path, samples):
    scan = open_scan(samples.write_nifti(tmp_path / "ct.nii"))
    labels = np.ones(scan.shape, np.uint8)
    drawn = anatomy_from_labels(labels, scan, [(1, "liver")], source="anatomy")
    with pytest.raises(InputRefused, match="not read from DICOM"):
        saving.save_organs_seg(tmp_path / "organs.dcm", drawn, scan)


def test_a_seg_of_another_patient_or_space_is_refused(series, organs, tmp_path, samples):
    _, scan = series
    saving.save_organs_seg(tmp_path / "organs.dcm", organs, scan)
    for folder, changed in (("b", {"PatientID": "0815"}), ("c", {})):
        other = samples.Series(tmp_path / folder, count=9, **changed)
        other.write()
        with pytest.raises(InputRefused) as refusal:
            open_anatomy(tmp_path / "organs.dcm", open_scan(tmp_path / folder))
        assert refusal.value.code == "reference-mismatch"


def test_labels_on_another_grid_are_placed_by_world_and_far_away_refused(series, organs, tmp_path):
    _, scan = series
    saving.save_organs_nifti(tmp_path / "organs.nii.gz", organs, scan)
    half = open_scan(scan.source.files[0].parent)
    wide = replace(half, hu=half.hu[2:], affine=_shifted(half, (2, 0, 0)))
    opened = open_anatomy(tmp_path / "organs.nii.gz", wide)
    assert np.array_equal(opened.mask("liver"), organs.mask("liver")[2:])
    far = replace(half, affine=_shifted(half, (500, 0, 0)))
    with pytest.raises(InputRefused, match="lies inside"):
        open_anatomy(tmp_path / "organs.nii.gz", far)


def test_a_label_map_under_another_formats_name_still_opens(series, organs, tmp_path):
    _, scan = series
    saving.save_organs_nifti(tmp_path / "organs.nii", organs, scan)
    image = SimpleITK.ReadImage(str(tmp_path / "organs.nii"))
    SimpleITK.WriteImage(image, str(tmp_path / "organs.nrrd"))
    (tmp_path / "named.nii").write_bytes((tmp_path / "organs.nrrd").read_bytes())
    opened = open_anatomy(tmp_path / "named.nii", scan)
    assert sorted(organ.name for organ in opened.organs) == ["label_1", "label_2", "label_7"]


def test_a_segmentation_on_a_flat_grid_is_refused(series, organs, tmp_path):
    _, scan = series
    saving.save_organs_seg(tmp_path / "organs.dcm", organs, scan)
    data = dcmread(tmp_path / "organs.dcm")
    (shared,) = data.SharedFunctionalGroupsSequence
    shared.PixelMeasuresSequence[0].PixelSpacing = [0, 1]
    data.save_as(tmp_path / "organs.dcm")
    with pytest.raises(InputRefused) as refusal:
        open_anatomy(tmp_path / "organs.dcm", scan)
    assert refusal.value.code == "singular-affine"


def _shifted(scan, voxels):
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(voxels, float)
    return affine


def rtstruct(path, made, boxes):
    """Write an RTSTRUCT: per name, a box in (column, row) voxels on some slices."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    data.Modality, data.PatientID, data.PatientName = "RTSTRUCT", "4711", "Doe^Jane"
    data.StudyInstanceUID, data.SeriesInstanceUID = made.study, generate_uid()
    frame = Dataset()
    frame.FrameOfReferenceUID = made.frame
    data.ReferencedFrameOfReferenceSequence = [frame]
    names, items = [], []
    for number, (name, (slices, outline)) in enumerate(boxes.items(), start=1):
        row, item = Dataset(), Dataset()
        row.ROINumber, row.ROIName = number, name
        item.ReferencedROINumber, item.ContourSequence = number, []
        for k in slices:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            points = [(-10 + 0.7 * c, 20 + 0.9 * r, 100 + 5.0 * k) for c, r in outline]
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [round(x, 4) for point in points for x in point]
            item.ContourSequence.append(contour)
        names.append(row)
        items.append(item)
    data.StructureSetROISequence, data.ROIContourSequence = names, items
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)


def test_contours_are_filled_where_they_were_drawn(series, tmp_path):
    made, scan = series
    box = [(0.5, 0.5), (4.5, 0.5), (4.5, 3.5), (0.5, 3.5)]
    rtstruct(tmp_path / "rt.dcm", made, {"Liver": ((2, 3, 4), box), "GTV": ((3,), box[:3])})
    opened = open_anatomy(tmp_path / "rt.dcm", scan)
    stored = np.zeros((8, 6, 9), bool)
    stored[1:5, 1:4, 2:5] = True
    stored[:, :, 3] = False
    liver = on_source(opened.mask("liver"), scan)
    assert np.array_equal(liver[:, :, [2, 4]], stored[:, :, [2, 4]])
    assert opened.has("gtv")
    assert "smaller one" in opened.reliability
    made.frame = generate_uid()
    rtstruct(tmp_path / "rt.dcm", made, {"Liver": ((2,), box)})
    with pytest.raises(InputRefused) as refusal:
        open_anatomy(tmp_path / "rt.dcm", scan)
    assert refusal.value.code == "reference-mismatch"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "counts"),
    [
        ("seg-binary", [638]),
        ("seg-overlap", [48, 16]),
        ("seg-small", [315]),
        ("seg-frames-not-byte-aligned", [322]),
        ("seg-labelmap-sparse", [630]),
    ],
)
def test_published_segmentations_open_with_their_counts(case, counts, shared):
    folder = shared / "data" / "edge_cases" / "dicom" / case
    scan = open_scan(folder)
    (path,) = (h.path for h in find_files(folder).headers if h.text("Modality") == "SEG")
    opened = open_anatomy(path, scan)
    assert [int((opened.labels == organ.id).sum()) for organ in opened.organs] == counts


@pytest.mark.shared
def test_published_contours_have_their_area(shared):
    folder = shared / "data" / "edge_cases" / "dicom" / "rtstruct-with-ct"
    scan = open_scan(folder)
    (path,) = (h.path for h in find_files(folder).headers if h.text("Modality") == "RTSTRUCT")
    lesion, islands = open_anatomy(path, scan).organs
    per_slice = scan.spacing[0] / 1000
    assert (lesion.name, islands.name) == ("lesion_größe", "two_islands")
    assert (lesion.ml + islands.ml) / per_slice == pytest.approx(664.1 + 47.0, rel=0.02)


def heat(scan):
    """A heatmap on the scan's own grid: a ramp toward the left."""
    values = np.broadcast_to(np.linspace(0, 1, scan.shape[2], dtype=np.float32), scan.shape)
    allowed = np.ones(scan.shape, bool)
    allowed[0] = False
    return Heatmap(values.copy(), scan.affine, allowed, Phrase("nodule", "nodule"), "mini")


@pytest.mark.parametrize("name", ["mask.dcm", "mask.nii.gz"])
def test_a_thresholded_heatmap_goes_out_as_a_mask(name, series, tmp_path):
    _, scan = series
    save = saving.save_mask_seg if name.endswith("dcm") else saving.save_mask_nifti
    save(tmp_path / name, heat(scan), scan, 0.6)
    opened = open_anatomy(tmp_path / name, scan)
    wanted = (heat(scan).values >= 0.6) & heat(scan).allowed
    assert np.array_equal(opened.labels > 0, wanted)


def test_tables_hold_codes_and_no_identity(series, organs, tmp_path):
    _, scan = series
    saving.save_table(tmp_path / "organs.csv", saving.organ_rows(organs))
    assert "liver,10200004," in (tmp_path / "organs.csv").read_text(encoding="utf-8")
    saving.save_numbers(tmp_path / "all.json", scan, organs, heat(scan), None)
    content = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert content["scan"] == scan.digest
    assert content["heatmap"]["peak"] == 1.0
    with pytest.raises(InputRefused):
        saving.save_table(tmp_path / "none.csv", [])


def test_a_finding_is_text_with_place_slice_and_model(series):
    _, scan = series
    text = finding_text(heat(scan), scan)
    assert text.startswith("Nodule: Cannot tell.")
    assert "axial slice 2 of 9 from the top" in text
    assert "Model mini" in text


def test_alignment_finds_a_known_motion():
    still = phantom((70, 60, 80), (4.5, 4.7, 4.5))
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix()
    motion[:3, 3] = (10, -7, 12)
    moved = resample(still.hu, motion @ still.affine, still.shape, still.affine, fill=-1000)
    aligned = align(still, replace(still, hu=moved))
    inside = (slice(10, -10),) * 3
    before = np.abs(moved[inside].astype(float) - still.hu[inside]).mean()
    after = np.abs(aligned.hu[inside].astype(float) - still.hu[inside]).mean()
    assert after < 0.35 * before
    assert np.array_equal(aligned.affine, still.affine)
    assert aligned.meta.notices[-1].code == "aligned"


def test_a_session_gives_the_same_numbers_bit_for_bit(tmp_path, samples):
    small = phantom((44, 40, 52), (7.0, 7.0, 7.0))
    stored = np.ascontiguousarray(small.hu[::-1, ::-1, ::-1].transpose(2, 1, 0))
    affine = np.diag([7.0, 7.0, 7.0, 1.0])
    affine[:3, 3] = [-7 * 51 / 2, -7 * 39 / 2, -7 * 43 / 2]
    path = samples.write_nifti(tmp_path / "Doe_Jane.nii", stored, affine)
    scan = open_scan(path)
    anatomy = verbs.segment(scan, "classical")
    asked = [(verbs.ground(scan, "nodule in the left lung", anatomy=anatomy), True)]
    view = {"point": (1.0, 2.0, 3.0)}
    session = saved_session(scan, asked, view, model="mini", segmenter="classical")
    write_session(tmp_path / "session.json", session)
    text = (tmp_path / "session.json").read_text(encoding="utf-8")
    assert "Doe" not in text
    assert str(tmp_path) not in text
    read = read_session(tmp_path / "session.json")
    again = find_scan(read, tmp_path)
    assert again.digest == scan.digest
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTVLP_CACHE", str(tmp_path / "fresh"))
        answers = run_session(read, again)
    assert [answer["same"] for answer in answers] == [True]
    assert os.environ.get("OMP_NUM_THREADS") != "0"


def test_a_session_without_its_scan_or_with_nonsense_is_refused(tmp_path, series):
    _, scan = series
    session = saved_session(scan, [], {}, model="mini")
    write_session(tmp_path / "session.json", session)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputRefused, match="SHA-256"):
        find_scan(session, tmp_path / "empty")
    assert find_scan(session, tmp_path).digest == scan.digest
    changed = replace(session, scan="0" * 64)
    with pytest.raises(InputRefused, match="volume is not"):
        find_scan(changed, tmp_path)
    content = json.loads((tmp_path / "session.json").read_text(encoding="utf-8"))
    wrong = [{"file": {}}, {"file": {"bytes": "1", "sha256": ""}}, {"model": "mini"}, {"view": []},
             {"results": [1]}, {"compute": {"device": "cpu", "threads": 0}}]  # fmt: skip
    broken = ["[1, 2", "[" * 100_000, *(json.dumps(content | change) for change in wrong)]
    for text in broken:
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputRefused, match="cannot be read"):
            read_session(tmp_path / "bad.json")
    with pytest.raises(InputRefused, match="came from elsewhere"):
        saved_session(scan, [], {}, model="mini", segmenter="opened")
