"""Whether an answer belongs to the patient or to how the scan was stored.

Three trials: the same scan stored in other orientations must give the same numbers; a scan moved
by whole tokens must move its peak by as much, within one token; a mirrored scan must mirror the
peak of a phrase without a side, and a phrase with a side must change it. Beside the mirrored peak
stands the correlation of the two maps: two places nearly as high may change ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.geometry import (
    Affine,
    from_ipl,
    oriented_affine,
    spacing,
    to_ipl,
    transform,
    voxel_of,
)
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.regions import side_mm
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.evidence.probe import Probe
from napari_ctvlp.models.protocol import Progress, silent

#: Orientations tried where nobody asks for others: flips and permutations of every axis.
CODES = ("RAS", "LPS", "SAR", "PIL", "AIR", "ILP")
#: Maps that correlate this well are called mirrored.
ALIKE = 0.9
_OTHER = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Trial:
    """One line of the table.

    Attributes
    ----------
    phrase : str
    kind : {"stored", "shift", "mirror", "map", "side"}
        "map" is told beside "mirror" and is no bar.
    label : str
    holds : bool
    number : float
        Largest difference of the maps, or mm between expected and found peak.
    unit : str
    """

    phrase: str
    kind: str
    label: str
    holds: bool
    number: float
    unit: str


def equivariance(
    probes: Sequence[Probe],
    scan: Scan,
    anatomy: AnatomyMap,
    codes: Sequence[str] = CODES,
    progress: Progress = silent,
) -> tuple[Trial, ...]:
    """Try phrases without a side on a scan stored, moved and mirrored.

    Parameters
    ----------
    probes : sequence of Probe
        Phrases of one encoder, which encodes each changed scan once for all of them.
    scan : Scan
    anatomy : AnatomyMap
        Is stored, moved and mirrored with the scan.
    codes : sequence of str
        Orientations to store the scan in.
    progress : callable

    Returns
    -------
    tuple of Trial
        Phrase by phrase.
    """
    encode = probes[0].encoder.encode
    plain = probes[0].untouched(scan, anatomy), anatomy
    first = [probe.heat_of(*plain) for probe in probes]
    rows: list[list[Trial]] = [[] for _ in probes]
    for number, code in enumerate(codes):
        progress(0.5 * number / len(codes), f"stored {code}")
        again, organs = restored(scan, anatomy, code)
        encoding = encode(again, organs)
        for row, probe, before in zip(rows, probes, first, strict=True):
            row.append(_stored(probe, probe.heat_of(encoding, organs), code, before))
    for axis, name in enumerate("IPL"):
        progress(0.5 + 0.1 * axis, f"moved along {name}")
        steps = float(scan.spacing[axis]), float(spacing(first[0].affine)[axis])
        count = whole_tokens(*steps, scan.shape[axis] // 4)
        further, organs = moved(scan, anatomy, axis, count)
        encoding = encode(further, organs)
        step = transform(scan.affine, np.eye(3)[axis] * count) - transform(scan.affine, np.zeros(3))
        for row, probe, before in zip(rows, probes, first, strict=True):
            gap = _away(probe.heat_of(encoding, organs), before, step)
            holds = gap <= float(spacing(before.affine)[axis]) + 1e-6
            label = f"{count} voxels along {name}"
            row.append(Trial(probe.phrase.text, "shift", label, holds, gap, "mm off"))
    progress(0.85, "mirrored")
    turned, organs = mirrored(scan), mirrored_anatomy(anatomy, scan)
    flipped = encode(turned, organs), organs
    for row, probe, before in zip(rows, probes, first, strict=True):
        row.extend(_mirrored(probe, probe.heat_of(*flipped), before, scan))
        row.extend(_sides(probe, plain, flipped))
    return tuple(trial for row in rows for trial in row)


def restored(scan: Scan, anatomy: AnatomyMap, code: str) -> tuple[Scan, AnatomyMap]:
    """Store a scan and its anatomy in another orientation and bring both back."""
    shape = tuple(int(n) for n in _order(scan.shape, code))
    steps = _order(scan.spacing.tolist(), code)
    stored = oriented_affine(code, shape, steps, _centre(scan))
    hu, affine = _there_and_back(scan.hu, stored)
    labels, _ = _there_and_back(anatomy.labels, stored)
    again = Scan(hu, affine, scan.source, scan.meta)
    return again, replace(anatomy, labels=labels, affine=affine)


def _there_and_back(array: NDArray[Any], stored: Affine) -> tuple[NDArray[Any], Affine]:
    """Store an IPL array in the order of an affine, and bring it back as a file would come."""
    return to_ipl(np.ascontiguousarray(from_ipl(array, stored)), stored)


def mirrored(scan: Scan) -> Scan:
    """Return the scan with left and right exchanged, on the same grid."""
    hu: NDArray[Any] = np.ascontiguousarray(scan.hu[:, :, ::-1])
    return Scan(hu, scan.affine, scan.source, scan.meta)


def mirrored_anatomy(anatomy: AnatomyMap, scan: Scan) -> AnatomyMap:
    """Return the anatomy of a mirrored scan: what was the left lung is the right one."""
    ids = {organ.name: organ.id for organ in anatomy.organs}
    table = np.arange(max(ids.values()) + 1)
    for name, number in ids.items():
        table[number] = ids.get(_swapped(name), number)
    labels = table[anatomy.labels[:, :, ::-1]].astype(np.uint16)
    names = [(organ.id, organ.name) for organ in anatomy.organs]
    return anatomy_from_labels(labels, mirrored(scan), names, source=anatomy.source)


def moved(scan: Scan, anatomy: AnatomyMap, axis: int, count: int) -> tuple[Scan, AnatomyMap]:
    """Move the patient on the grid by whole voxels, air coming in behind."""
    hu, labels = np.roll(scan.hu, count, axis), np.roll(anatomy.labels, count, axis)
    parts = [slice(None)] * 3
    parts[axis] = slice(0, count)
    hu[tuple(parts)], labels[tuple(parts)] = -1000, 0
    further = Scan(hu, scan.affine, scan.source, scan.meta)
    return further, replace(anatomy, labels=labels, digest=further.digest)


def _stored(probe: Probe, heat: Heatmap, code: str, first: Heatmap) -> Trial:
    same = np.array_equal(heat.values, first.values, equal_nan=True)
    gap = float(np.nanmax(np.abs(heat.values - first.values), initial=0.0))
    told = (heat.peak, heat.support, heat.verdict, heat.reason)
    equal = same and str(told) == str((first.peak, first.support, first.verdict, first.reason))
    return Trial(probe.phrase.text, "stored", f"as {code}", equal, gap, "largest difference")


def whole_tokens(step: float, token: float, most: int = 10_000) -> int:
    """Return the voxels, up to five tokens of them, that come nearest to whole tokens.

    Parameters
    ----------
    step, token : float
        Edge of a voxel and of a token, in mm.
    most : int
        Voxels beyond which little of the patient would stay; one token is moved all the same.
    """
    least = max(1, round(token / step))
    counts = range(least, max(least, min(most, max(2, round(5 * token / step)))) + 1)
    return min(counts, key=lambda n: (round(abs(n * step / token - round(n * step / token)), 6), n))


def _mirrored(probe: Probe, heat: Heatmap, first: Heatmap, scan: Scan) -> tuple[Trial, ...]:
    """Compare with the mirror image of the first map: its peak, and all of it."""
    text, middle = probe.phrase.text, _centre(scan)[0]
    if heat.peak_ras is None or first.peak_ras is None:
        return (Trial(text, "mirror", "peak mirrored", False, float("nan"), "mm off"),)
    expected = np.array(first.peak_ras) * (-1, 1, 1) + (2 * middle, 0, 0)
    gap = float(np.linalg.norm(expected - heat.peak_ras))
    token = float(np.linalg.norm(spacing(first.affine)))
    alike = _alike(heat, first, middle)
    return (
        Trial(text, "mirror", "peak mirrored", gap <= token, gap, "mm off"),
        Trial(text, "map", "map mirrored", alike >= ALIKE, alike, "correlation"),
    )


def _alike(heat: Heatmap, first: Heatmap, middle: float) -> float:
    """Return the correlation of a map with another's mirror image, where both were searched."""
    cells = np.argwhere(first.allowed & np.isfinite(first.values))
    points = transform(first.affine, cells) * (-1, 1, 1) + (2 * middle, 0, 0)
    other = np.rint(voxel_of(heat.affine, points)).astype(int)
    inside = ((other >= 0) & (other < heat.values.shape)).all(axis=1)
    pair = np.stack([
        first.values[tuple(cells[inside].T)], heat.values[tuple(other[inside].T)]
    ])  # fmt: skip
    pair = pair[:, np.isfinite(pair).all(axis=0)]
    return float(np.corrcoef(pair)[0, 1]) if pair.shape[1] > 1 else float("nan")


def _sides(
    probe: Probe, plain: tuple[Encoding, AnatomyMap], turned: tuple[Encoding, AnatomyMap]
) -> tuple[Trial, ...]:
    """A phrase with a side peaks on that side, in the scan and in its mirror image."""
    found = []
    for side in _OTHER:
        sided = replace(probe, phrase=parse(f"{probe.phrase.text} on the {side}"))
        for label, known in (("", plain), (" of the mirror image", turned)):
            peak = sided.heat_of(*known).peak_ras
            left = float("nan") if peak is None else float(side_mm(known[1], peak))
            holds = left > 0 if side == "left" else left < 0
            words = f"{side}{label}"
            found.append(
                Trial(probe.phrase.text, "side", words, holds, left, "mm left of the midline")
            )
    return tuple(found)


def _away(heat: Heatmap, first: Heatmap, by: NDArray[np.float64]) -> float:
    if heat.peak_ras is None or first.peak_ras is None:
        return float("nan")
    return float(np.linalg.norm(np.subtract(heat.peak_ras, first.peak_ras) - by))


def _centre(scan: Scan) -> NDArray[np.float64]:
    return transform(scan.affine, (np.array(scan.shape) - 1) / 2)


def _order(values: Sequence[float], code: str) -> tuple[float, ...]:
    """Bring (I, P, L) values into the axis order of an orientation code."""
    row = {"I": 0, "S": 0, "P": 1, "A": 1, "L": 2, "R": 2}
    return tuple(values[row[letter]] for letter in code)


def _swapped(name: str) -> str:
    stem, _, side = name.rpartition("_")
    return f"{stem}_{_OTHER[side]}" if side in _OTHER else name
