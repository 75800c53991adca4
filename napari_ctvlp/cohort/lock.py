"""Locks that the system lets go of when their process ends: of a store, of one scan in it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ctvlp.errors import InputRefused

#: A process computes one scan at a time, however many threads a worker was given.
_ONE = threading.Lock()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a store for writing.

    Raises
    ------
    InputRefused
        ``store-busy`` when another process holds it.
    """
    with (folder / "store.lock").open("a+b") as file:
        try:
            _take(file.fileno())
        except OSError:
            raise InputRefused(
                "store-busy",
                "a store that no other run writes.",
                f"Another process is writing {folder.name}.",
                "Wait for its end, or stop it.",
            ) from None
        yield


@contextmanager
def claimed(folder: Path, scan: str) -> Iterator[None]:
    """Hold one scan of a store, and wait while another process holds it.

    A run that was killed may leave a worker behind which is still at a scan. On a file system
    without locks nobody waits; on Windows nobody waits longer than ten seconds.
    """
    with _ONE, (folder / "scans.lock").open("a+b") as file:
        with contextlib.suppress(OSError):
            _wait_for(file.fileno(), int(scan))
        yield


def _wait_for(number: int, place: int) -> None:
    """Lock one byte of an open file as soon as it is free."""
    if os.name == "nt":
        import msvcrt

        os.lseek(number, place, os.SEEK_SET)
        msvcrt.locking(number, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.lockf(number, fcntl.LOCK_EX, 1, place)


def _take(number: int) -> None:
    """Lock an open file, or raise OSError at once."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
