"""Many small studies for the cohort: phantoms of several sizes and orientations, some broken."""

from __future__ import annotations

import csv
import gzip
import itertools
import warnings
from pathlib import Path

import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_ctvlp.core.phantom import chest_hu

#: Voxels and mm of the pieces, 28 to 50 mm wide, and where there is air beside tissue.
SIZES = (((9, 8, 10), 4.0), ((8, 9, 7), 4.0), ((12, 10, 9), 3.0), ((7, 9, 10), 5.0))
CENTRES = ((-80, -40, -32), (60, 0, -50), (-60, 20, -40), (30, -60, 10), (-92, -30, -20))
AXES = tuple(itertools.permutations(range(3)))
SIGNS = tuple(itertools.product((1, -1), repeat=3))
#: Rows and columns of DICOM slices, RAS: axial, coronal, sagittal, and axial from below.
PLANES = (
    ((-1, 0, 0), (0, -1, 0)), ((-1, 0, 0), (0, 0, -1)),
    ((0, -1, 0), (0, 0, -1)), ((1, 0, 0), (0, -1, 0)),
)  # fmt: skip
BROKEN = (
    "empty", "cut-off.gz", "cut-off", "magic", "header", "no-hu", "no-slices", "slices-cut",
    "no-spacing", "noise",
)  # fmt: skip


def oriented(number: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return HU and affine of a piece; size, place and orientation follow from its number."""
    shape, step = SIZES[number % len(SIZES)]
    step *= scale
    axes, signs = AXES[number % 6], SIGNS[number // 6 % 8]
    affine = np.eye(4)
    affine[:3, :3] = step * np.eye(3)[list(axes)].T * np.array(signs)
    centre = np.array(CENTRES[number % len(CENTRES)]) + number % 7
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return chest_hu(shape, affine, seed=number), affine


def write_nifti(path: Path, number: int, scale: float = 1.0) -> Path:
    """Write a piece as NIfTI."""
    hu, affine = oriented(number, scale)
    image = nibabel.Nifti1Image(hu, affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


def write_series(folder: Path, number: int, count: int = 10) -> Path:
    """Write a piece as a folder of DICOM slices, along one of four orientations."""
    folder.mkdir(parents=True)
    (row, column), step = map(np.array, PLANES[number // 2 % len(PLANES)]), 4.0
    normal = np.cross(row, column)
    affine = np.eye(4)
    affine[:3, :3] = step * np.stack([row, column, normal], axis=1)
    shape = (9, 8, count)
    centre = np.array(CENTRES[number % len(CENTRES)])
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) - 1) / 2
    hu = chest_hu(shape, affine, seed=number)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    lps = np.array([-1, -1, 1])
    for k in range(count):
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.PatientName, data.PatientID = "Doe^Jane", "4711"
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.SeriesNumber, data.InstanceNumber = frame, 1, k + 1
        place = affine[:3, 3] + affine[:3, 2] * k
        data.ImagePositionPatient = (place * lps).tolist()
        data.ImageOrientationPatient = [*(row * lps).tolist(), *(column * lps).tolist()]
        data.PixelSpacing, data.Rows, data.Columns = [step, step], shape[1], shape[0]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, 0, "HU"
        data.PixelData = np.ascontiguousarray(hu[:, :, k].T).astype("<i2").tobytes()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.save_as(folder / f"im{(k * 7) % count:02d}", enforce_file_format=True)
    return folder


def write_broken(folder: Path, kind: str, number: int) -> Path:
    """Write a study that cannot be read, in one of the ways of ``BROKEN``."""
    plain = kind in ("cut-off", "magic", "header", "no-hu", "no-spacing")
    path = folder / f"{number:03d}-{kind.removesuffix('.gz')}.nii{'' if plain else '.gz'}"
    if kind == "no-slices":
        path = folder / f"{number:03d}-none"
        path.mkdir()
    elif kind == "slices-cut":
        path = write_series(folder / f"{number:03d}-cut", number)
        for file in path.iterdir():
            file.write_bytes(file.read_bytes()[:-120])
    elif kind in ("empty", "noise"):
        noise = np.random.default_rng(number).bytes(3000)
        path.write_bytes(b"" if kind == "empty" else gzip.compress(noise))
    else:
        write_nifti(path, number)
        _spoil(path, kind)
    return path


def _spoil(path: Path, kind: str) -> None:
    raw = path.read_bytes()
    if kind.startswith("cut-off"):
        path.write_bytes(raw[: len(raw) * 2 // 3])
        return
    header = nibabel.Nifti1Header(raw[:348], check=False)
    fields = header.structarr
    body = raw[348:]
    if kind == "magic":
        fields["magic"], fields["sizeof_hdr"] = b"nix", 7
    elif kind == "header":
        fields["dim"][1:4] = 32767
    elif kind == "no-spacing":
        fields["sform_code"] = fields["qform_code"] = 0
        fields["pixdim"][1:4] = 0
    else:  # an image of 0 to 255
        values = np.abs(np.frombuffer(raw[352:], "<i2")) % 256
        body = raw[348:352] + values.astype("<i2").tobytes()
    path.write_bytes(fields.tobytes() + body)


def write_archive(
    folder: Path, count: int, broken: int = 10, every: int = 12, scale: float = 1.0
) -> Path:
    """Write ``count`` studies, some of them broken, every twelfth as DICOM; return the manifest."""
    folder.mkdir(parents=True)
    spoiled = {(n + 1) * count // (broken + 1): BROKEN[n] for n in range(broken)}
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            if number in spoiled:
                path = write_broken(folder, spoiled[number], number)
            elif number % every == every // 2:
                path = write_series(folder / f"{number:03d}", number)
            else:
                path = write_nifti(folder / f"{number:03d}.nii.gz", number, scale)
            rows.append((path, f"id{number}", number % 2))
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "id", "nodule"), *rows])
    return manifest
