"""What is to be computed: a folder tree or a manifest, and the map from numbers to files."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_ctvlp.cohort.store import Store, write_whole
from napari_ctvlp.core.geometry import spacing
from napari_ctvlp.errors import CtvlpError, InputRefused
from napari_ctvlp.io.nifti_header import HEADER_BYTES, is_nifti, parse_header
from napari_ctvlp.io.result import Notes, Progress, silent
from napari_ctvlp.io.stream import head
from napari_ctvlp.io.survey import Item, survey

#: Columns of a manifest that are not labels.
KNOWN = ("path", "series", "id")
_IDS = ("scan", "path", "series", "id", "stamp")
#: Taken where a header does not tell: a chest of 512 x 512 x 400 voxels, 40 litres.
USUAL_VOXELS, USUAL_ML = 512 * 512 * 400, 40_000.0


@dataclass(frozen=True)
class Input:
    """One scan to be computed.

    Attributes
    ----------
    path : str
        File, or folder of a series.
    series : str
        SeriesInstanceUID or number in the folder, or ``""``.
    id : str
        What the manifest calls it; in the id map only.
    labels : mapping of str to str
        Further columns of the manifest.
    voxels, ml : int, float
        Size by its header, for the estimate.
    """

    path: str
    series: str = ""
    id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    voxels: int = USUAL_VOXELS
    ml: float = USUAL_ML

    @property
    def stamp(self) -> str:
        """Number, size and time of its files: another one means other content."""
        files = [Path(self.path)]
        if files[0].is_dir():
            files = [Path(top) / name for top, _, names in os.walk(self.path) for name in names]
        try:
            states = [file.stat() for file in files]
        except OSError:
            return "missing"
        newest = max((state.st_mtime_ns for state in states), default=0)
        return f"{len(states)} {sum(state.st_size for state in states)} {newest}"


def find_inputs(source: Path, progress: Progress = silent) -> tuple[list[Input], str]:
    """List the scans of a folder tree or a manifest, and say what was left aside.

    Parameters
    ----------
    source : Path
        A folder, or a CSV file with the column ``path`` (relative to the file), perhaps
        ``series`` and ``id``, and any further columns as labels.

    Raises
    ------
    InputRefused
        ``bad-manifest``, or when there is nothing to read.
    """
    if source.suffix.lower() == ".csv":
        return _manifest(source), ""
    found = survey([source], progress)
    items = list(found.items())
    rows = [row for item in items for row in _volumes(item)]
    whole = {row.path for row in rows}
    spoiled = {path for item in items for path in _spoiled(item)}
    spoiled |= {str(path.parent) for path in found.broken}
    rows += [Input(path) for path in spoiled - whole]
    aside = sum(item.stack is not None and not item.suitable for item in items)
    words = f"{aside} series that are no volume of a CT were left aside." if aside else ""
    return sorted(rows, key=lambda row: (row.path, row.series)), words


def _volumes(item: Item) -> Iterator[Input]:
    """Yield what may be a CT; a file that is no DICOM is judged when it is opened."""
    if item.stack is not None and item.suitable:
        folder = os.path.commonpath([file.parent for file in item.files])
        voxels = math.prod(item.shape)
        ml = voxels * math.prod(item.spacing_mm) / 1000
        series = item.stack.frames[0].header.text("SeriesInstanceUID")
        yield Input(folder, series, voxels=voxels, ml=ml)
    elif item.stack is None and item.kind == "volume":
        voxels, ml = size_of(item.files[0])
        yield Input(str(item.files[0]), voxels=voxels, ml=ml)


def _spoiled(item: Item) -> Iterator[str]:
    """Yield the file, or the folders of slices, that were meant as a CT and cannot be opened."""
    if item.kind != "nothing" or item.modality not in ("", "CT"):
        return
    if len(item.files) == 1:
        yield str(item.files[0])
    else:
        yield from {str(file.parent) for file in item.files}


def size_of(path: Path) -> tuple[int, float]:
    """Return voxels and ml of an image file by its header, the usual ones where it is mute."""
    try:
        start = head(path, HEADER_BYTES)
        if is_nifti(start):
            header = parse_header(path, start, Notes())
            voxels = math.prod(header.shape[:3])
            return voxels, float(voxels * np.prod(spacing(header.affine)) / 1000)
    except (CtvlpError, OSError):
        pass
    return USUAL_VOXELS, USUAL_ML


def _manifest(source: Path) -> list[Input]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad_manifest(f"It cannot be read ({type(error).__name__}).") from None
    if "path" not in names:
        raise _bad_manifest("It has no column 'path'.")
    if not rows:
        raise _bad_manifest("It has no row.")
    return [_of_row(row, source.parent) for row in rows]


def _of_row(row: Mapping[str, str], folder: Path) -> Input:
    path = (folder / (row["path"] or "")).resolve()
    labels = {name: row[name] for name in row if name not in KNOWN and name and row[name]}
    voxels, ml = size_of(path) if path.is_file() else (USUAL_VOXELS, USUAL_ML)
    series, name = row.get("series") or "", row.get("id") or ""
    return Input(str(path), series, name, labels, voxels, ml)


def _bad_manifest(words: str) -> InputRefused:
    return InputRefused(
        "bad-manifest",
        "a CSV file with the column 'path', perhaps 'series', 'id' and labels.",
        words,
        "Mend the file; docs/cohorts.md shows one.",
    )


class IdMap:
    """Which file each scan of a store was; the one place in which it is written.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.path = store.folder / "identity" / "ids.csv"
        self.rows: dict[str, dict[str, str]] = {}
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = {row["scan"]: row for row in csv.DictReader(file)}

    def number(self, inputs: Sequence[Input]) -> Iterator[tuple[str, Input]]:
        """Yield each input with its number: the one it had, else the next one."""
        known = {(row["path"], row["series"]): scan for scan, row in self.rows.items()}
        following = max((int(scan) for scan in self.rows), default=0) + 1
        for one in inputs:
            key = (one.path, one.series)
            if key not in known:
                known[key], following = f"{following:06d}", following + 1
            row = (known[key], one.path, one.series, one.id, one.stamp)
            self.rows[known[key]] = dict(zip(_IDS, row, strict=True))
            yield known[key], one

    def write(self) -> None:
        """Write the map, readable for its owner only."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _IDS)
        writer.writeheader()
        writer.writerows(self.rows.values())
        write_whole(self.path, text.getvalue().encode(), 0o600)


def without_names(text: str, secrets: Iterable[str]) -> str:
    """Return words of an error with every name of a file, folder or patient taken out."""
    parts = {part for secret in secrets for part in (secret, *Path(secret).parts) if len(part) > 1}
    parts |= {part.split(".")[0] for part in parts}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > 2:
            text = text.replace(part, "(file)")
    words = ("(file)" if _like_a_file(word) else word for word in text.split(" "))
    return " ".join(words).replace("(file)(file)", "(file)")


def _like_a_file(word: str) -> bool:
    """Say whether a word is a path or ends like a file."""
    bare = word.strip(".,;:()'\"").lower()
    ends = (".nii", ".gz", ".dcm", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd")
    return bare.endswith(ends) or "/" in bare or "\\" in bare
