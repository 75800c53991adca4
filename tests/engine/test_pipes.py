"""Whole messages or none."""

import io

import numpy as np

from napari_ctvlp.engine.pipes import ArrayFolder, MessageWriter, read_message


def test_messages_come_back_in_order_and_end_with_none():
    stream = io.BytesIO()
    writer = MessageWriter(stream)
    writer.send({"kind": "job", "number": 1, "text": "Läsion\n"})
    writer.send({"kind": "cancel", "number": 1})
    stream.seek(0)
    assert read_message(stream) == {"kind": "job", "number": 1, "text": "Läsion\n"}
    assert read_message(stream) == {"kind": "cancel", "number": 1}
    assert read_message(stream) is None


def test_a_cut_message_reads_as_the_end():
    stream = io.BytesIO()
    MessageWriter(stream).send({"kind": "job"})
    assert read_message(io.BytesIO(stream.getvalue()[:-1])) is None


def test_a_length_beyond_reason_reads_as_the_end():
    assert read_message(io.BytesIO(b"\xff\xff\xff\xff{}")) is None


def test_arrays_lie_in_the_folder_until_taken(tmp_path):
    folder = ArrayFolder(tmp_path, "t")
    flipped = np.arange(24, dtype=np.int16).reshape(2, 3, 4)[::-1, :, ::-1]
    name = folder.put(flipped)
    np.testing.assert_array_equal(folder.map(name), flipped)
    np.testing.assert_array_equal(folder.take(name), flipped)
    assert not list(tmp_path.iterdir())


def test_a_name_cannot_leave_the_folder(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "secret.npy", np.zeros(3))
    folder = ArrayFolder(tmp_path / "in", "t")
    folder.drop("../secret.npy")
    assert (tmp_path / "secret.npy").exists()
