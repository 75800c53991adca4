"""Small image files of our own, written by nibabel and pydicom."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

SHAPE = (9, 7, 5)
AFFINE = np.array([[-0.7, 0, 0, 20.0], [0, -0.9, 0, 30.0], [0, 0, 2.5, -40.0], [0, 0, 0, 1]])


def hu_volume(shape=SHAPE, seed=0):
    """A CT-like volume with every voxel its own value: air, tissue, one bright marker."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-990, -900, shape)
    values[2:-2, 1:-1, :] = rng.integers(-100, 90, values[2:-2, 1:-1, :].shape)
    values[1, 2, 3 % shape[2]] = 700
    return values.astype(np.int16)


def write_nifti(path: Path, values=None, affine=AFFINE, **header):
    """Write a NIfTI-1 file; keyword arguments overwrite header fields."""
    values = hu_volume() if values is None else values
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.set_qform(affine, code=1)
    image.to_filename(path)
    if header:
        patch_header(path, **header)
    return path


def patch_header(path: Path, **fields):
    """Overwrite header fields of a plain NIfTI-1 file, sense or no sense."""
    raw = bytearray(path.read_bytes())
    parsed = nibabel.Nifti1Header(bytes(raw[:348]), check=False)
    for key, value in fields.items():
        parsed.structarr[key] = value
    raw[:348] = parsed.structarr.tobytes()
    path.write_bytes(raw)


class Series:
    """A DICOM series to be written slice by slice, with odd things done to it on request."""

    def __init__(self, folder: Path, count=6, gap=5.0, **elements):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.volume = hu_volume((8, 6, count))
        self.uid, self.study, self.frame = generate_uid(), generate_uid(), generate_uid()
        self.elements = elements
        self.slices = [self._slice(k, gap) for k in range(count)]

    def _slice(self, k, gap):
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.PatientName, data.PatientID = "Doe^Jane", "4711"
        data.StudyInstanceUID, data.SeriesInstanceUID = self.study, self.uid
        data.FrameOfReferenceUID = self.frame
        data.SeriesNumber, data.InstanceNumber, data.AcquisitionNumber = 3, k + 1, 1
        data.SeriesDescription = "Thorax 5mm"
        data.ImagePositionPatient = [-10.0, 20.0, 100.0 + gap * k]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing = [0.9, 0.7]
        data.Rows, data.Columns = 6, 8
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelRepresentation = 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = (self.volume[:, :, k].T + 1024).astype("<u2").tobytes()
        for key, value in self.elements.items():
            setattr(data, key, value)
        return data

    def each(self, change):
        """Apply a function of (slice, number) to every slice."""
        for k, data in enumerate(self.slices):
            change(data, k)
        return self

    def drop(self, *keywords):
        """Remove elements from every slice."""
        for data in self.slices:
            for keyword in keywords:
                delattr(data, keyword)
        return self

    def write(self, skip=()):
        """Write the slices as files; names do not tell their order."""
        for k, data in enumerate(self.slices):
            if k in skip:
                continue
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.save_as(self.folder / f"im{(k * 7) % 11:02d}_{k}", enforce_file_format=True)
        return self.folder


def mr_series(folder: Path):
    """A small MR series: no rescale, no CT."""
    return Series(folder, SOPClassUID=MRImageStorage, Modality="MR").write()
