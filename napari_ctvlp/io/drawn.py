"""Segmentations of any format as masks with names, each on a grid of its own."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.core.scan import Source
from napari_ctvlp.io.dicom.contours import read_rtstruct
from napari_ctvlp.io.dicom.frames import RTSTRUCT_CLASS, SEG_CLASSES, frames_of
from napari_ctvlp.io.dicom.headers import Header, find_files, is_dicom, quiet
from napari_ctvlp.io.dicom.segments import read_seg
from napari_ctvlp.io.read import read_path
from napari_ctvlp.io.result import Notes, refused, safe_text
from napari_ctvlp.io.stream import judged

#: A label map with more values than this is an image.
_MOST_LABELS = 1000
#: A row of a Caret label table, and how many characters of a table are read.
_LABEL = re.compile(r'<Label Key="(\d{1,6})"[^>]*>\s*<!\[CDATA\[([^\]]{1,200})\]\]>')
_LONGEST_TABLE = 1 << 20


@dataclass(frozen=True)
class Drawn:
    """One named structure.

    Attributes
    ----------
    label : str
        Its name in the file.
    codes : tuple of str
        Its concept ids, the most telling first.
    mask : ndarray, shape (i, j, k), bool
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    """

    label: str
    codes: tuple[str, ...]
    mask: NDArray[np.bool_]
    affine: Affine


def read_drawn(path: Path, source: Source, notes: Notes) -> Iterator[Drawn]:
    """Yield every structure of a DICOM SEG, an RTSTRUCT, a label map or a folder of masks.

    Parameters
    ----------
    path : Path
    source : Source
        Of the scan they shall lie on: contours are filled on its stored grid, and frame of
        reference and patient are compared with its files, which are read again for that.
    notes : Notes
        Receives what the user must know.

    Raises
    ------
    InputRefused
        ``reference-mismatch`` when it belongs to another patient or another frame of
        reference; ``not-a-segmentation`` for anything else.
    """
    masks = sorted(path.glob("*.nii*")) if path.is_dir() else []
    if masks:
        yield from _masks(masks)
        return
    if not is_dicom(path):
        yield from _label_map(path, notes)
        return
    with quiet(), judged(path):
        found = find_files(path)
        if not found.headers:
            raise found.broken[0][1] if found.broken else _no_segmentation(path.name)
        header = found.headers[0]
        sop = header.text("SOPClassUID")
        if sop not in SEG_CLASSES and sop != RTSTRUCT_CLASS:
            raise _no_segmentation(header.name)
        frames = [frame for one in _headers(source) for frame in frames_of(one)]
        _check_patient(header, [frame.header for frame in frames])
        if sop == RTSTRUCT_CLASS:
            grid = (source.shape, source.affine)
            for name, mask in read_rtstruct(header, frames, grid, notes):
                yield Drawn(name, (), mask, source.affine)
        else:
            for name, codes, mask, affine in read_seg(header, frames, notes):
                yield Drawn(name, codes, mask, affine)
    if not frames:
        notes.warn(
            "reference-missing",
            "The scan was not read from DICOM: whether the segmentation is of the same patient "
            "could not be checked.",
        )


def _headers(source: Source) -> list[Header]:
    """Headers of the scan's own files, read again; none for other formats."""
    files = [path for path in source.files if path.is_file() and is_dicom(path)]
    return [header for path in files for header in find_files(path).headers]


def _check_patient(header: Header, others: list[Header]) -> None:
    """Refuse a segmentation that names another patient."""
    own = header.text("PatientID")
    known = {other.text("PatientID") for other in others} - {""}
    if own and known and own not in known:
        raise refused(
            "reference-mismatch",
            "a segmentation of the patient whose CT is open.",
            f"{header.name} names another patient.",
            "Open it with the CT it was drawn on; nothing was laid over this one.",
        )


def _label_map(path: Path, notes: Notes) -> Iterator[Drawn]:
    """Yield the labels of a NIfTI, NRRD or MetaImage file."""
    (volume,) = read_path(path).volumes
    data = volume.data if volume.data.ndim == 3 else volume.data[..., 0]
    if data.dtype.kind == "f" or volume.origins is not None or data.min(initial=0) < 0:
        raise _no_segmentation(path.name)
    values = np.unique(data)
    if len(values) > _MOST_LABELS:
        raise _no_segmentation(path.name)
    names = _names(path, volume.segments)
    if not names and len(values) > 2:
        notes.warn(
            "unnamed-labels",
            f"{path.name} does not name its labels. Put a file beside it called "
            f"{_stem(path)}.json that maps numbers to names.",
        )
    for value in values[values > 0]:
        number = int(value)
        yield Drawn(names.get(number, f"label {number}"), (), data == value, volume.affine)


def _masks(paths: list[Path]) -> Iterator[Drawn]:
    """Yield masks that are called after what they show; an empty one shows nothing."""
    for path in paths:
        (volume,) = read_path(path).volumes
        if volume.data.ndim != 3 or volume.data.max(initial=0) > 1 or volume.data.min() < 0:
            raise _no_segmentation(path.name)
        if volume.data.any():
            yield Drawn(safe_text(_stem(path)), (), volume.data > 0, volume.affine)


def _names(path: Path, segments: tuple[dict[str, Any], ...]) -> Mapping[int, str]:
    """Names from the file itself, else from a JSON file beside it."""
    stated = {int(row["number"]): str(row["name"]) for row in segments if "number" in row}
    beside = path.with_name(f"{_stem(path)}.json")
    stated = stated or _caret_names(path)
    if stated or not beside.is_file() or beside.stat().st_size > 1 << 20:
        return stated
    try:
        rows = json.loads(beside.read_text(encoding="utf-8"))
        return {int(key): safe_text(name) for key, name in rows.items()}
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise refused(
            "bad-names",
            'a JSON object such as {"1": "liver"}.',
            f"{beside.name} is none ({type(error).__name__}).",
            "Correct or remove it.",
        ) from None


def _caret_names(path: Path) -> dict[int, str]:
    """Names from the Caret extension of a NIfTI header, which TotalSegmentator writes."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return {}
    import nibabel

    found: dict[int, str] = {}
    extensions: Any = ()
    # What opened by its content may carry another format's name, or a header nibabel refuses.
    with contextlib.suppress(Exception):
        header: Any = nibabel.load(path).header
        extensions = header.extensions
    for extension in extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        for number, name in _LABEL.findall(text[:_LONGEST_TABLE]):
            found[int(number)] = safe_text(name)
    return found


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _no_segmentation(name: str) -> Exception:
    return refused(
        "not-a-segmentation",
        "a DICOM SEG, an RTSTRUCT, or a label map of whole numbers.",
        f"{name} is none of these.",
        "Open images with 'Open'; segmentations are laid over a CT that is open.",
    )
