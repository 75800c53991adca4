"""A procedural chest in HU: solids in world millimetres, sampled on any grid.

Everything stands in RAS mm, so the same chest can be laid on a flipped, permuted or oblique
grid and every voxel still holds what is at its own world point. Heart apex, aortic arch and
stomach bubble lie on the patient's left, the liver on the right. Two things are there to be
found again: a nodule in the left lung and a dense cube off every centre line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, from_ipl, oriented_affine, to_ipl, voxel_of
from napari_ctvlp.core.scan import Message, Scan, ScanMeta, Source

Point = tuple[float, float, float]
Axes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
#: Centre (RAS mm) and radius (mm) of the nodule, in the left lower lung.
NODULE_RAS, NODULE_MM, NODULE_HU = (-78.0, -38.0, -30.0), 12.0, 40
#: Centre (RAS mm), half edge (mm) and HU of the cube, in the right front wall of the chest.
MARKER_RAS, MARKER_MM, MARKER_HU = (118.0, 62.0, 68.0), 8.0, 2500
#: Default grid (I, P, L): three different edge lengths.
SHAPE, SPACING = (104, 88, 124), (3.0, 3.2, 3.0)
AIR, FAT, MUSCLE, BLOOD, LIVER, LUNG, BONE, GAS = -1000, -100, 50, 45, 60, -840, 420, -980
ENDLESS = float("inf")


@dataclass(frozen=True)
class Blob:
    """An ellipsoid, an upright elliptic cylinder or a box.

    Attributes
    ----------
    hu : float
    centre, radii : (x, y, z) in RAS mm
    flat : bool
        Cut straight at ``centre[2] +- radii[2]``.
    power : float
        2 is an ellipse, infinity a box.
    """

    hu: float
    centre: Point
    radii: Point
    flat: bool = False
    power: float = 2.0

    @property
    def bounds(self) -> tuple[Point, Point]:
        """Lowest and highest corner in RAS mm."""
        (x, y, z), (a, b, c) = self.centre, self.radii
        return (x - a, y - b, z - c), (x + a, y + b, z + c)

    def holds(self, axes: Axes) -> NDArray[np.bool_]:
        """Return which points lie inside; ``axes`` are x, y, z in RAS mm of one shape."""
        u, v, w = (
            np.abs(axis - middle) / np.float32(radius)
            for axis, middle, radius in zip(axes, self.centre, self.radii, strict=True)
        )
        if np.isinf(self.power):
            return np.asarray(np.maximum(np.maximum(u, v), w) <= 1)
        if self.flat:
            return np.asarray((u**self.power + v**self.power <= 1) & (w <= 1))
        return np.asarray(u**self.power + v**self.power + w**self.power <= 1)


@dataclass(frozen=True)
class Tube:
    """A round tube with round ends from ``start`` to ``stop`` (RAS mm)."""

    hu: float
    start: Point
    stop: Point
    radius: float

    @property
    def bounds(self) -> tuple[Point, Point]:
        """Lowest and highest corner in RAS mm."""
        low = np.minimum(self.start, self.stop) - self.radius
        high = np.maximum(self.start, self.stop) + self.radius
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def holds(self, axes: Axes) -> NDArray[np.bool_]:
        """Return which points lie inside; ``axes`` are x, y, z in RAS mm of one shape."""
        run = np.subtract(self.stop, self.start).astype(np.float32)
        offsets = [axis - np.float32(begin) for axis, begin in zip(axes, self.start, strict=True)]
        along = sum(offset * step for offset, step in zip(offsets, run, strict=True))
        share = np.clip(along / (run @ run), 0, 1)
        gaps = (offset - share * step for offset, step in zip(offsets, run, strict=True))
        return np.asarray(sum(gap**2 for gap in gaps) <= self.radius**2)


def phantom(
    shape: tuple[int, int, int] = SHAPE,
    spacing: Point = SPACING,
    *,
    seed: int = 0,
    noise_hu: float = 12.0,
    centre: Point = (0.0, 0.0, 0.0),
) -> Scan:
    """Return the chest as a scan.

    Parameters
    ----------
    shape, spacing : (I, P, L)
        Voxels and mm.
    seed : int
        Of vessels and noise.
    noise_hu : float
        Standard deviation of the noise.
    centre : (x, y, z)
        RAS mm of the grid's centre; move it to cut the chest at the edge of the field of view.
    """
    affine = oriented_affine("IPL", shape, spacing, centre)
    hu = chest_hu(shape, affine, seed=seed, noise_hu=noise_hu)
    note = Message("phantom", "A computed chest, not a patient.")
    meta = ScanMeta("CT", "Phantom chest", "HU", notices=(note,))
    return Scan(hu, affine, Source((), shape, affine), meta)


def chest_hu(
    shape: tuple[int, int, int], affine: Affine, *, seed: int = 0, noise_hu: float = 12.0
) -> NDArray[np.int16]:
    """Sample the chest on any grid.

    Parameters
    ----------
    shape : (a, b, c)
        In the axis order of ``affine``.
    affine : ndarray, shape (4, 4)
        Index to RAS mm; flipped, permuted and oblique ones too.
    seed, noise_hu
        As in :func:`phantom`. Flips and permutations of one grid get the same noise at the
        same world point.

    Returns
    -------
    ndarray, shape (a, b, c), int16, HU
    """
    view, ipl = to_ipl(np.empty(shape, dtype=np.int16), affine)
    hu = np.full(view.shape, AIR, dtype=np.float32)
    for solid in _solids(np.random.default_rng(seed)):
        window = _window(solid.bounds, hu.shape, ipl)
        hu[window][solid.holds(_axes(window, ipl))] = solid.hu
    hu += np.random.default_rng(seed + 1).normal(0, noise_hu, hu.shape).astype(np.float32)
    return from_ipl(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), affine)


def _window(
    bounds: tuple[Point, Point], shape: tuple[int, ...], affine: Affine
) -> tuple[slice, ...]:
    """Return the part of a grid that the world box can touch."""
    finite = np.clip(bounds, -1e4, 1e4)
    corners = voxel_of(affine, list(product(*finite.T)))
    low = np.floor(corners.min(axis=0)).astype(int)
    high = np.ceil(corners.max(axis=0)).astype(int) + 1
    return tuple(
        slice(max(0, first), min(size, max(0, last)))
        for first, last, size in zip(low, high, shape, strict=True)
    )


def _axes(window: tuple[slice, ...], affine: Affine) -> Axes:
    """Return x, y and z (RAS mm) of the window's voxels, broadcastable to its shape."""
    steps = np.ogrid[window]
    x, y, z = (
        (sum(row[n] * steps[n] for n in range(3)) + row[3]).astype(np.float32) for row in affine[:3]
    )
    return x, y, z


def _solids(rng: np.random.Generator) -> Iterator[Blob | Tube]:
    """Yield what is painted, in order: later solids replace earlier ones."""
    yield Blob(-150, (0, -134, 0), (190, 2.5, ENDLESS), power=ENDLESS)
    yield from _wall()
    for side in (-1, 1):
        yield Blob(LUNG, (74.0 * side, 0, 5), (54, 80, 118), power=2.5)
        yield from _vessels(side, rng)
    yield from _belly()
    yield from _mediastinum()
    yield Blob(NODULE_HU, NODULE_RAS, (NODULE_MM,) * 3)
    yield Blob(MARKER_HU, MARKER_RAS, (MARKER_MM,) * 3, power=ENDLESS)


def _wall() -> Iterator[Blob]:
    """Yield fat, muscle, ribs, sternum and spine."""
    yield Blob(FAT, (0, 0, 0), (165, 124, ENDLESS), flat=True)
    yield Blob(MUSCLE, (0, 0, 0), (150, 108, ENDLESS), flat=True)
    for level in range(-140, 141, 28):
        yield Blob(BONE, (0, 0, level), (142, 98, 6), flat=True)
    yield Blob(MUSCLE, (0, 0, 0), (135, 91, ENDLESS), flat=True)
    yield Blob(BONE, (0, 97, 15), (17, 5, 75), power=ENDLESS)
    yield Blob(BONE, (0, -70, 0), (19, 18, ENDLESS), flat=True)
    yield Blob(BONE, (0, -94, 0), (13, 12, ENDLESS), flat=True)
    yield Blob(MUSCLE, (0, -94, 0), (8, 8, ENDLESS), flat=True)


def _vessels(side: int, rng: np.random.Generator) -> Iterator[Tube]:
    """Yield straight vessels from one hilum into the lung; side is -1 on the left."""
    hilum = (30.0 * side, -10.0, 10.0)
    for _ in range(14):
        reach = rng.uniform((62, -58, -60), (112, 50, 80))
        yield Tube(BLOOD, hilum, (reach[0] * side, reach[1], reach[2]), float(rng.uniform(1.5, 3)))


def _belly() -> Iterator[Blob]:
    """Yield liver, spleen and stomach with its gas."""
    yield Blob(LIVER, (60, 5, -128), (74, 82, 72))
    yield Blob(MUSCLE, (-64, -5, -136), (66, 80, 58))
    yield Blob(GAS, (-66, 35, -136), (22, 20, 15))


def _mediastinum() -> Iterator[Blob | Tube]:
    """Yield heart, great vessels, trachea and main bronchi."""
    yield Blob(BLOOD, (-22, 25, -45), (52, 42, 48))
    yield Blob(BLOOD, (-58, 36, -66), (34, 30, 28))
    yield Tube(BLOOD, (-20, -46, -200), (-20, -46, 70), 13)
    yield Tube(BLOOD, (-20, -46, 70), (-16, 8, 78), 13)
    yield Tube(BLOOD, (8, 18, -20), (-12, 10, 76), 13)
    carina = (2.0, -14.0, 48.0)
    branches = ((2.0, -14.0, 400.0), (-44.0, -16.0, 22.0), (42.0, -16.0, 18.0))
    for hu, extra in ((MUSCLE, 2.5), (GAS, 0.0)):
        for end, radius in zip(branches, (9.0, 6.5, 7.0), strict=True):
            yield Tube(hu, carina, end, radius + extra)
