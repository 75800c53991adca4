"""Ten minutes of damaged headers and files: only our own errors, no hang, no flood of memory.

``CTVLP_FUZZ_SECONDS`` changes the time, which is shared among the readers.
"""

import gzip
import json
import os
import resource
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RTStructureSetStorage,
    generate_uid,
)

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.engine import saving
from napari_ctvlp.engine.labelled import open_anatomy
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.engine.sessions import find_scan, read_session, saved_session, write_session
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.io.dicom.headers import find_files
from napari_ctvlp.io.read import read_path
from napari_ctvlp.io.survey import survey

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
SECONDS = float(os.environ.get("CTVLP_FUZZ_SECONDS", "600"))
#: Kinds in which sequences may be put into sequences.
NESTED = ("dicom", "grouper", "seg", "rtstruct")
#: Longest time for one broken input, s, and most memory all of them may add, MB.
LONGEST_S, MOST_MB = 20.0, 600.0
KINDS = ("nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd", "dicom", "grouper", "dicomdir",
         "seg", "rtstruct", "labels", "session")  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory, samples):
    """Map a kind to a folder with one valid small input of it."""
    top = tmp_path_factory.mktemp("originals")
    folders = {kind: top / kind.replace(".", "") for kind in KINDS}
    for folder in folders.values():
        folder.mkdir()
    samples.write_nifti(folders["nii"] / "ct.nii")
    samples.write_nifti(folders["nii.gz"] / "ct.nii.gz")
    image = SimpleITK.GetImageFromArray(samples.hu_volume().T)
    for kind in ("nrrd", "nhdr", "mha", "mhd"):
        SimpleITK.WriteImage(image, str(folders[kind] / f"ct.{kind}"))
    samples.Series(folders["dicom"], count=2).write()
    samples.Series(folders["grouper"] / "a", count=4).write()
    samples.Series(folders["grouper"] / "b", count=4).write()
    samples.Series(folders["dicomdir"] / "a", count=3).write()
    write_dicomdir(folders["dicomdir"])
    samples.Series(top / "ct", count=4).write()
    return folders | {"ct": top / "ct"} | drawn(open_scan(top / "ct"), folders, samples)


def drawn(scan, folders, samples):
    """Write a scan's organs as SEG, RTSTRUCT and named label map, and a session of it."""
    labels = np.zeros(scan.shape, np.uint8)
    labels[1:3, 1:3, 1:4], labels[2:4, 3:5, 4:7] = 1, 2
    rows = [(1, "lung_right"), (2, "liver")]
    organs = anatomy_from_labels(labels, scan, rows, source="anatomy")
    saving.save_organs_seg(folders["seg"] / "organs.dcm", organs, scan)
    write_rtstruct(folders["rtstruct"] / "organs.dcm", scan)
    saving.save_organs_nifti(folders["labels"] / "organs.nii", organs, scan)
    (folders["labels"] / "organs.json").write_text(json.dumps(dict(rows)), encoding="utf-8")
    values = np.zeros(scan.shape, np.float32)
    known = Heatmap(values, scan.affine, values == 0, Phrase("nodule", "nodule"), "mini")
    session = saved_session(scan, [(known, True)], {"shown": {"order": [0, 1, 2]}}, model="mini")
    write_session(folders["session"] / "session.json", session)
    return {"scan": scan}


def write_rtstruct(path, scan):
    """Write one box as contours on two slices of a scan."""
    data = dcmread(scan.source.files[0], stop_before_pixels=True)
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    data.Modality, data.file_meta.MediaStorageSOPClassUID = "RTSTRUCT", RTStructureSetStorage
    row, item = Dataset(), Dataset()
    row.ROINumber, row.ROIName = 1, "Liver"
    item.ReferencedROINumber, item.ContourSequence = 1, []
    for k in (1, 2):
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
        corners = [(1, 1, k), (4, 1, k), (4, 3, k), (1, 3, k)]
        points = transform(scan.source.affine, np.array(corners, float)) * (-1, -1, 1)
        contour.ContourData = [round(float(x), 4) for x in points.ravel()]
        item.ContourSequence.append(contour)
    data.StructureSetROISequence, data.ROIContourSequence = [row], [item]
    data.save_as(path, enforce_file_format=True)


def write_dicomdir(folder, names=(("a", "im00_0"), ("a", "im07_1"))):
    """Write a DICOMDIR whose records name files as asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Dataset()
        data.DirectoryRecordSequence = []
        for parts in names:
            record = Dataset()
            record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", list(parts)
            data.DirectoryRecordSequence.append(record)
        data.SOPClassUID, data.SOPInstanceUID = MediaStorageDirectoryStorage, generate_uid()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
        data.save_as(folder / "DICOMDIR", enforce_file_format=True)


def damaged(content, dice):
    """Flip, cut, repeat or insert bytes, or overwrite a length with a huge one."""
    data = bytearray(content)
    for _ in range(int(dice.integers(1, 4))):
        # Headers are where the decisions are: half of the hits fall into the first kilobyte.
        reach = min(len(data), 1024) if dice.random() < 0.5 else len(data)
        at = int(dice.integers(0, max(1, reach)))
        kind = dice.integers(0, 6)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at : at + 1] = bytes([int(dice.integers(0, 256))])
        elif kind == 2:
            data[at : at + 4] = struct.pack("<I", int(dice.choice([0xFFFFFFFF, 0x7FFFFFFF, 0])))
        elif kind == 3:
            data[at:at] = dice.bytes(int(dice.integers(1, 16)))
        elif kind == 4:
            data[at:at] = data[at : at + int(dice.integers(1, 200))]
        else:
            digits = [n for n in range(len(data[:4096])) if 48 <= data[n] <= 57]
            for n in dice.choice(digits, min(3, len(digits)), replace=False) if digits else ():
                data[n] = int(dice.integers(45, 58))
    return bytes(data)


def nested(content, dice):
    """Put sequences within sequences, deep or of undefined length, before the pixels."""
    depth = int(dice.choice([3, 40, 400, 3000]))
    start = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    at = max(132, content.find(b"\x08\x00\x60\x00"))
    return content[:at] + start * depth + content[at:]


def told(read, path):
    """Return the refusal, or None when it could be read; any other error is a fault."""
    try:
        read(path)
    except CtvlpError as error:
        return error


def readers(kind, originals):
    """Return the ways in which a user can read a kind."""
    scan = originals["scan"]
    if kind == "session":
        return [lambda path: find_scan(read_session(path), path.parent)]
    if kind in ("seg", "rtstruct", "labels"):
        return [lambda path: open_anatomy(path, scan), lambda path: survey([path])]
    return [lambda path: survey([path]), read_path]


def attempt(kind, folder, originals):
    """Read one input in all ways a user can."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    targets = [folder] if kind in ("dicom", "grouper") else [files[0]]
    if kind == "dicomdir":
        targets = [folder / "DICOMDIR", folder]
    if kind == "labels":
        targets = [folder / "organs.nii"]
    if kind in ("nhdr", "mhd"):
        targets = [path for path in files if path.suffix == f".{kind}"]
    for target in targets:
        for read in readers(kind, originals):
            answer = told(read, target)
            assert answer is None or all(answer.as_dict().values())


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_answered_in_words(kind, originals, tmp_path):
    dice = np.random.default_rng(list(kind.encode()))
    files = sorted(path for path in originals[kind].rglob("*") if path.is_file())
    contents = {path: path.read_bytes() for path in files}
    end, count, slowest = time.monotonic() + SECONDS / len(KINDS), 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() < end:
        folder = tmp_path / "broken"
        broken = files[int(dice.integers(0, len(files)))]
        for path, content in contents.items():
            target = folder / path.relative_to(originals[kind])
            target.parent.mkdir(parents=True, exist_ok=True)
            if path == broken:
                harm = nested if kind in NESTED and dice.random() < 0.1 else damaged
                content = harm(content, dice)  # noqa: PLW2901
            target.write_bytes(content)
        start = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attempt(kind, folder, originals)
        slowest, count = max(slowest, time.monotonic() - start), count + 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{kind}: {count} inputs, slowest {slowest:.2f} s, memory grew by {grown:.0f} MB")
    assert count > 0
    assert slowest < LONGEST_S
    assert grown < MOST_MB


def test_declared_sizes_are_checked_before_memory_is_taken(originals, tmp_path, samples):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = samples.write_nifti(tmp_path / "huge.nii", dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    for kind, old, new in (("mha", b"DimSize = 9 7 5", b"DimSize = 9999 9999 9999"),
                           ("nrrd", b"sizes: 9 7 5", b"sizes: 9999 9999 9999")):  # fmt: skip
        content = (originals[kind] / f"ct.{kind}").read_bytes()
        assert old in content
        (tmp_path / f"huge.{kind}").write_bytes(content.replace(old, new))
    data = dcmread(next(originals["dicom"].iterdir()))
    data.Rows = data.Columns = 65535
    data.NumberOfFrames = 60000
    data.save_as(tmp_path / "huge.dcm")
    for name in ("huge.nii", "huge.nii.gz", "huge.mha", "huge.nrrd", "huge.dcm"):
        with pytest.raises(CtvlpError):
            read_path(tmp_path / name)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MOST_MB


def test_no_path_in_a_file_leaves_its_folder(tmp_path, samples):
    samples.Series(tmp_path / "outside", count=3).write()
    (tmp_path / "voxels.raw").write_bytes(samples.hu_volume().tobytes())
    inside = tmp_path / "inside"
    inside.mkdir()
    outside = sorted((tmp_path / "outside").iterdir())[0]
    write_dicomdir(inside, [("..", "outside", outside.name), (str(outside),), ("a/../../outside",)])
    with pytest.raises(CtvlpError):
        read_path(inside / "DICOMDIR")
    assert not find_files(inside / "DICOMDIR").headers
    for name in ("../voxels.raw", str(tmp_path / "voxels.raw")):
        lines = ["NDims = 3", "DimSize = 9 7 5", "ElementType = MET_SHORT",
                 "ElementSpacing = 1 1 1", f"ElementDataFile = {name}"]  # fmt: skip
        (inside / "ct.mhd").write_text("\n".join(lines) + "\n")
        header = ["NRRD0004", "type: short", "dimension: 3", "sizes: 9 7 5",
                  "space: left-posterior-superior", "space directions: (1,0,0) (0,1,0) (0,0,1)",
                  "encoding: raw", "endian: little", f"data file: {name}"]  # fmt: skip
        (inside / "ct.nhdr").write_text("\n".join(header) + "\n\n")
        for file in ("ct.mhd", "ct.nhdr"):
            with pytest.raises(CtvlpError) as refusal:
                read_path(inside / file)
            assert refusal.value.code == "missing-data-file"
    assert Path(outside).is_file()
