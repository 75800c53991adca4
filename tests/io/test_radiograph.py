"""Radiographs from files: polarity, window, spacing, and what is no radiograph."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.radiograph import read_radiograph


def stored() -> np.ndarray:
    """12-bit numbers, one per pixel, without any symmetry."""
    return (np.arange(48, dtype="<u2").reshape(6, 8) * 80 + 7) % 4096


def radiograph(path: Path, **elements) -> Path:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    data.Modality, data.ImageType = "DX", ["ORIGINAL", "PRIMARY"]
    data.PatientName, data.PatientID = "Doe^Jane", "4711"
    data.SeriesDescription, data.ViewPosition = "Thorax Doe", "PA"
    data.ImagerPixelSpacing = [0.2, 0.3]
    data.WindowCenter, data.WindowWidth = 2000, 1000
    data.Rows, data.Columns = 6, 8
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    data.PixelData = stored().tobytes()
    for key, value in elements.items():
        setattr(data, key, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    return path


def test_a_digital_radiograph(tmp_path: Path):
    found = read_radiograph(radiograph(tmp_path / "x"))
    assert np.array_equal(found.pixels, stored())
    assert found.spacing == (0.2, 0.3)
    assert (found.view, found.window, found.warnings) == ("PA", (1500, 2500), ())
    assert "Doe" not in found.series
    assert not found.pixels.flags.writeable


def test_low_is_bright_in_monochrome1(tmp_path: Path):
    """Both ways round it is the same picture, shown through the same window."""
    turned = stored().max() + stored().min() - stored()
    path = radiograph(
        tmp_path / "x", PhotometricInterpretation="MONOCHROME1", PixelData=turned.tobytes(),
        WindowCenter=int(stored().max()) + int(stored().min()) - 2000, Modality="CR",
    )  # fmt: skip
    found = read_radiograph(path)
    assert np.array_equal(found.pixels, stored())
    assert found.window == (1500, 2500)
    assert found.digest == read_radiograph(radiograph(tmp_path / "y")).digest


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_background_and_never_tissue(polarity: str, tmp_path: Path):
    """Whatever number stands for it, it is as dark as the darkest pixel and moves no other."""
    values, inside = stored(), np.ones((6, 8), bool)
    inside[:2, :] = False
    seen = values[inside]
    turned = values if polarity == "MONOCHROME2" else seen.max() + seen.min() - values
    for number in (0, 4095):
        padded = np.where(inside, turned, number).astype("<u2")
        found = read_radiograph(
            radiograph(
                tmp_path / f"{polarity}{number}", PhotometricInterpretation=polarity,
                PixelPaddingValue=number, PixelData=padded.tobytes(),
            )
        )  # fmt: skip
        assert np.array_equal(found.pixels[inside], seen)
        assert (found.pixels[~inside] == seen.min()).all()
        assert [message.code for message in found.warnings] == ["padding"]
        assert "33%" in found.warnings[0].message


def test_a_lateral_view_is_warned_of(tmp_path: Path):
    found = read_radiograph(radiograph(tmp_path / "x", ViewPosition="LL"))
    assert [message.code for message in found.warnings] == ["not-frontal"]


@pytest.mark.parametrize(
    ("array", "suffix"),
    [
        (stored().astype(np.uint16), "png"),
        ((stored() // 16).astype(np.uint8), "png"),
        (np.repeat((stored() // 16).astype(np.uint8)[..., None], 3, axis=2), "png"),
        (np.full((16, 16), 120, np.uint8), "jpg"),
    ],
)
def test_pictures_of_any_depth(array: np.ndarray, suffix: str, tmp_path: Path):
    path = tmp_path / f"chest.{suffix}"
    Image.fromarray(array).save(path)
    found = read_radiograph(path)
    assert np.array_equal(found.pixels, array if array.ndim == 2 else array[..., 0])
    assert (found.spacing, found.series) == (None, "chest")
    assert [message.code for message in found.warnings] == ["no-polarity"]


def test_what_is_no_radiograph_is_refused(tmp_path: Path, samples: ModuleType):
    ct = samples.Series(tmp_path / "ct", count=1).write()
    colour = tmp_path / "colour.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(colour)
    broken = tmp_path / "broken.png"
    broken.write_bytes(colour.read_bytes()[:40])
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    packed = radiograph(tmp_path / "film", NumberOfFrames=2, PixelData=stored().tobytes() * 2)
    wanted = {
        next(ct.iterdir()): "not-a-radiograph", colour: "colour", broken: "corrupt",
        text: "not-a-radiograph", packed: "not-a-radiograph", tmp_path / "none": "no-such-file",
        tmp_path: "no-such-file",
        radiograph(tmp_path / "short", PixelData=stored().tobytes()[:40]): "truncated",
    }  # fmt: skip
    for path, code in wanted.items():
        with pytest.raises(InputRefused) as caught:
            read_radiograph(path)
        assert caught.value.code == code, path


def test_a_compressed_radiograph(tmp_path: Path):
    import SimpleITK as sitk  # noqa: N813

    plain = sitk.GetImageFromArray(stored().astype(np.uint16)[None])
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    plain.SetMetaData("0008|0060", "DX")
    writer.SetFileName(str(tmp_path / "x.dcm"))
    writer.Execute(plain)
    from pydicom import dcmread

    assert dcmread(tmp_path / "x.dcm").file_meta.TransferSyntaxUID != ExplicitVRLittleEndian
    assert np.array_equal(read_radiograph(tmp_path / "x.dcm").pixels, stored())
