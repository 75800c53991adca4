"""The crop that findings are painted on, and the random numbers they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

#: Findings in the order of the concept table; label n + 1 on the canvas.
FINDINGS = (
    "nodule", "mass", "cavity", "calcified_nodule", "consolidation", "ground_glass", "effusion",
    "pneumothorax", "emphysema", "atelectasis", "fibrosis", "pleural_thickening", "lymph_node",
)  # fmt: skip
VOXEL_MM = 2.0


class Chance:
    """Seeded random numbers for one crop.

    Parameters
    ----------
    seed : int
        Everything drawn follows from it.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw from U(low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        """Draw with a uniform logarithm between ``low`` and ``high``."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def chance(self, p: float) -> bool:
        """Return True with probability ``p``."""
        return self.uniform() < p

    def integer(self, low: int, high: int) -> int:
        """Draw an integer, both ends included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normals."""
        return torch.randn(shape, generator=self.generator)

    def pick(self, weights: list[float]) -> int:
        """Draw an index with the given relative weights."""
        share = torch.tensor(weights)
        return int(torch.multinomial(share, 1, generator=self.generator))

    def noise(self, shape: tuple[int, ...], cell_mm: float) -> Tensor:
        """Smooth noise of zero mean and unit SD whose bumps are about ``cell_mm`` wide."""
        cell = max(cell_mm / VOXEL_MM, 1.0)
        coarse = [max(2, math.ceil(n / cell) + 2) for n in shape]
        field = functional.interpolate(
            self.normal(1, 1, *coarse),
            size=[max(s, math.ceil(c * cell)) for s, c in zip(shape, coarse, strict=True)],
            mode="trilinear",
            align_corners=True,
        )[0, 0]
        start = [self.integer(0, f - s) for f, s in zip(field.shape, shape, strict=True)]
        part: Tensor = field[tuple(slice(a, a + s) for a, s in zip(start, shape, strict=True))]
        scaled: Tensor = (part - part.mean()) / (part.std() + 1e-6)
        return scaled

    def rotation(self) -> Tensor:
        """Draw a random rotation, shape (3, 3)."""
        q: Tensor = torch.linalg.qr(self.normal(3, 3))[0]
        return q


@dataclass
class Canvas:
    """One crop at 2 mm, IPL order, changed in place by the painters.

    Attributes
    ----------
    hu : Tensor, shape (i, p, l), float32
    lung_mm : Tensor, float32
        Signed distance to the lung surface before painting, positive inside.
    side : Tensor, uint8
        1 left, 2 right, 0 outside the lungs.
    anatomy : Tensor, uint8
        Class index of ``data.CLASSES``; painters may add vessels.
    across : Tensor, shape (i, p, l), float32
        Position across the chest in half widths of the lung box, positive toward the left.
    found : Tensor, uint8
        0, or 1 + index of the painted finding.
    free : Tensor, bool
        False where a real finding may be: nothing is centred there.
    """

    hu: Tensor
    lung_mm: Tensor
    side: Tensor
    anatomy: Tensor
    across: Tensor
    found: Tensor
    free: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along I, P, L."""
        i, p, l = self.hu.shape  # noqa: E741 - the axis is called L
        return i, p, l

    def paint(self, name: str, where: tuple[slice, ...], alpha: Tensor, hu: Tensor | float) -> None:
        """Blend ``hu`` in by ``alpha`` (0..1) and label what is more than half covered."""
        self.hu[where] += alpha * (hu - self.hu[where])
        if name:
            self.found[where][alpha > 0.5] = FINDINGS.index(name) + 1

    def spot(self, mask: Tensor, dice: Chance) -> tuple[int, int, int] | None:
        """Draw a voxel of ``mask`` that is free, or None."""
        where = torch.nonzero((mask & self.free).flatten()).flatten()
        if where.numel() < 8:
            return None
        flat = int(where[dice.integer(0, where.numel() - 1)])
        _, p, l = self.shape  # noqa: E741 - the axis is called L
        return flat // (p * l), flat // l % p, flat % l


@dataclass(frozen=True)
class Blob:
    """An irregular ellipsoid in its own box.

    Attributes
    ----------
    where : tuple of slice
        The box on the canvas.
    distance : Tensor
        1 on the surface, smaller inside.
    radius : float
        Smallest radius in voxels.
    """

    where: tuple[slice, ...]
    distance: Tensor
    radius: float

    def soft(self, width: float) -> Tensor:
        """Opacity 0..1 with an edge of about ``width`` voxels."""
        return torch.sigmoid((1 - self.distance) * self.radius / width)


def blob(
    canvas: Canvas,
    centre: tuple[int, int, int],
    radius_mm: float,
    dice: Chance,
    *,
    axes: tuple[float, float] = (0.8, 1.25),
    irregular: float = 0.1,
    spikes: bool = False,
) -> Blob:
    """Make an irregular ellipsoid, cut to the canvas."""
    radii = torch.tensor([radius_mm / VOXEL_MM * dice.uniform(*axes) for _ in range(3)])
    reach = int(float(radii.max()) * (1.5 + irregular + 0.6 * spikes)) + 3
    where = tuple(
        slice(max(0, c - reach), min(n, c + reach + 1))
        for c, n in zip(centre, canvas.shape, strict=True)
    )
    ranges = [torch.arange(s.start, s.stop) - c for s, c in zip(where, centre, strict=True)]
    offset = torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1).float()
    scaled = offset @ dice.rotation() / radii
    distance = scaled.norm(dim=-1)
    shape = tuple(distance.shape)
    distance = distance * (1 + irregular * dice.noise(shape, max(4.0, 0.9 * radius_mm)))
    if spikes:
        rays = functional.normalize(dice.normal(dice.integer(8, 18), 3), dim=1)
        aligned = (functional.normalize(scaled, dim=-1) @ rays.T).amax(dim=-1)
        distance = distance / (1 + dice.uniform(0.35, 0.9) * ((aligned - 0.9) / 0.1).clamp(0, 1))
    return Blob(where, distance, float(radii.min()))
