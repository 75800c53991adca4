"""Slices into volumes: duplicates, phases, directions, order and gaps, each said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, lps_affine_to_ras, ras_to_lps
from napari_ctvlp.core.scan import Message, Unit
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.frames import Frame
from napari_ctvlp.io.result import Notes, refused

#: Slices closer than this lie at one position, in mm.
SAME_PLACE = 0.01
#: Largest difference between direction cosines of parallel slices.
_PARALLEL = 2e-3
_TILT_DEGREES = 0.5
_NOT_HU = {"PERFUSION", "RCBF", "RCBV", "CBF", "CBV", "MTT", "TTP", "TMAX", "PBV", "IODINE"}


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one volume along their normal, before a pixel is decoded.

    Attributes
    ----------
    frames : tuple of Frame
        In order of the slice index.
    affine : ndarray, shape (4, 4)
        Index (column, row, slice) to RAS mm; see :class:`napari_ctvlp.io.result.Volume`.
    origins : ndarray, shape (k, 3), or None
        RAS positions where the steps are uneven.
    unit : str
        What the rescaled numbers will be.
    warnings : tuple of Message
        Of this volume.
    """

    frames: tuple[Frame, ...]
    affine: Affine
    origins: NDArray[np.float64] | None
    unit: Unit
    warnings: tuple[Message, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.frames[0].shape
        return columns, rows, len(self.frames)


def stacks_of_series(frames: Sequence[Frame], notes: Notes) -> list[Stack]:
    """Sort the slices of one series into volumes.

    Parameters
    ----------
    frames : sequence of Frame
        All slices that carry one SeriesInstanceUID.
    notes : Notes
        Receives what concerns the series as a whole.

    Raises
    ------
    InputRefused
        When no volume can be made of them.
    """
    sound = _set_defects_aside(_once_each(frames, notes), notes)
    directions = _by_direction(sound)
    if len(directions) > 1:
        if all(len(group) == 1 for group in directions):
            raise refused(
                "mixed-orientation",
                "parallel slices.",
                f"Each of the {len(sound)} slices has an orientation of its own.",
                "Open a series whose slices are parallel.",
            )
        counts = " and ".join(str(len(group)) for group in directions)
        notes.warn(
            "mixed-orientation",
            f"One series holds slices in {len(directions)} directions ({counts} slices): they "
            "are opened as separate volumes.",
        )
    stacks = []
    for group in directions:
        _check_matrix(group)
        stacks += [_ordered(phase, own) for phase, own in _by_phase(group, notes)]
    return stacks


def _once_each(frames: Sequence[Frame], notes: Notes) -> list[Frame]:
    """Drop second copies of one SOP instance."""
    kept: dict[tuple[str, int], Frame] = {}
    for frame in frames:
        uid = frame.header.text("SOPInstanceUID") or str(frame.header.path)
        kept.setdefault((uid, frame.number), frame)
    if len(kept) < len(frames):
        notes.note("same-file", f"{len(frames) - len(kept)} second copies of a file were skipped.")
    return list(kept.values())


def _set_defects_aside(frames: list[Frame], notes: Notes) -> list[Frame]:
    """Return usable slices; refuse when there are none, else name those set aside."""
    sound = [f for f in frames if f.defect is None]
    defects = [f.defect for f in frames if f.defect is not None]
    if not sound:
        common = Counter(d.code for d in defects).most_common(1)[0][0]
        raise next(d for d in defects if d.code == common)
    for code in dict.fromkeys(d.code for d in defects):
        found = [(f.name, f.defect) for f in frames if f.defect and f.defect.code == code]
        names = ", ".join(name for name, _ in found[:5]) + (" ..." if len(found) > 5 else "")
        notes.warn(code, f"Set aside {names}: {found[0][1].found} Its place is a gap.")
    return sound


def _by_direction(frames: list[Frame]) -> list[list[Frame]]:
    """Group by slice orientation, the largest group first."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if np.abs(_axes(frame) - _axes(group[0])).max() < _PARALLEL:
                group.append(frame)
                break
        else:
            groups.append([frame])
    return sorted(groups, key=len, reverse=True)


def _check_matrix(frames: list[Frame]) -> None:
    """Refuse slices of different size or pixel spacing, naming the odd ones."""
    kinds = Counter(_matrix(f) for f in frames)
    if len(kinds) == 1:
        return
    usual = kinds.most_common(1)[0][0]
    odd = [f for f in frames if _matrix(f) != usual]
    names = ", ".join(f.name for f in odd[:5]) + (" ..." if len(odd) > 5 else "")
    raise refused(
        "matrix-differs",
        f"slices of one size ({usual[1]} x {usual[0]} pixels).",
        f"{names} differs in size or pixel spacing.",
        "Move it out of the folder, or export the series again.",
    )


def _matrix(frame: Frame) -> tuple[int, int, float, float]:
    """Rows, columns and rounded pixel spacing."""
    step = frame.step or (0.0, 0.0)
    return (*frame.shape, round(step[0], 4), round(step[1], 4))


def _by_phase(frames: list[Frame], notes: Notes) -> list[tuple[list[Frame], Notes]]:
    """Split acquisitions that share their positions; drop single duplicates."""
    places = _places(frames)
    double = [group for group in places if len(group) > 1]
    if not double:
        return [(frames, Notes())]
    if len(double) * 2 > len(places) > 1:
        for key in range(len(frames[0].phase)):
            phases: dict[str, list[Frame]] = {}
            for frame in frames:
                phases.setdefault(frame.phase[key], []).append(frame)
            apart = [p for p in phases.values() if all(len(g) == 1 for g in _places(p))]
            if len(phases) > 1 and len(apart) == len(phases) and all(len(p) > 1 for p in apart):
                notes.warn(
                    "two-phases",
                    f"One series holds {len(apart)} acquisitions at the same positions: they "
                    "are opened as separate volumes.",
                )
                return [(p, Notes()) for p in apart]
    own = Notes()
    for group in double:
        kept, *rest = sorted(group, key=lambda f: (f.instance, f.name))
        own.warn(
            "duplicate-position",
            f"{', '.join(f.name for f in rest)} lies at the position of {kept.name}, which is "
            "kept (lower instance number); the other is left out.",
        )
    return [([min(group, key=lambda f: (f.instance, f.name)) for group in places], own)]


def _places(frames: list[Frame]) -> list[list[Frame]]:
    """Group slices that lie at one position, in order along the normal."""
    normal = np.cross(*_axes(frames[0]))
    ordered = sorted(frames, key=lambda f: float(_position(f) @ normal))
    groups: list[list[Frame]] = []
    for frame in ordered:
        same = groups and np.abs(_position(frame) - _position(groups[-1][0])).max() < SAME_PLACE
        if same:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return groups


def _ordered(frames: list[Frame], own: Notes) -> Stack:
    """Place the slices and say what is odd about their distances."""
    frames = [group[0] for group in _places(frames)]
    axes, step = _axes(frames[0]), frames[0].step or (1.0, 1.0)
    normal = np.cross(axes[0], axes[1])
    if len(frames) > 1 and all(f.number == len(frames) - 1 - n for n, f in enumerate(frames)):
        frames, normal = frames[::-1], -normal
    origins = np.array([_position(f) for f in frames])
    gaps = np.diff(origins @ normal)
    if np.any(gaps < SAME_PLACE):
        raise refused(
            "not-a-volume",
            "slices one behind the other.",
            "Several pictures lie side by side in one plane.",
            "Open a series of parallel slices.",
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[0] * step[0], axes[1] * step[1]
    affine[:3, 2], affine[:3, 3] = normal, origins[0]
    uneven = False
    if len(frames) == 1:
        _warn_single(frames[0], own)
    else:
        mean = (origins[-1] - origins[0]) / (len(frames) - 1)
        line = origins[0] + np.arange(len(frames))[:, np.newaxis] * mean
        uneven = bool(np.abs(origins - line).max() > max(SAME_PLACE, 0.01 * np.median(gaps)))
        if not uneven:
            affine[:3, 2] = mean
        _warn_tilt(origins, normal, own)
    if uneven:
        _warn_gaps(frames, gaps, own)
    unit = _unit(frames, own)
    _warn_rest(frames, own)
    return Stack(
        frames=tuple(frames),
        affine=lps_affine_to_ras(affine) + 0.0,
        origins=ras_to_lps(origins) if uneven else None,
        unit=unit,
        warnings=tuple(own.warnings),
    )


def _warn_single(frame: Frame, notes: Notes) -> None:
    """One slice has no slice spacing."""
    notes.warn(
        "single-slice",
        f"{frame.name} is the only slice: there is no slice spacing (its thickness is none), so "
        "nothing can be measured across slices. If it is one of a series, open its folder.",
    )


def _warn_tilt(origins: NDArray[np.float64], normal: NDArray[np.float64], notes: Notes) -> None:
    """Warn when the step from slice to slice leaves the slice normal."""
    way = origins[-1] - origins[0]
    along = abs(float(way @ normal))
    tilt = float(np.degrees(np.arccos(np.clip(along / np.linalg.norm(way), -1, 1))))
    if tilt > _TILT_DEGREES:
        notes.warn(
            "gantry-tilt",
            f"The gantry was tilted by {tilt:.1f} degrees: each slice is shifted against the one "
            "before. The shift is kept; for display the volume is resampled.",
        )


def _warn_gaps(frames: list[Frame], gaps: NDArray[np.float64], notes: Notes) -> None:
    """Tell missing slices from distances that follow no rule."""
    usual = float(np.median(gaps))
    times = gaps / usual
    whole = np.abs(times - np.rint(times)).max() < 0.05 and np.rint(times).min() >= 1
    regular = (np.rint(times) == 1).sum()
    if whole and times.max() < 20 and regular >= 3 and regular > 0.6 * len(gaps):
        wide = [n for n in range(len(gaps)) if times[n] > 1.5]
        lost = int(sum(round(times[n]) - 1 for n in wide))
        between = "; ".join(f"{frames[n].name} and {frames[n + 1].name}" for n in wide[:5])
        notes.warn(
            "missing-slice",
            f"{lost} of {len(frames) + lost} slices missing, between {between}. The slices there "
            "keep their real positions; the gap is filled for display by interpolation.",
        )
        return
    words = ", ".join(f"{g:g}" for g in np.unique(np.round(gaps, 2))[:8])
    notes.warn(
        "uneven-spacing",
        f"Distances between slices differ ({words} mm). Every slice keeps its real position; for "
        "display the volume is resampled.",
    )


def _unit(frames: list[Frame], notes: Notes) -> Unit:
    """Tell by the headers what the rescaled numbers are."""
    first = frames[0]
    modality = first.header.text("Modality")
    if modality != "CT":
        tiles = " Its tiles are not unpacked." if "MOSAIC" in first.image_type else ""
        notes.warn(
            "not-ct",
            f"This is {modality or 'an image without modality'}, not CT: its values are not "
            f"Hounsfield units.{tiles}",
        )
        return "arbitrary"
    if any(f.rescale is None for f in frames):
        notes.warn(
            "no-rescale",
            "RescaleSlope and RescaleIntercept are missing: the stored numbers are shown and are "
            "probably 1024 too high for Hounsfield units.",
        )
        return "stored"
    odd = {f.rescale_type for f in frames} - {"", "HU", "US"}
    maps = _NOT_HU & set(first.image_type)
    if odd or maps:
        notes.warn(
            "not-hu",
            f"The modality is CT, but the values are no HU ({', '.join(sorted(odd | maps))}).",
        )
        return "arbitrary"
    return "HU"


def _warn_rest(frames: list[Frame], notes: Notes) -> None:
    """Loss of precision, and several frames of reference."""
    if any(f.lossy for f in frames):
        notes.warn("lossy", "The images were compressed with loss: values are approximate.")
    if len({f.header.text("FrameOfReferenceUID") for f in frames}) > 1:
        notes.warn(
            "frame-of-reference",
            "The slices belong to several frames of reference: by the standard their positions "
            "cannot be compared. They are stacked as stated; check the result.",
        )


def _axes(frame: Frame) -> NDArray[np.float64]:
    """Directions of a slice without defect."""
    if frame.axes is None:
        raise InputRefused("no-orientation", "a placed slice.", frame.name, "Export it again.")
    return frame.axes


def _position(frame: Frame) -> NDArray[np.float64]:
    """Position of a slice without defect."""
    if frame.position is None:
        raise InputRefused("no-position", "a placed slice.", frame.name, "Export it again.")
    return frame.position
