"""Messages between two processes: a length in four bytes, then that many bytes of JSON."""

from __future__ import annotations

import json
import struct
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Message = dict[str, Any]
#: A longer message is a fault of the stream, not a message.
LONGEST = 64 * 2**20
_LENGTH = struct.Struct(">I")


class MessageWriter:
    """Writes whole messages, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Write one message; raises ``OSError`` when the other side is gone."""
        body = json.dumps(message).encode()
        with self._lock:
            self._stream.write(_LENGTH.pack(len(body)) + body)
            self._stream.flush()


def read_message(stream: BinaryIO) -> Message | None:
    """Return the next message, or None at the end or on a broken stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = stream.read(length) if length <= LONGEST else b""
    if not body or len(body) < length:
        return None
    message: Message = json.loads(body)
    return message


class ArrayFolder:
    """Arrays as ``.npy`` files in a private folder that both processes see.

    Parameters
    ----------
    folder : Path
    prefix : str
        One letter per side, so that names never meet.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self._prefix = prefix
        self._count = 0
        self._lock = threading.Lock()

    def put(self, array: NDArray[Any]) -> str:
        """Write an array and return its name."""
        with self._lock:
            self._count += 1
            name = f"{self._prefix}{self._count}.npy"
        np.save(self.folder / name, array, allow_pickle=False)
        return name

    def map(self, name: str) -> NDArray[Any]:
        """Open an array without reading it; its file stays."""
        array: NDArray[Any] = np.load(self._path(name), mmap_mode="r", allow_pickle=False)
        return array

    def take(self, name: str) -> NDArray[Any]:
        """Read an array and delete its file."""
        path = self._path(name)
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        path.unlink()
        return array

    def drop(self, name: str) -> None:
        """Delete an array's file; one that is still mapped on Windows stays until the end."""
        try:
            self._path(name).unlink(missing_ok=True)
        except PermissionError:
            return

    def _path(self, name: str) -> Path:
        return self.folder / Path(name).name
