"""What a folder or a drop holds: patients, studies, series and single files, headers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_ctvlp.core.scan import Message
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.grouping import series_of
from napari_ctvlp.io.dicom.headers import Found, find_files, quiet
from napari_ctvlp.io.dicom.survey import Item, PatientItems, StudyItems, survey_dicom
from napari_ctvlp.io.read import file_kind
from napari_ctvlp.io.result import Notes, Progress, refused, safe_text, silent

__all__ = ["Item", "PatientItems", "StudyItems", "Survey", "survey"]

#: Ends of the names of single image files.
IMAGE_NAMES = (".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd")
_TITLES = {"nifti": "NIfTI", "nrrd": "NRRD", "metaimage": "MetaImage"}


@dataclass(frozen=True)
class Survey:
    """Everything that was found.

    Attributes
    ----------
    patients : tuple of PatientItems
        Single image files stand under a patient without a name.
    messages : tuple of Message
        What was left aside, and files that are broken or missing.
    broken : tuple of Path
        DICOM files that cannot be parsed.
    """

    patients: tuple[PatientItems, ...]
    messages: tuple[Message, ...]
    broken: tuple[Path, ...] = ()

    def items(self) -> Iterator[Item]:
        """Yield every item in order."""
        for patient in self.patients:
            for study in patient.studies:
                yield from study.items

    @property
    def only(self) -> Item | None:
        """The one item that is worth opening, None when there are several or none."""
        suitable = [item for item in self.items() if item.suitable]
        return suitable[0] if len(suitable) == 1 else None


def survey(paths: Sequence[Path], progress: Progress = silent) -> Survey:
    """List what can be opened under some paths.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders, of any mix; folders are searched with their subfolders.
    progress : callable, optional
        Told the share done and the stage; may raise to stop.

    Returns
    -------
    Survey
        Names of patients are in it: it is for the eyes of the user, never for a file.

    Raises
    ------
    InputRefused
        ``nothing-readable`` when there is nothing to list.
    """
    found = Found()
    for number, path in enumerate(paths):
        one = find_files(path, _part(progress, number, len(paths)))
        found.headers += one.headers
        found.broken += one.broken
        found.rest += one.rest
        found.missing += one.missing
    with quiet():
        groups = series_of(found)
        patients = survey_dicom(groups, progress)
    files = tuple(_files(found.rest))
    if files:
        patients.append(PatientItems("", "", (StudyItems("", "Image files", files),)))
    if not patients:
        raise _nothing(paths, found)
    broken = tuple(path for path, _ in found.broken)
    return Survey(tuple(patients), tuple(_messages(found).warnings), broken)


def _part(progress: Progress, number: int, count: int) -> Progress:
    """Progress of one path among several."""
    return lambda share, stage: progress((number + share) / count, stage)


def _files(paths: Sequence[Path]) -> Iterator[Item]:
    """Yield an item for each image file that is not DICOM."""
    for path in paths:
        pair = path.suffix == ".img" and path.with_suffix(".hdr").is_file()
        if pair or not path.name.lower().endswith(IMAGE_NAMES):
            continue
        try:
            kind = file_kind(path)
        except (InputRefused, OSError) as error:
            words = error.found if isinstance(error, InputRefused) else "It cannot be read."
            yield Item("nothing", safe_text(path.name), (path,), reason=words)
            continue
        size = f"{path.stat().st_size / 1e6:.1f} MB; its geometry is read when it is opened."
        yield Item(
            "volume", safe_text(path.name), (path,), _TITLES[kind], reason=size, suitable=True
        )


def _messages(found: Found) -> Notes:
    notes = Notes()
    for _, error in found.broken:
        notes.warn(error.code, f"Set aside: {error.found}")
    if found.missing:
        notes.warn("dicomdir", f"{len(found.missing)} files of the DICOMDIR's index are missing.")
    return notes


def _nothing(paths: Sequence[Path], found: Found) -> InputRefused:
    if found.broken:
        return found.broken[0][1]
    names = ", ".join(safe_text(path.name) for path in paths[:3])
    return refused(
        "nothing-readable",
        "DICOM, NIfTI, NRRD or MetaImage files.",
        f"{names} holds none ({len(found.rest)} other files).",
        "Choose the folder that holds the slices, or one image file.",
    )
