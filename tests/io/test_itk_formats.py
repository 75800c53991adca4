"""NRRD and MetaImage: the same volume in every encoding, and headers that lie."""

from __future__ import annotations

import bz2
import gzip
import zlib

import numpy as np
import pytest

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.read import can_read, read_path

NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 9 7 5
space directions: (0.7,0,0) (0,0.9,0) (0,0,2.5)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (-20,-30,-40)
"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -20 -30 -40
ElementSpacing = 0.7 0.9 2.5
DimSize = 9 7 5
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def codes(result):
    return [m.code for m in result.warnings]


def flat(samples):
    return samples.hu_volume().tobytes(order="F")


def write(path, header, body):
    path.write_bytes(header.encode() + (b"\n" if header.startswith("NRRD") else b"") + body)
    return path


def check(path, samples):
    result = read_path(path)
    assert result.warnings == ()
    assert can_read(path)
    assert np.array_equal(result.volumes[0].data, samples.hu_volume())
    assert np.allclose(result.volumes[0].affine, samples.AFFINE)


def refusal(path):
    with pytest.raises(InputRefused) as caught:
        read_path(path)
    return caught.value.code


def test_nrrd_in_every_encoding(tmp_path, samples):
    body = flat(samples)
    text = " ".join(str(int(v)) for v in np.frombuffer(body, "<i2")).encode()
    for encoding, packed in (
        ("raw", body),
        ("gzip", gzip.compress(body)),
        ("bzip2", bz2.compress(body)),
        ("ascii", text),
        ("hex", body.hex().encode()),
    ):
        header = NRRD.replace("encoding: raw", f"encoding: {encoding}")
        check(write(tmp_path / f"{encoding}.nrrd", header, packed), samples)
    swapped = np.frombuffer(body, "<i2").astype(">i2").tobytes()
    check(write(tmp_path / "big.nrrd", NRRD.replace("little", "big"), swapped), samples)
    windows = (NRRD + "\n").replace("\n", "\r\n").encode()
    (tmp_path / "windows.nrrd").write_bytes(windows + body)
    check(tmp_path / "windows.nrrd", samples)


def test_nrrd_data_file_stays_beside_its_header(tmp_path, samples):
    (tmp_path / "disc").mkdir()
    (tmp_path / "secret.raw").write_bytes(flat(samples))
    (tmp_path / "disc" / "ct.raw").write_bytes(flat(samples))
    for name, code in (("gone.raw", "missing-data-file"), ("../secret.raw", "missing-data-file")):
        path = write(tmp_path / "disc" / "bad.nhdr", f"{NRRD}data file: {name}\n", b"")
        assert refusal(path) == code
    check(write(tmp_path / "disc" / "ct.nhdr", f"{NRRD}data file: ct.raw\n", b""), samples)
    size = len(flat(samples)) // 5
    names = [f"s{k}.raw" for k in range(5)]
    for k, name in enumerate(names):
        (tmp_path / "disc" / name).write_bytes(flat(samples)[k * size : (k + 1) * size])
    listed = f"{NRRD}data file: LIST\n" + "\n".join(names) + "\n"
    check(write(tmp_path / "disc" / "list.nhdr", listed, b""), samples)
    pattern = f"{NRRD}data file: s%d.raw 0 4 1\n"
    check(write(tmp_path / "disc" / "pattern.nhdr", pattern, b""), samples)


def test_nrrd_oddities(tmp_path, samples):
    body = flat(samples)
    bare = NRRD.replace("space: left-posterior-superior\n", "").replace(
        "space origin: (-20,-30,-40)\n", ""
    )
    bare = bare.replace(
        "space directions: (0.7,0,0) (0,0.9,0) (0,0,2.5)\n", "spacings: 0.7 0.9 2.5\n"
    )
    assert codes(read_path(write(tmp_path / "bare.nrrd", bare, body))) == ["no-orientation"]
    for change, code in (
        (("spacings: 0.7 0.9 2.5\n", ""), "no-pixel-spacing"),
        (("dimension: 3", "dimension: 4"), "bad-dim"),
        (("type: short", "type: block"), "nothing-readable"),
        (("domain domain domain", "RGB-color domain domain"), "colour"),
    ):
        assert refusal(write(tmp_path / "odd.nrrd", bare.replace(*change), body)) == code
    nan = NRRD.replace("(0.7,0,0)", "(nan,nan,nan)")
    assert refusal(write(tmp_path / "nan.nrrd", nan, body)) == "bad-spacing"
    assert refusal(write(tmp_path / "cut.nrrd", NRRD, body[:-10])) == "truncated"
    packed = gzip.compress(body)[:-20]
    cut = NRRD.replace("encoding: raw", "encoding: gzip")
    assert refusal(write(tmp_path / "cutgz.nrrd", cut, packed)) == "truncated"


def test_nrrd_list_axis_is_time_wherever_it_stands(tmp_path, samples):
    two = np.stack([samples.hu_volume(), samples.hu_volume() + 50])
    header = NRRD.replace("dimension: 3", "dimension: 4").replace("sizes: 9", "sizes: 2 9")
    header = header.replace("directions: (", "directions: none (").replace(
        "kinds: domain", "kinds: list domain"
    )
    result = read_path(write(tmp_path / "two.nrrd", header, two.tobytes(order="F")))
    assert codes(result) == ["4d"]
    assert result.volumes[0].stored_shape == (2, *samples.SHAPE)
    assert np.array_equal(result.volumes[0].data[..., 1], two[1])


def test_named_segments_are_listed(tmp_path, samples):
    labels = (samples.hu_volume() > 0).astype(np.uint8)
    header = NRRD.replace("type: short", "type: unsigned char")
    header += "Segment0_Name:=Bone\nSegment0_LabelValue:=1\n"
    result = read_path(write(tmp_path / "s.seg.nrrd", header, labels.tobytes(order="F")))
    (volume,) = result.volumes
    assert (result.warnings, volume.unit) == ((), "label")
    assert volume.segments == ({"number": 1, "name": "Bone", "voxels": int(labels.sum())},)


def test_metaimage_local_pair_and_packed(tmp_path, samples):
    body = flat(samples)
    check(write(tmp_path / "ct.mha", META, body), samples)
    packed = META.replace("CompressedData = False", "CompressedData = True")
    check(write(tmp_path / "z.mha", packed, zlib.compress(body)), samples)
    (tmp_path / "ct.raw").write_bytes(body)
    check(write(tmp_path / "ct.mhd", META.replace("LOCAL", "ct.raw"), b""), samples)
    assert refusal(write(tmp_path / "no.mhd", META.replace("LOCAL", "no.raw"), b"")) == (
        "missing-data-file"
    )
    assert refusal(write(tmp_path / "cut.mha", META, body[:-4])) == "truncated"
    assert refusal(write(tmp_path / "cutz.mha", packed, zlib.compress(body)[:-30])) == "truncated"
    flipped = bytearray(zlib.compress(body))
    flipped[-1] ^= 0xFF
    assert refusal(write(tmp_path / "flipped.mha", packed, bytes(flipped))) == "corrupt"


def test_metaimage_oddities(tmp_path, samples):
    body = flat(samples)
    bare = META.replace("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "")
    assert codes(read_path(write(tmp_path / "bare.mha", bare, body))) == ["no-orientation"]
    vector = META.replace("DimSize", "ElementNumberOfChannels = 3\nDimSize")
    assert refusal(write(tmp_path / "rgb.mha", vector, body * 3)) == "colour"
    assert refusal(write(tmp_path / "w.mha", META.replace("0.7 0.9 2.5", "0,7 0,9 2,5"), body)) == (
        "bad-number"
    )
    spaceless = META.replace("ElementSpacing = 0.7 0.9 2.5\n", "")
    assert refusal(write(tmp_path / "s.mha", spaceless, body)) == "no-pixel-spacing"


def test_metaimage_matrix_lists_axis_after_axis(tmp_path, samples):
    turned = META.replace("1 0 0 0 1 0 0 0 1", "0 1 0 -1 0 0 0 0 1")
    (volume,) = read_path(write(tmp_path / "t.mha", turned, flat(samples))).volumes
    assert np.allclose(volume.affine[:3, 0], [0, -0.7, 0])
    assert np.allclose(volume.affine[:3, 1], [0.9, 0, 0])


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "nii.gz"])
def test_another_program_reads_the_same_world(tmp_path, samples, suffix):
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(samples.hu_volume().T)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-20, -30, -40))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    sitk.WriteImage(image, tmp_path / f"ct.{suffix}", True)
    (volume,) = read_path(tmp_path / f"ct.{suffix}").volumes
    for index in ((0, 0, 0), (1, 2, 3), (8, 6, 4)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        assert volume.voxel_at(lps * [-1, -1, 1]) == index
        assert volume.data[index] == image[index]
