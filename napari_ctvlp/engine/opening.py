"""open_scan: a path to one CT volume in the house's axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import (
    Affine,
    bounding_ipl_grid,
    needs_resampling,
    obliquity_degrees,
    resample,
    shear_degrees,
    snapped,
    spacing,
    to_ipl,
    transform,
)
from napari_ctvlp.core.scan import AIR_HU, Message, Scan, ScanMeta, Source
from napari_ctvlp.errors import CtvlpError, OutOfResources
from napari_ctvlp.io.dicom.glance import glance
from napari_ctvlp.io.dicom.headers import quiet
from napari_ctvlp.io.dicom.pixels import read_slice
from napari_ctvlp.io.dicom.reader import read_stack
from napari_ctvlp.io.dicom.stacks import Stack
from napari_ctvlp.io.read import read_path
from napari_ctvlp.io.result import Notes, Progress, ReadResult, Volume, compact, refused, silent
from napari_ctvlp.io.survey import Item

#: Values below this are no measurement (scanners write -2000 or -3024 outside their field), HU.
LOWEST_HU = -1500
#: A snapped grid may move a voxel by this share of its edge, no more.
_SNAP_SHARE = 0.5
#: Voxels a resampled scan may have at all, and as a multiple of the stored ones: a turned box
#: grows several times, a header that is wrong without limit.
_MOST_VOXELS, _MOST_GROWTH, _NO_MATTER = 2_000_000_000, 64, 20_000_000
_MOST_SLICES = 4000
#: Planes resampled at a time.
_SLAB = 8


@dataclass(frozen=True)
class _Even:
    """A volume on one even grid, in stored axis order."""

    data: NDArray[Any]
    affine: Affine


def open_scan(
    path: Path | str, *, series: str | int | None = None, progress: Progress = silent
) -> Scan:
    """Open a CT and bring it to inferior, posterior, left axes.

    Parameters
    ----------
    path : Path or str
        NIfTI, NRRD or MetaImage file, DICOM folder, DICOM file or DICOMDIR.
    series : str or int, optional
        Which volume of several: its number in the list of ``ctvlp inspect`` (from 1) or its
        SeriesInstanceUID. By default the most CT-like one, with a warning that says so.
    progress : callable, optional
        Told the share done and the stage.

    Returns
    -------
    Scan
        ``hu`` of shape (i, p, l): a view of the voxels read where the stored grid is
        axis-aligned, else resampled (linear) with a notice. ``meta.unit`` says whether the
        numbers are HU; ``meta.warnings`` what the user must know.

    Raises
    ------
    InputRefused
        When there is no volume at the path that can be used as a scan.
    OutOfResources
        When resampling would need an absurd amount of memory.
    """
    result = read_path(path, series, lambda s, w: progress(0.8 * s, w), best=series is None)
    volume = _volume(Path(path), result)
    notes = Notes(list(result.warnings), list(result.notices))
    if result.refused is not None:
        notes.warn(result.refused.code, result.refused.found)
    if volume.segments:
        notes.warn("segmentation", f"{volume.series} is a label map, not a CT: use it as labels.")
    return _scan(volume, notes, progress)


def open_item(item: Item, progress: Progress = silent) -> Scan:
    """Open one item of a survey; a DICOM series is not searched for again.

    Parameters
    ----------
    item : Item
        Of kind ``"volume"``.
    progress : callable, optional

    Returns
    -------
    Scan
        As :func:`open_scan` gives it.

    Raises
    ------
    InputRefused, OutOfResources
        As :func:`open_scan` does.
    """
    if item.stack is None:
        return open_scan(item.files[0], progress=progress)
    with quiet():
        volume = read_stack(item.stack, 1, lambda s, w: progress(0.8 * s, w))
    own = [*item.messages, *volume.warnings]
    return _scan(volume, Notes(own, list(volume.notices)), progress)


def glance_at(paths: Sequence[Path]) -> Scan | None:
    """Return one slice of what some paths seem to hold, before anything else is read.

    Parameters
    ----------
    paths : sequence of Path
        Files, or one folder. Three headers and one slice are read.

    Returns
    -------
    Scan or None
        As :func:`preview_of` gives it, one voxel thick where the distance of the slices is not
        known yet; None where the paths do not look like one DICOM series in HU.
    """
    try:
        stack = glance(paths)
    except OSError:
        return None
    return None if stack is None else _middle(stack)


def preview_of(item: Item) -> Scan | None:
    """Return the middle slice of a series at once, to be shown until the whole is there.

    Parameters
    ----------
    item : Item
        Of a survey.

    Returns
    -------
    Scan or None
        One slice, shape (1, p, l) for an axial series; None where it cannot be shown as it is
        (other files than DICOM, turned or damaged slices).
    """
    return None if item.stack is None else _middle(item.stack)


def _middle(stack: Stack) -> Scan | None:
    """Return the middle slice in its own place, marked as provisional."""
    if needs_resampling(stack.affine):
        return None
    middle = len(stack.frames) // 2
    try:
        with quiet():
            values = read_slice(stack, middle)
    except (CtvlpError, OSError):
        return None
    affine = stack.affine.copy()
    at = transform(affine, (0, 0, middle)) if stack.origins is None else stack.origins[middle]
    affine[:3, 3] = at
    view, own = to_ipl(compact(values).T[..., np.newaxis], affine)
    note = Message("provisional", "One slice of a series that is still being read.")
    header = stack.frames[middle].header
    source = Source((header.path,), (*values.shape[::-1], 1), affine)
    return Scan(view, snapped(own), source, ScanMeta("CT", header.label, stack.unit, (), (note,)))


def _scan(volume: Volume, notes: Notes, progress: Progress) -> Scan:
    """Bring a volume to the house's axes and say what was done."""
    progress(0.8, "aligning")
    even = _even(volume, _clean(volume, notes), notes)
    hu, affine, resampled = _aligned(even, notes, progress)
    progress(1.0, "ready")
    i, j, k = even.data.shape
    return Scan(
        hu=hu,
        affine=affine,
        source=Source(volume.files, (i, j, k), even.affine, resampled),
        meta=ScanMeta(
            modality=volume.modality,
            series=volume.series,
            unit=volume.unit,
            warnings=tuple(notes.warnings),
            notices=tuple(notes.notices),
        ),
    )


def _volume(path: Path, result: ReadResult) -> Volume:
    """Return the one volume; objects alone are no scan."""
    if not result.volumes:
        raise refused(
            "reference-missing",
            "a CT.",
            f"{path.name} holds segmentations or contours only.",
            "Open the CT they were drawn on, in one folder with them.",
        )
    return result.volumes[0]


def _clean(volume: Volume, notes: Notes) -> NDArray[Any]:
    """First time point, finite, and nothing below what air can be."""
    data = volume.data if volume.data.ndim == 3 else volume.data[..., 0]
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        data = compact(np.where(np.isfinite(data), data, np.float32(AIR_HU)))
    if volume.unit == "HU" and data.size and data.min() < LOWEST_HU:
        low = data < LOWEST_HU
        notes.note(
            "padding",
            f"{100 * low.mean():.1f} % of the voxels lie below {LOWEST_HU} HU, outside the "
            "scanner's field: taken as air.",
        )
        data = np.where(low, np.array(AIR_HU, dtype=data.dtype), data)
    return data


def _even(volume: Volume, data: NDArray[Any], notes: Notes) -> _Even:
    """Bring slices at uneven positions to even steps, linear between their real positions."""
    if volume.origins is None:
        return _Even(data, volume.affine)
    normal = volume.affine[:3, 2]
    depth = (volume.origins - volume.origins[0]) @ normal
    gaps = np.abs(np.diff(depth))
    count = int(np.ceil(abs(depth[-1]) / gaps.min() - 1e-3)) + 1
    count = min(count, max(_MOST_SLICES, len(depth)))
    wanted = np.linspace(0.0, depth[-1], count)
    out = np.empty((*data.shape[:2], count), dtype=data.dtype, order="F")
    upper = np.clip(np.searchsorted(np.abs(depth), np.abs(wanted)), 1, len(depth) - 1)
    for n, (u, at) in enumerate(zip(upper, wanted, strict=True)):
        share = (at - depth[u - 1]) / (depth[u] - depth[u - 1])
        mixed = data[..., u - 1] * np.float32(1 - share) + data[..., u] * np.float32(share)
        out[..., n] = np.rint(mixed) if out.dtype.kind == "i" else mixed
    affine = volume.affine.copy()
    affine[:3, 2] = (volume.origins[-1] - volume.origins[0]) / (count - 1)
    step = float(np.linalg.norm(affine[:3, 2]))
    notes.note(
        "resampled",
        f"{len(depth)} slices at uneven positions were resampled to {count} slices every "
        f"{step:.2f} mm, linear between the real positions. Results are saved on that grid.",
    )
    return _Even(out, affine)


def _aligned(even: _Even, notes: Notes, progress: Progress) -> tuple[NDArray[Any], Affine, bool]:
    """View in IPL order where the grid allows it, else resample onto the bounding grid."""
    view, affine = to_ipl(even.data, even.affine)
    straight = _snapped_about_centre(affine, view.shape)
    moved = np.abs(_corners(affine, view.shape) - _corners(straight, view.shape))
    in_place = np.all(moved.max(axis=0)[::-1] <= _SNAP_SHARE * spacing(affine))
    if in_place and not needs_resampling(affine):
        return view, straight, False
    shape, target = bounding_ipl_grid(even.data.shape, even.affine)
    most = min(_MOST_VOXELS, max(_NO_MATTER, _MOST_GROWTH * even.data.size))
    if math.prod(shape) > most:
        raise OutOfResources(
            "too-large",
            f"at most {most} voxels after resampling.",
            f"The oblique volume would need {shape}.",
            "Crop it first.",
        )
    tilt, shear = obliquity_degrees(even.affine), shear_degrees(even.affine)
    out = _resampled(even, shape, target, progress)
    notes.note(
        "resampled",
        f"The volume is turned by {tilt:.1f} degrees"
        + (f" and sheared by {shear:.1f} degrees" if shear > 0.5 else "")
        + f": for display it was resampled to {' x '.join(map(str, shape))} voxels (linear). "
        "Results are saved on the original grid.",
    )
    return out, target, True


def _resampled(
    even: _Even, shape: tuple[int, int, int], target: Affine, progress: Progress
) -> NDArray[Any]:
    """Resample plane by plane in small slabs, so that progress shows and a cancel is heard."""
    out = np.empty(shape, dtype=even.data.dtype)
    for start in range(0, shape[0], _SLAB):
        slab = out[start : start + _SLAB]
        place = target.copy()
        place[:3, 3] = transform(target, (start, 0, 0))
        slab[:] = resample(even.data, even.affine, slab.shape, place, fill=float(AIR_HU))
        progress(0.8 + 0.2 * start / shape[0], "resampling")
    return out


def _snapped_about_centre(affine: Affine, shape: tuple[int, ...]) -> Affine:
    """Drop the small rotation of an IPL grid so that its centre stays in place."""
    straight = snapped(affine)
    centre = (np.array(shape) - 1) / 2
    straight[:3, 3] += transform(affine, centre) - transform(straight, centre)
    return straight


def _corners(affine: Affine, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """RAS positions of the eight corner voxels, shape (8, 3)."""
    ends = np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")
    return transform(affine, np.array(ends).reshape(3, -1).T)
