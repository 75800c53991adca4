"""One slice of a folder at once, before anything else in it is looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.frames import Frame
from napari_ctvlp.io.dicom.grouping import series_of
from napari_ctvlp.io.dicom.headers import Found, find_files, quiet
from napari_ctvlp.io.dicom.stacks import Stack, stacks_of_series
from napari_ctvlp.io.dicom.survey import FEW_SLICES
from napari_ctvlp.io.result import Notes

#: Folders that hold one folder and nothing else are followed so deep.
_DEPTH = 8


def glance(paths: Sequence[Path]) -> Stack | None:
    """Return a slice, in its own place, of the one series that some paths seem to hold.

    The middle file by name and the two at the ends are parsed, and no other is opened: whether
    the rest belongs to them is for the survey to say.

    Parameters
    ----------
    paths : sequence of Path
        Files, or one folder.

    Returns
    -------
    Stack or None
        The slices of the middle file (mostly one). None where the three are not slices in HU of
        one series, where there are folders beside files, or files too few for a volume.
    """
    files = _files(paths)
    if len(files) < FEW_SLICES:
        return None
    middle = files[len(files) // 2]
    found = Found()
    with quiet():
        for path in (middle, files[0], files[-1]):
            one = find_files(path)
            found.headers += one.headers
            found.broken += one.broken
        groups = series_of(found)
        if found.broken or groups.aside or groups.objects or len(groups.series) != 1:
            return None
        frames = [f for series in groups.series.values() for f in series]
        return _stack([frame for frame in frames if frame.header.path == middle])


def _stack(frames: Sequence[Frame]) -> Stack | None:
    try:
        stacks = stacks_of_series(frames, Notes()) if frames else []
    except InputRefused:
        return None
    return stacks[0] if len(stacks) == 1 and stacks[0].unit == "HU" else None


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the files in order; none where folders lie among them, or an index."""
    listed = {path: path.is_dir() for path in paths}
    for _ in range(_DEPTH):
        if list(listed.values()) != [True]:
            break
        with os.scandir(next(iter(listed))) as entries:
            listed = {Path(entry.path): entry.is_dir() for entry in entries}
    if any(folder or path.name.upper() == "DICOMDIR" for path, folder in listed.items()):
        return []
    return sorted(listed)
