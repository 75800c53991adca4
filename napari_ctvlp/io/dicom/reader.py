"""DICOM files, folders and DICOMDIR to volumes and objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_ctvlp.core.scan import Message
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.frames import RTSTRUCT_CLASS, Frame
from napari_ctvlp.io.dicom.grouping import series_of
from napari_ctvlp.io.dicom.headers import Found, Header, find_files, quiet
from napari_ctvlp.io.dicom.objects import read_contours, read_segmentation
from napari_ctvlp.io.dicom.pixels import read_voxels
from napari_ctvlp.io.dicom.stacks import Stack, stacks_of_series
from napari_ctvlp.io.result import Notes, Progress, ReadResult, Volume, refused, silent
from napari_ctvlp.io.stream import judged

_OTHER_NAMES = (".nii", ".gz", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass
class _Sorted:
    """What the headers amount to, before a pixel is read."""

    stacks: list[Stack] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    objects: list[Header] = field(default_factory=list)
    refusals: list[tuple[str, InputRefused]] = field(default_factory=list)
    aside: list[InputRefused] = field(default_factory=list)
    patients: dict[str, int] = field(default_factory=dict)


def read_dicom(
    path: Path,
    series: str | int | None = None,
    *,
    best: bool = False,
    progress: Progress = silent,
) -> ReadResult:
    """Read the volumes, segmentations and contours of a DICOM file, folder or DICOMDIR.

    Parameters
    ----------
    path : Path
        A folder is searched with its subfolders; a DICOMDIR gives the files it names.
    series : str or int, optional
        Read only this volume: its number in the list (from 1) or its SeriesInstanceUID.
    best : bool
        Read only the most CT-like volume when there are several.
    progress : callable, optional
        Progress.

    Raises
    ------
    InputRefused
        When there is neither a volume nor an object to list.
    """
    with quiet():
        return _read(path, series, best=best, progress=progress)


def _read(path: Path, series: str | int | None, *, best: bool, progress: Progress) -> ReadResult:
    """Read while pydicom's remarks are kept back."""
    notes = Notes()
    found = find_files(path, lambda share, stage: progress(0.3 * share, stage))
    result = _sort(found, notes)
    _say_index(found, notes)
    if not result.stacks and not result.objects:
        raise _nothing(path, found, result)
    _say_rest(path, found, result, notes)
    chosen = _chosen(result.stacks, series, best=best)
    _say_choice(result, chosen, notes)
    volumes = _volumes(result.stacks, chosen, notes, lambda s, w: progress(0.3 + 0.7 * s, w))
    objects, error = _objects(result, notes)
    return ReadResult(
        volumes=volumes,
        objects=objects,
        warnings=_merged(notes.warnings, [m for v in volumes for m in v.warnings]),
        notices=_merged(notes.notices, [m for v in volumes for m in v.notices]),
        refused=error,
    )


def _sort(found: Found, notes: Notes) -> _Sorted:
    """Tell slices from objects and from what is neither, and stack the slices by series."""
    groups = series_of(found)
    result = _Sorted(objects=groups.objects, aside=[error for _, error in groups.aside])
    for key, frames in groups.series.items():
        try:
            made = stacks_of_series(frames, notes)
        except InputRefused as error:
            result.refusals.append((frames[0].header.label, error))
            continue
        result.stacks += made
        result.frames += frames
        result.patients.setdefault(key[0], len(result.patients) + 1)
    return result


def _nothing(path: Path, found: Found, result: _Sorted) -> InputRefused:
    """Return the most telling reason why nothing can be opened."""
    if result.refusals:
        return result.refusals[0][1]
    if found.broken and not result.aside:
        return found.broken[0][1]
    codes = {e.code for e in result.aside}
    if len(codes) > 1:
        return refused(
            "no-geometry",
            "CT slices with position, orientation and spacing.",
            f"{path.name} holds {len(result.aside)} DICOM objects and none is a CT slice "
            f"({', '.join(sorted(codes))}).",
            "Open the folder of a CT series.",
        )
    if result.aside:
        return result.aside[0]
    if found.has_index:
        return refused(
            "dicomdir-no-files",
            "the files that the DICOMDIR names.",
            f"None of the {len(found.missing)} files in its index is there.",
            "Copy the whole disc, not only the DICOMDIR.",
        )
    return refused(
        "nothing-readable",
        "a DICOM series, or a NIfTI, NRRD or MetaImage file.",
        f"{path.name} holds none ({len(found.rest)} other files).",
        "Choose the folder that holds the slices, or one image file.",
    )


def _say_index(found: Found, notes: Notes) -> None:
    """Name what a DICOMDIR promises and the disc does not hold."""
    if found.missing:
        names = ", ".join(found.missing[:5]) + (" ..." if len(found.missing) > 5 else "")
        notes.warn(
            "dicomdir",
            f"{len(found.missing)} files of the DICOMDIR's index are missing ({names}). What is "
            "there was opened.",
        )


def _say_rest(path: Path, found: Found, result: _Sorted, notes: Notes) -> None:
    """Mention what was left aside, and series that could not be opened."""
    localisers = [e for e in result.aside if e.code == "localiser-only"]
    if localisers:
        notes.note("localiser-set-aside", f"{len(localisers)} localiser images were set aside.")
    others = len(result.aside) - len(localisers)
    if others:
        notes.note("set-aside", f"{others} DICOM files that are no CT slices were set aside.")
    if found.rest and path.is_dir():
        notes.note("not-dicom", f"{len(found.rest)} files that are not DICOM were left alone.")
    for label, error in result.refusals:
        notes.warn(error.code, f"The series '{label}' was not opened: {error.found}")
    for _, error in found.broken:
        notes.warn(error.code, f"Set aside: {error.found}")
    if path.is_file() and path.name.lower().endswith(_OTHER_NAMES):
        notes.warn("wrong-extension", f"{path.name} is DICOM by its content; opened as that.")


def _chosen(stacks: list[Stack], series: str | int | None, *, best: bool) -> list[int]:
    """Choose the stacks to read, by their index."""
    if series is None:
        order = sorted(range(len(stacks)), key=lambda n: _rank(stacks[n]), reverse=True)
        return order[:1] if best else list(range(len(stacks)))
    text = str(series).strip()
    if text.isdigit() and 1 <= int(text) <= len(stacks):
        return [int(text) - 1]
    same = [n for n, s in enumerate(stacks) if s.frames[0].header.text("SeriesInstanceUID") == text]
    if not same:
        raise refused(
            "no-such-series",
            f"a number from 1 to {len(stacks)}, or the UID of a series here.",
            f"'{text[:80]}' is neither.",
            "Run 'ctvlp inspect' on the folder to see its series.",
        )
    return [max(same, key=lambda n: _rank(stacks[n]))]


def _rank(stack: Stack) -> tuple[bool, bool, float]:
    """CT in HU first, then even slices, then extent (voxels)."""
    columns, rows, count = stack.shape
    return stack.unit == "HU", stack.origins is None and count > 1, float(columns * rows * count)


def _say_choice(result: _Sorted, chosen: list[int], notes: Notes) -> None:
    """List what there is when there is more than one volume."""
    stacks = result.stacks
    listed = "; ".join(f"{n}: {_describe(s)}" for n, s in enumerate(stacks, start=1))
    opened = f" Number {chosen[0] + 1} is opened." if len(chosen) == 1 else ""
    how = "Choose another with series=NUMBER (command line: --series NUMBER)."
    if len(result.patients) > 1:
        notes.warn(
            "two-patients",
            f"It holds {len(result.patients)} patients, kept apart: {listed}.{opened} {how}",
        )
    if len({s.frames[0].header.text("SeriesInstanceUID") for s in stacks}) > 1:
        notes.warn("two-series", f"It holds several series, kept apart: {listed}.{opened} {how}")
    elif len(stacks) > 1 and opened:
        notes.note("choice", f"Of the volumes {listed}.{opened} {how}")


def _describe(stack: Stack) -> str:
    """Describe a stack in a few words."""
    header = stack.frames[0].header
    size = " x ".join(str(n) for n in stack.shape)
    return f"'{header.label}' ({header.text('Modality') or 'unknown'}, {size})"


def _volumes(
    stacks: Sequence[Stack], chosen: Sequence[int], notes: Notes, progress: Progress
) -> tuple[Volume, ...]:
    """Decode the chosen stacks; one that cannot be decoded does not stop the others."""
    volumes, errors = [], []
    for done, number in enumerate(chosen):
        part = _share(progress, done, len(chosen))
        try:
            with judged(stacks[number].frames[0].header.path):
                volumes.append(read_stack(stacks[number], number + 1, part))
        except InputRefused as error:
            errors.append(error)
            notes.warn(error.code, f"Volume {number + 1} was not opened: {error.found}")
    if errors and not volumes:
        raise errors[0]
    return tuple(volumes)


def _share(progress: Progress, done: int, count: int) -> Progress:
    """Progress of one part among equal ones."""
    return lambda share, stage: progress((done + share) / count, stage)


def read_stack(stack: Stack, index: int = 1, progress: Progress = silent) -> Volume:
    """Decode one stack whose headers were read before.

    Parameters
    ----------
    stack : Stack
        As :func:`napari_ctvlp.io.dicom.stacks.stacks_of_series` makes it.
    index : int
        Its number in a list of volumes, from 1.
    progress : callable, optional

    Raises
    ------
    InputRefused
        When a slice cannot be decoded.
    """
    own = Notes(list(stack.warnings))
    data = read_voxels(stack, own, progress)
    header = stack.frames[0].header
    return Volume(
        data=data,
        affine=stack.affine,
        unit=stack.unit,
        stored_shape=stack.shape,
        files=tuple(dict.fromkeys(f.header.path for f in stack.frames)),
        origins=stack.origins,
        index=index,
        uid=header.text("SeriesInstanceUID"),
        modality=header.text("Modality"),
        series=header.label,
        single_slice=len(stack.frames) == 1,
        warnings=tuple(own.warnings),
        notices=tuple(own.notices),
    )


def _objects(
    result: _Sorted, notes: Notes
) -> tuple[tuple[dict[str, Any], ...], InputRefused | None]:
    """List segmentations and contours; one that belongs elsewhere refuses the path."""
    listed, error = [], None
    for header in result.objects:
        try:
            with judged(header.path):
                if header.text("SOPClassUID") == RTSTRUCT_CLASS:
                    listed.append(read_contours(header, result.frames, notes))
                    continue
                entry, problem = read_segmentation(header, result.frames, notes)
        except InputRefused as broken:
            if not result.stacks:
                raise
            notes.warn(broken.code, f"Not listed: {broken.found}")
            continue
        listed.append(entry)
        error = error or problem
    return tuple(listed), error


def _merged(first: list[Message], second: list[Message]) -> tuple[Message, ...]:
    """Join messages, each once, in order."""
    return tuple(dict.fromkeys([*first, *second]))
