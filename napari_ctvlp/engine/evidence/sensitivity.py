"""How an answer moves with the wording, with small shifts of the scan, and with its HU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.checks import Reading
from napari_ctvlp.core.ensemble import filled
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import judging
from napari_ctvlp.engine.evidence.probe import Probe, score, step
from napari_ctvlp.engine.evidence.sanity import with_hu
from napari_ctvlp.models.protocol import Progress, silent

#: Voxels cut off the front of each axis in turn, and offsets and stretches of HU.
SHIFTS, OFFSETS, STRETCHES = (1, 2, 3), (-30.0, -10.0, 10.0, 30.0), (0.95, 1.05)


def sensitivity(
    probe: Probe, scan: Scan, anatomy: AnatomyMap, progress: Progress = silent
) -> tuple[Reading, ...]:
    """Answer a phrase in every wording, on shifted scans and at other HU.

    Returns
    -------
    tuple of Reading
        The scan as it is comes first. Each shift and each HU costs an encoding.
    """
    card = probe.encoder.card.settings
    texts = filled(card, probe.query, "present")
    changes = list(_changes(scan, anatomy))
    count = len(changes) + 1
    encoding = probe.untouched(scan, anatomy, step(progress, 0, count, "encoding"))
    first = probe.heat_of(encoding, anatomy)
    made = [_reading("as it is", probe.phrase.text, first, first)]
    neutral = judging.embedded(probe.encoder, card.get("neutral", ()))
    for text in texts:
        heat = judging.answer(
            probe.encoder, encoding, replace(probe.phrase, query=text), anatomy,
            neutral=neutral, rivals=judging.rivals(probe.encoder), kind=probe.kind, several=False,
        )  # fmt: skip
        made.append(_reading("wording", text, heat, first))
    for number, (group, label, change) in enumerate(changes, 1):
        told = step(progress, number, count, f"{group}: {label}")
        made.append(_reading(group, label, probe.heat(*change(), told), first))
    return tuple(made)


Change = Callable[[], tuple[Scan, AnatomyMap]]


def _changes(scan: Scan, anatomy: AnatomyMap) -> Iterator[tuple[str, str, Change]]:
    """Yield group, label and how to make the scan: one at a time, they are large."""
    for axis, name in enumerate("IPL"):
        for count in SHIFTS:
            yield "shift", f"{count} voxels {name}", partial(_moved, scan, anatomy, axis, count)
    for offset in OFFSETS:
        yield "HU", f"{offset:+.0f} HU", partial(_other_hu, scan, anatomy, 1.0, offset)
    for stretch in STRETCHES:
        yield "HU", f"contrast {stretch:.0%}", partial(_other_hu, scan, anatomy, stretch, 0.0)


def _moved(scan: Scan, anatomy: AnatomyMap, axis: int, count: int) -> tuple[Scan, AnatomyMap]:
    cut = shifted(scan, axis, count)
    return cut, cropped(anatomy, cut, axis, count)


def _other_hu(
    scan: Scan, anatomy: AnatomyMap, stretch: float, offset: float
) -> tuple[Scan, AnatomyMap]:
    hu = (np.asarray(scan.hu, np.float32) + 1000) * stretch - 1000 + offset
    return with_hu(scan, hu), anatomy


def shifted(scan: Scan, axis: int, count: int) -> Scan:
    """Return the scan without its first voxels along an axis: every token moves off its place."""
    parts = [slice(None)] * 3
    parts[axis] = slice(count, None)
    affine = scan.affine.copy()
    first = np.zeros(3)
    first[axis] = count
    affine[:3, 3] = transform(scan.affine, first)
    return Scan(scan.hu[tuple(parts)], affine, scan.source, scan.meta)


def cropped(anatomy: AnatomyMap, scan: Scan, axis: int, count: int) -> AnatomyMap:
    """Return an anatomy without its first voxels along an axis, on the scan's grid."""
    parts = [slice(None)] * 3
    parts[axis] = slice(count, None)
    labels = np.asarray(anatomy.labels[tuple(parts)], np.uint16)
    return replace(anatomy, labels=labels, affine=scan.affine, digest=scan.digest)


def _reading(group: str, label: str, heat: Heatmap, first: Heatmap) -> Reading:
    away = float("nan")
    if heat.peak_ras is not None and first.peak_ras is not None:
        away = float(np.linalg.norm(np.subtract(heat.peak_ras, first.peak_ras)))
    return Reading(group, label, score(heat), heat.peak, heat.support, away, heat.verdict)
