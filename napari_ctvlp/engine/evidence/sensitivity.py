"""How an answer moves with the wording, with small shifts of the scan, and with its HU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.ensemble import filled
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import judging
from napari_ctvlp.engine.evidence.probe import Probe, score
from napari_ctvlp.engine.evidence.sanity import with_hu
from napari_ctvlp.models.protocol import Progress, silent

#: Voxels cut off the front of each axis in turn, and offsets and stretches of HU.
SHIFTS, OFFSETS, STRETCHES = (1, 2, 3), (-30.0, -10.0, 10.0, 30.0), (0.95, 1.05)


@dataclass(frozen=True)
class Reading:
    """One answer of the strip plot.

    Attributes
    ----------
    group : {"as it is", "wording", "shift", "HU"}
    label : str
    score, peak, support : float
        Mean of the highest cells, peak, calibrated support (NaN without a calibration).
    moved_mm : float
        How far the peak lies from that of the scan as it is.
    verdict : str
    """

    group: str
    label: str
    score: float
    peak: float
    support: float
    moved_mm: float
    verdict: str


def sensitivity(
    probe: Probe, scan: Scan, anatomy: AnatomyMap, progress: Progress = silent
) -> tuple[Reading, ...]:
    """Answer a phrase in every wording, on shifted scans and at other HU.

    Returns
    -------
    tuple of Reading
        The scan as it is comes first. Each shift and each HU costs an encoding.
    """
    first = probe.heat(scan, anatomy)
    made = [_reading("as it is", probe.phrase.text, first, first)]
    for number, (group, label, heat) in enumerate(_changed(probe, scan, anatomy)):
        made.append(_reading(group, label, heat, first))
        progress(min(0.99, (number + 1) / 20), f"{group}: {label}")
    return tuple(made)


def _changed(probe: Probe, scan: Scan, anatomy: AnatomyMap) -> Iterator[tuple[str, str, Heatmap]]:
    card, query = probe.encoder.card.settings, probe.phrase.query
    encoding = probe.encoder.encode(scan, anatomy)
    neutral = judging.embedded(probe.encoder, card.get("neutral", ()))
    for text in filled(card, query, "present"):
        heat = judging.answer(
            probe.encoder, encoding, replace(probe.phrase, query=text), anatomy,
            neutral=neutral, rivals=judging.rivals(probe.encoder), kind=probe.kind, several=False,
        )  # fmt: skip
        yield "wording", text, heat
    for axis, name in enumerate("IPL"):
        for count in SHIFTS:
            cut = shifted(scan, axis, count)
            yield (
                "shift",
                f"{count} voxels {name}",
                probe.heat(cut, cropped(anatomy, cut, axis, count)),
            )
    for offset in OFFSETS:
        hu = np.asarray(scan.hu, np.float32) + offset
        yield "HU", f"{offset:+.0f} HU", probe.heat(with_hu(scan, hu), anatomy)
    for stretch in STRETCHES:
        hu = (np.asarray(scan.hu, np.float32) + 1000) * stretch - 1000
        yield "HU", f"contrast {stretch:.0%}", probe.heat(with_hu(scan, hu), anatomy)


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
