"""One door for every image file: look at the content, then hand it to its reader."""

from __future__ import annotations

from pathlib import Path

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.headers import is_dicom
from napari_ctvlp.io.dicom.reader import read_dicom
from napari_ctvlp.io.metaimage import is_metaimage, read_metaimage
from napari_ctvlp.io.nifti import read_nifti
from napari_ctvlp.io.nifti_header import HEADER_BYTES, is_analyze, is_nifti
from napari_ctvlp.io.nrrd import MAGIC, read_nrrd
from napari_ctvlp.io.result import Progress, ReadResult, Volume, refused, silent
from napari_ctvlp.io.stream import head, judged

_NIFTI_NAMES = (".nii", ".nii.gz", ".hdr", ".img")
#: A folder is searched for DICOM no further than this when the question must be cheap.
_LOOK_AT = 200
_SIZE_FIELDS = (b"\x5c\1\0\0", b"\0\0\1\x5c", b"\x1c\2\0\0", b"\0\0\2\x1c")


def read_path(
    path: Path | str,
    series: str | int | None = None,
    progress: Progress = silent,
    *,
    best: bool = False,
) -> ReadResult:
    """Read every volume and object at a path, on the grids they are stored on.

    Parameters
    ----------
    path : Path or str
        A NIfTI, NRRD or MetaImage file, a DICOM file, a DICOM folder or a DICOMDIR. The
        content decides, never the name.
    series : str or int, optional
        Only this DICOM volume: its number in the list (from 1) or its SeriesInstanceUID.
    progress : callable, optional
        Told the share done and the stage.
    best : bool
        Only the most CT-like volume.

    Raises
    ------
    InputRefused
        With a code of ``docs/codes.md``; nothing was changed.
    """
    path = Path(path)
    try:
        kind = file_kind(path)
        if kind == "dicom":
            return read_dicom(path, series, best=best, progress=progress)
        with judged(path):
            return _single(_READERS[kind](path, progress))
    except OSError as error:
        raise refused(
            "no-such-file",
            "a file or folder that can be read.",
            f"{path.name} cannot be read: {error.strerror or error}.",
            "Check the path and your rights to it.",
        ) from None


def can_read(path: Path | str) -> bool:
    """Return whether :func:`read_path` has a reader for it, by first bytes alone."""
    path = Path(path)
    try:
        if path.is_dir():
            files = (p for p in path.rglob("*") if p.is_file())
            return any(is_dicom(file) for file, _ in zip(files, range(_LOOK_AT), strict=False))
        return file_kind(path) is not None
    except (InputRefused, OSError):
        return False


def file_kind(path: Path) -> str:
    """Return ``"dicom"``, ``"nifti"``, ``"nrrd"`` or ``"metaimage"`` by content.

    Raises
    ------
    InputRefused
        When it is none of these.
    """
    if path.is_dir():
        _check_folder(path)
        return "dicom"
    if path.stat().st_size == 0:
        raise refused(
            "empty", "an image file.", f"{path.name} is empty (0 bytes).", "Copy the file again."
        )
    if is_dicom(path):
        return "dicom"
    start = head(path, 4096)
    name = path.name.lower()
    if start.startswith(MAGIC):
        return "nrrd"
    if is_metaimage(start):
        return "metaimage"
    pair = name.endswith((".img", ".img.gz")) and path.with_name(f"{path.stem}.hdr").is_file()
    if is_nifti(start) or is_analyze(start) or pair:
        return "nifti"
    if start[:4] in _SIZE_FIELDS and len(start) < HEADER_BYTES:
        return "nifti"
    raise _unknown(path, nifti=name.endswith(_NIFTI_NAMES))


def _unknown(path: Path, *, nifti: bool) -> InputRefused:
    """Return the refusal of content that is no image."""
    return refused(
        "not-nifti" if nifti else "nothing-readable",
        "a NIfTI file, as its name says." if nifti else "a DICOM, NIfTI, NRRD or MetaImage file.",
        f"The content of {path.name} is none of these.",
        "Check where the file came from.",
    )


def _check_folder(path: Path) -> None:
    """Refuse a folder without DICOM, and name an image file that lies in it."""
    files = [p for p in sorted(path.rglob("*")) if p.is_file()]
    if any(is_dicom(p) for p in files):
        return
    images = [p.name for p in files if p.suffix in {".nii", ".nrrd", ".mha"} or ".nii." in p.name]
    hint = f"Open the file {images[0]} instead of the folder." if images else ""
    raise refused(
        "nothing-readable",
        "a folder with DICOM slices.",
        f"{path.name} holds {len(files)} files and none is DICOM.",
        hint or "Choose the folder that holds the slices, or one image file.",
    )


def _single(volume: Volume) -> ReadResult:
    """Wrap the one volume of a file."""
    return ReadResult((volume,), (), volume.warnings, volume.notices)


_READERS = {"nifti": read_nifti, "nrrd": read_nrrd, "metaimage": read_metaimage}
