"""Does a map depend on what it should: the weights, the voxels it marks, the organ it names.

Definitions in docs/decisions/0510-what-an-answer-rests-on.md; after Adebayo et al. (2018), Petsiuk
et al. (2018) and Arun et al. (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.checks import Curves, Erasure, WeightCheck
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.geometry import resample, spacing
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.evidence.probe import Probe, randomised, score, step
from napari_ctvlp.engine.loaded import loading
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.protocol import Progress, silent

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Per cent of the searched voxels that are deleted or inserted.
STEPS = (0, 1, 2, 5, 10, 20, 30, 50, 75, 100)
#: Blur of the neutral volume, and width of the control's blobs, in mm.
BLUR_MM, BLOB_MM = 8.0, 8.0
#: The shell around an organ that it is filled from, in mm.
SHELL_MM = (3.0, 15.0)


def weights_matter(
    probes: Sequence[Probe],
    scan: Scan,
    anatomy: AnatomyMap,
    shuffles: int = 3,
    progress: Progress = silent,
) -> tuple[WeightCheck, ...]:
    """Compare maps with those of shuffled weights; below .3 the weights decide them.

    Parameters
    ----------
    probes : sequence of Probe
        Phrases of one encoder, which is shuffled once for all of them.
    scan : Scan
    anatomy : AnatomyMap
    shuffles : int
        Each costs an encoding.
    progress : callable

    Returns
    -------
    tuple of WeightCheck
        One per phrase.
    """
    encoding = probes[0].untouched(scan, anatomy, step(progress, 0, shuffles + 1, "encoding"))
    true = [probe.raw_of(encoding) for probe in probes]
    rows: list[list[float]] = [[] for _ in probes]
    firsts = [values for values, _ in true]
    for seed in range(shuffles):
        stage = f"shuffled weights, {seed + 1} of {shuffles}"
        told = step(progress, seed + 1, shuffles + 1, stage)
        shuffled = randomised(probes[0].encoder, seed)
        encoding = shuffled.encode(scan, anatomy, progress=told)
        for number, probe in enumerate(probes):
            values, _ = replace(probe, encoder=shuffled).raw_of(encoding)
            both = np.isfinite(true[number][0]) & np.isfinite(values)
            found = stats.spearmanr(true[number][0][both], values[both]).statistic
            rows[number].append(float(found))
            firsts[number] = values if seed == 0 else firsts[number]
    return tuple(
        WeightCheck(values, first, grid.affine, tuple(row))
        for (values, grid), first, row in zip(true, firsts, rows, strict=True)
    )


def delete_and_insert(
    probe: Probe,
    scan: Scan,
    anatomy: AnatomyMap,
    *,
    steps: Sequence[float] = STEPS,
    seed: int = 0,
    progress: Progress = silent,
) -> Curves:
    """Take away, and put into a blurred scan, voxels in the map's order and in that of blobs.

    Parameters
    ----------
    probe : Probe
    scan : Scan
    anatomy : AnatomyMap
        Kept as it is: the place that is searched does not change.
    steps : sequence of float
        Per cent of the searched voxels; each costs four encodings, 0 one and 100 two.
    seed : int
        Of the blobs.
    progress : callable
    """
    heat = probe.heat_of(probe.untouched(scan, anatomy), anatomy)
    order = {"map": _ranks(heat, heat.values, scan), "blob": _ranks(heat, _blobs(heat, seed), scan)}
    neutral = blurred(scan)
    rows: dict[str, list[float]] = {f"{kind} {way}": [] for kind in order for way in "di"}
    known = {"d0": score(heat)}
    ways = [(kind, way) for kind in order for way in "di"]
    for number, (percent, (kind, way)) in enumerate(product(steps, ways)):
        taken = order[kind] < percent / 100
        base, put = (scan, neutral) if way == "d" else (neutral, scan)
        key = f"{way}{percent:g}" if percent in (0, 100) else f"{kind}{way}{percent}"
        if key not in known:
            changed = with_hu(base, np.where(taken, put.hu, base.hu))
            told = step(progress, number, 4 * len(steps), f"{percent:g} % of the voxels")
            known[key] = score(probe.heat(changed, anatomy, told))
        rows[f"{kind} {way}"].append(known[key])
    parts = (tuple(rows[name]) for name in ("map d", "map i", "blob d", "blob i"))
    return Curves(tuple(float(s) for s in steps), *parts)


def erase_organs(
    probes: Sequence[Probe],
    scan: Scan,
    anatomy: AnatomyMap,
    named: str,
    other: str,
    progress: Progress = silent,
) -> tuple[Erasure, ...]:
    """Paint over the organ that phrases name, and another one, and score again.

    Parameters
    ----------
    probes : sequence of Probe
        Phrases of one encoder.
    scan : Scan
    anatomy : AnatomyMap
    named, other : str
        Organs of the scan; each costs an encoding.
    progress : callable

    Returns
    -------
    tuple of Erasure
        One per phrase.

    Raises
    ------
    InputRefused
        If one of them is not in the scan.
    """
    for name in (named, other):
        if not anatomy.has(name):
            raise InputRefused(
                "organ-missing", "two organs of this scan.",
                f"There is no {name} in it." if name else "Only one was named.",
                "Choose among " + ", ".join(o.name for o in anatomy.organs if o.ml > 0) + ".",
            )  # fmt: skip
    encodings = [probes[0].untouched(scan, anatomy, step(progress, 0, 3, "encoding"))]
    for number, name in enumerate((named, other)):
        told = step(progress, number + 1, 3, f"without {name}")
        changed = erased(scan, anatomy, name)
        encodings.append(probes[0].encoder.encode(changed, anatomy, progress=told))
    found = []
    for probe in probes:
        scores = (score(probe.heat_of(encoding, anatomy)) for encoding in encodings)
        found.append(Erasure(named, other, *scores))
    return tuple(found)


def sums_to_score(probe: Probe, encoding: Encoding) -> float | None:
    """Return how far the parts of additive maps are off the scores they explain, at most.

    Maps of the kind "split" against their organ's cosine; for mini, whose maps are logits, what
    its organ queries gathered from each cell against the organ vector's product with the phrase.

    Returns
    -------
    float or None
        Largest difference over the organs; None where nothing is additive.
    """
    with loading:
        vector = probe.vector.vector.astype(np.float64)
    gaps = []
    for grid in encoding.grids:
        if grid.kind == "split" and grid.organ in encoding.organs:
            parts = grid.tokens[grid.valid].astype(np.float64) @ vector
            rest = 0.0 if grid.rest is None else float(grid.rest.astype(np.float64) @ vector)
            gaps.append(abs(parts.sum() + rest - encoding.organs[grid.organ] @ vector))
    pool: Any = getattr(probe.encoder, "pool", None)
    if hasattr(pool, "project"):
        project = pool.project.detach().cpu().numpy().astype(np.float64)
        tokens, valid = encoding.grids[0].tokens, encoding.grids[0].valid
        for organ, weights in encoding.attention.items():
            seen = valid & (weights > 0)
            rows = (tokens[seen].astype(np.float64) @ project) * weights[seen][:, None]
            parts = rows @ vector / np.linalg.norm(rows.sum(axis=0))
            gaps.append(abs(parts.sum() - encoding.organs[organ] @ vector))
    return float(max(gaps)) if gaps else None


def erased(scan: Scan, anatomy: AnatomyMap, organ: str, seed: int = 0) -> Scan:
    """Return the scan with an organ filled like what lies around it.

    Mean and spread of the HU between 3 and 15 mm outside the organ, so that no edge tells where
    it was, and no other organ is touched.
    """
    mask = anatomy.mask(organ)
    near = ndimage.distance_transform_edt(~mask, sampling=spacing(scan.affine))
    shell = (near > SHELL_MM[0]) & (near <= SHELL_MM[1]) & (anatomy.labels > 0)
    values = scan.hu[shell] if shell.any() else np.array([40.0])
    noise = np.random.default_rng(seed).normal(values.mean(), values.std(), int(mask.sum()))
    hu = np.array(scan.hu, np.float32)
    hu[mask] = noise
    return with_hu(scan, hu)


def blurred(scan: Scan) -> Scan:
    """Return the scan without detail: a Gaussian of 8 mm."""
    width = BLUR_MM / spacing(scan.affine)
    return with_hu(scan, ndimage.gaussian_filter(np.asarray(scan.hu, np.float32), width))


def with_hu(scan: Scan, hu: NDArray[Any]) -> Scan:
    """Return the scan with other values on the same grid."""
    if scan.hu.dtype.kind == "i":
        whole = np.clip(np.rint(hu), -1024, 32767).astype(np.int16)
        return Scan(whole, scan.affine, scan.source, scan.meta)
    return Scan(np.asarray(hu, np.float32), scan.affine, scan.source, scan.meta)


def _ranks(heat: Heatmap, values: Array, scan: Scan) -> Array:
    """Return each voxel's place in the order of a map, 0..1; 2 where nothing is searched."""
    searched = heat.allowed & np.isfinite(values)
    rank = np.full(values.shape, 2.0, np.float32)
    order = np.argsort(np.argsort(-values[searched], kind="stable"), kind="stable")
    rank[searched] = order / max(1, len(order))
    return resample(rank, heat.affine, scan.shape, scan.affine, order=0, fill=2.0)


def _blobs(heat: Heatmap, seed: int) -> Array:
    noise = np.random.default_rng(seed).standard_normal(heat.values.shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, BLOB_MM / spacing(heat.affine))
    return np.where(np.isfinite(heat.values), smooth, np.float32("nan"))
