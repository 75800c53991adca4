"""One writer for each store: a lock that the system lets go of when its process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ctvlp.errors import InputRefused


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


def _take(number: int) -> None:
    """Lock an open file, or raise OSError at once."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
