"""A manifest is believed only as a whole, and all that is wrong with it is told at once."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_ctvlp.core.parser import parse
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.training.manifest import read_manifest
from napari_ctvlp.training.own_reports import organs_of, read_report
from napari_ctvlp.training.synthesis.canvas import ANATOMIES

REPORT = "There is a 12 mm nodule in the left upper lobe. No pleural effusion."


@pytest.fixture
def folder(tmp_path: Path, samples: ModuleType) -> Path:
    """Three CTs, a mask on the grid of the first, one on another grid."""
    for number in range(3):
        samples.write_nifti(tmp_path / f"ct{number}.nii.gz", samples.hu_volume(seed=number))
    labels = np.zeros(samples.SHAPE, np.uint8)
    labels[3:5, 3:5, 2] = 5
    samples.write_nifti(tmp_path / "mask.nii.gz", labels)
    samples.write_nifti(tmp_path / "other.nii.gz", labels[:-1])
    moved = samples.AFFINE.copy()
    moved[0, 3] += 1
    samples.write_nifti(tmp_path / "moved.nii.gz", labels, moved)
    samples.write_nifti(tmp_path / "nohu.nii.gz", (samples.hu_volume() + 1024).astype(np.uint16))
    (tmp_path / "broken.nii.gz").write_bytes(b"no image at all")
    (tmp_path / "report.txt").write_text(REPORT)
    (tmp_path / "blank.txt").write_text(" \n")
    return tmp_path


def manifest(folder: Path, *lines: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def problems(path: Path, need: str = "report") -> list[str]:
    """Return the problems of a refused manifest."""
    with pytest.raises(InputRefused) as caught:
        read_manifest(path, need)
    assert caught.value.code == "bad-manifest"
    return [line[2:] for line in caught.value.found.splitlines() if line.startswith("- ")]


def test_a_good_manifest_is_read_in_order(folder: Path):
    path = manifest(
        folder,
        "id,ct,report,report_file,masks,finding:nodule,finding:mass,split,patient",
        f'b,ct1.nii.gz,"{REPORT}",,mask.nii.gz,1,,train,p1',
        "a,ct0.nii.gz,,report.txt,,0,1,validation,p2",
    )
    first, second = read_manifest(path)
    assert (first.id, first.patient, first.split) == ("b", "p1", "train")
    assert first.masks == folder / "mask.nii.gz"
    assert first.labels == {"nodule": 1.0}
    assert second.labels == {"nodule": 0.0, "mass": 1.0}
    assert first.report == second.report == REPORT
    assert len(first.digest) == 64
    assert first.digest != second.digest


def test_every_problem_is_told_at_once(folder: Path):
    path = manifest(
        folder,
        "id,ct,report,report_file,masks,finding:nodule,split,patient,colour",
        "a,ct0.nii.gz,nodule,,mask.nii.gz,1,train,p1,",
        "a,ct1.nii.gz,,,,2,validation,p1,",
        "c,none.nii.gz,nodule,,,,,,",
        "d,ct2.nii.gz,nodule,,other.nii.gz,,,,",
        "e,nohu.nii.gz,nodule,,,,,,",
        "f,broken.nii.gz,,blank.txt,,,,,",
        "g,ct0.nii.gz,nodule,,moved.nii.gz,,half,,",
        ",ct1.nii.gz,nodule,missing.txt,gone.nii.gz,,,,",
        "h,ct2.nii.gz,nodule,,,,,,red,too many",
    )
    found = "\n".join(problems(path))
    for words in (
        "unknown column 'colour'",
        "duplicate study: the id 'a' is in row 2 (a) and row 3 (a)",
        "patient 'p1' is on both sides of the split",
        "row 3 (a): empty report",
        "row 3 (a): the label nodule is '2'",
        "row 4 (c): missing file: there is no CT",
        "row 5 (d): the mask other.nii.gz is on another grid",
        "row 6 (e): the CT has no HU",
        "row 7 (f): unreadable file",
        "row 7 (f): empty report",
        "row 8 (g): the mask moved.nii.gz is on another grid",
        "row 8 (g): the split 'half' is none of",
        "row 9 (no id): the id is empty",
        "row 9 (no id): it has both a report and a report_file",
        "row 9 (no id): missing file: the report",
        "row 9 (no id): missing file: there is no mask",
        "row 10 (h): the number of cells is not that of the header",
        "duplicate study: a and g hold the same CT",
        "duplicate study: d and h hold the same CT",
    ):
        assert words in found, words


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["id,ct,report"], "there is no row"),
        (["id,report", "a,nodule"], "no column 'ct'"),
        (["id,ct,ct,report", "a,ct0.nii.gz,ct0.nii.gz,nodule"], "stands there 2 times"),
        (["id,ct,report,finding:", "a,ct0.nii.gz,nodule,1"], "names no finding"),
        (["id,ct,report,masks", "a,ct0.nii.gz,nodule,ct1.nii.gz"], ""),
    ],
)
def test_a_table_that_is_no_manifest(folder: Path, lines: list[str], words: str):
    path = manifest(folder, *lines)
    if words:
        assert any(words in told for told in problems(path))
    else:
        assert read_manifest(path)[0].masks is not None


def test_an_empty_or_binary_file_is_refused(folder: Path):
    (folder / "manifest.csv").write_bytes(b"")
    assert any("no column 'id'" in told for told in problems(folder / "manifest.csv"))
    (folder / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    assert any("cannot be read as UTF-8" in told for told in problems(folder / "manifest.csv"))


def test_labels_alone_serve_fine_tuning(folder: Path):
    path = manifest(folder, "id,ct,finding:sign", "a,ct0.nii.gz,1", "b,ct1.nii.gz,0")
    assert [study.labels["sign"] for study in read_manifest(path, "labels")] == [1.0, 0.0]
    bare = manifest(folder, "id,ct", "a,ct0.nii.gz")
    assert any("no label" in told for told in problems(bare, "labels"))
    assert any("empty report" in told for told in problems(bare))


def test_a_folder_laid_out_like_ct_rate(tmp_path: Path, samples: ModuleType):
    for number, name in enumerate(("train_1_a_1", "train_2_a_1", "valid_1_a_1")):
        words = name.split("_")
        place = tmp_path / "_".join(words[:2]) / "_".join(words[:3])
        place.mkdir(parents=True)
        samples.write_nifti(place / f"{name}.nii.gz", samples.hu_volume(seed=number))
    rows = "".join(
        f'{name}.nii.gz,"Mass in the right lung.","Mass."\n'
        for name in ("train_1_a_1", "train_2_a_1", "valid_1_a_1", "train_9_a_1")
    )
    (tmp_path / "reports.csv").write_text("VolumeName,Findings_EN,Impressions_EN\n" + rows)
    (tmp_path / "labels.csv").write_text(
        "VolumeName,Lung nodule,Emphysema\ntrain_1_a_1.nii.gz,1,0\n"
    )
    (tmp_path / "metadata.csv").write_text("VolumeName,Manufacturer\ntrain_1_a_1.nii.gz,X\n")
    first, second, third = read_manifest(tmp_path)
    assert (first.id, first.patient, first.split) == ("train_1_a_1", "train_1", "train")
    assert first.labels == {"lung_nodule": 1.0, "emphysema": 0.0}
    assert first.report == "Mass in the right lung. Mass."
    assert second.labels == {}
    assert third.split == "validation"
    (tmp_path / "reports.csv").write_text(
        "VolumeName,Findings_EN,Impressions_EN\ntrain_1_a_1.nii.gz,,\n"
    )
    told = problems(tmp_path)
    assert sum("empty report" in words for words in told) == 3


def test_a_folder_without_tables_is_refused(tmp_path: Path):
    assert any("no CSV in the folder" in told for told in problems(tmp_path))


@pytest.mark.parametrize(
    ("text", "organs"),
    [
        ("Mass in the left lung", ("lung_left",)),
        ("No pleural effusion", ("lung_left", "lung_right")),
        ("Right pleural effusion", ("lung_right",)),
        ("The heart is of normal size", ("heart",)),
        ("Cyst in the left kidney", ("kidney_left",)),
        ("The adrenal glands are unremarkable", ("abdomen",)),
        ("Trachea is central", ("mediastinum",)),
        ("The patient was lying down", ()),
    ],
)
def test_sentences_are_filed_under_their_anatomy(text: str, organs: tuple[str, ...]):
    assert organs_of(parse(text)) == organs
    assert set(organs) <= set(ANATOMIES)


def test_a_report_is_split_by_organ_and_state():
    report = read_report(
        "1. Nodule of 3.5 cm in the right lung. No pneumothorax.\n- Possible mass in the left "
        "lung; the liver is normal."
    )
    rows = {(s.text, s.organ): (s.finding, s.state) for s in report.sentences}
    assert rows["Nodule of 3.5 cm in the right lung.", "lung_right"] == ("nodule", "present")
    assert rows["No pneumothorax.", "lung_left"] == ("pneumothorax", "absent")
    assert rows["Possible mass in the left lung;", "lung_left"] == ("mass", "uncertain")
    assert rows["the liver is normal.", "liver"] == ("", "normal")
    assert ("Nodule of 3.5 cm in the right lung.", "lung_left") not in rows
