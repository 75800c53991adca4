"""The crop that findings are painted on, and the random numbers they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.training.data import CLASSES

#: Findings in the order of the concept table; label n + 1 on the canvas.
FINDINGS = (
    "nodule", "mass", "cavity", "calcified_nodule", "consolidation", "ground_glass", "effusion",
    "pneumothorax", "emphysema", "atelectasis", "fibrosis", "pleural_thickening", "lymph_node",
    "bronchiectasis", "pericardial_effusion", "coronary_calcification", "aortic_calcification",
    "aortic_aneurysm", "hiatal_hernia", "liver_cyst", "liver_metastasis", "steatosis",
    "kidney_cyst", "kidney_stone", "hydronephrosis", "gallstone", "splenomegaly", "ascites",
    "lytic_lesion", "sclerotic_lesion", "vertebral_fracture",
)  # fmt: skip
#: Anatomies of reports and of pooling by organ; number n + 1 on a token map.
ANATOMIES = (
    "lung_left", "lung_right", "mediastinum", "heart", "aorta", "oesophagus", "liver",
    "gallbladder", "spleen", "pancreas", "stomach", "kidney_left", "kidney_right", "abdomen",
    "bones",
)  # fmt: skip
#: Number of an anatomy class on the canvas.
CODE = {name: number for number, name in enumerate(CLASSES)}
VOXEL_MM = 2.0


@dataclass(frozen=True)
class Painted:
    """What a painter put on the canvas.

    Attributes
    ----------
    finding : str
        Concept name.
    organ : str
        One of ``ANATOMIES``.
    side : str
        ``"left"``, ``"right"`` or ``""``.
    size_mm : float
        Largest diameter of the labelled voxels; NaN for diffuse findings.
    place : str
        ``"apical"``, ``"upper"``, ``"middle"``, ``"lower"``, ``"basal"``, ``"hilar"`` or ``""``.
    traits : tuple of str
        What else is true of it: ``"spiculated"``, ``"honeycombing"``, ...
    """

    finding: str
    organ: str
    side: str = ""
    size_mm: float = math.nan
    place: str = ""
    traits: tuple[str, ...] = ()


class Chance:
    """Seeded random numbers for one crop.

    Parameters
    ----------
    seed : int
        Everything drawn follows from it (and, for fields, from the kind of device).
    device : torch.device or str
        Where fields are made.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator().manual_seed(seed)
        self.fields = self.generator
        if self.device.type != "cpu":
            self.fields = torch.Generator(self.device).manual_seed(seed)

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
        return torch.randn(shape, generator=self.fields, device=self.device)

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
        q: Tensor = torch.linalg.qr(torch.randn(3, 3, generator=self.generator))[0]
        return q.to(self.device)

    def direction(self, *stretch: float) -> Tensor:
        """Draw a unit vector, shape (3,), longer along axes of a larger ``stretch``."""
        way = torch.randn(3, generator=self.generator) * torch.tensor(stretch or (1.0, 1.0, 1.0))
        unit: Tensor = functional.normalize(way, dim=0).to(self.device)
        return unit


@dataclass(frozen=True)
class Graft:
    """A real tumour, cut out of a training CT.

    Attributes
    ----------
    volume : Tensor, shape (3, i, p, l)
        HU + 1000, opacity of the tumour, opacity of it and its edge in aerated lung; 2 mm, IPL.
    size_mm : float
        Diameter of a ball of its volume.
    """

    volume: Tensor
    size_mm: float


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
    up : Tensor, optional
        Position from head to foot in half heights of the lung box, negative at the top.
    ids : Tensor, uint8, optional
        Organ ids in TotalSegmentator numbering, mirrored with the crop; 0 where unknown.
    deep : Tensor, bool, optional
        True more than 30 mm under the skin.
    grafts : tuple of Graft
        Real tumours that may be set in.
    """

    hu: Tensor
    lung_mm: Tensor
    side: Tensor
    anatomy: Tensor
    across: Tensor
    found: Tensor
    free: Tensor
    up: Tensor | None = None
    ids: Tensor | None = None
    deep: Tensor | None = None
    grafts: tuple[Graft, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along I, P, L."""
        i, p, l = self.hu.shape  # noqa: E741 - the axis is called L
        return i, p, l

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The whole canvas as slices."""
        i, p, l = self.shape  # noqa: E741 - the axis is called L
        return slice(0, i), slice(0, p), slice(0, l)

    def label(self, name: str, where: tuple[slice, ...], mask: Tensor) -> None:
        """Label voxels of a box without changing their HU."""
        self.found[where][mask] = FINDINGS.index(name) + 1

    def paint(self, name: str, where: tuple[slice, ...], alpha: Tensor, hu: Tensor | float) -> None:
        """Blend ``hu`` in by ``alpha`` (0..1) and label what is more than half covered."""
        self.hu[where] += alpha * (hu - self.hu[where])
        if name:
            self.label(name, where, alpha > 0.5)

    def mask(self, *names: str) -> Tensor:
        """Voxels of one or more anatomy classes."""
        masks = [self.anatomy == CODE[name] for name in names]
        return torch.stack(masks).any(dim=0) if len(masks) > 1 else masks[0]

    @property
    def lung(self) -> Tensor:
        """The lungs as filled before painting, bool."""
        return self.side > 0

    def to_wall(self, lung: Tensor) -> Tensor:
        """Add to a lung the half-dark voxels of its surface, so that no dark rim is left."""
        near = functional.max_pool3d(lung.float()[None, None], 3, 1, 1)[0, 0] > 0
        rim = near & (self.hu < -60) & (self.hu > -950) & (self.side == 0)
        return lung | (rim & ~self.mask("trachea"))

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
    """Make an irregular ellipsoid, cut to the canvas; spikes are 3 to 12 mm long."""
    spike = dice.uniform(3.0, min(12.0, 0.9 * radius_mm + 2)) / radius_mm if spikes else 0.0
    radii = torch.tensor([radius_mm / VOXEL_MM * dice.uniform(*axes) for _ in range(3)])
    least = float(radii.min())
    reach = int(float(radii.max()) * (1.5 + irregular + spike)) + 3
    where = tuple(
        slice(max(0, c - reach), min(n, c + reach + 1))
        for c, n in zip(centre, canvas.shape, strict=True)
    )
    scaled = offsets(where, centre, dice) @ dice.rotation() / radii.to(dice.device)
    distance = scaled.norm(dim=-1)
    shape = tuple(distance.shape)
    distance = distance * (1 + irregular * dice.noise(shape, max(4.0, 0.9 * radius_mm)))
    if spikes:
        rays = functional.normalize(dice.normal(dice.integer(8, 18), 3), dim=1)
        aligned = (functional.normalize(scaled, dim=-1) @ rays.T).amax(dim=-1)
        distance = distance / (1 + spike * ((aligned - 0.92) / 0.08).clamp(0, 1))
    return Blob(where, distance, least)


def offsets(where: tuple[slice, ...], centre: tuple[float, float, float], dice: Chance) -> Tensor:
    """Vectors in voxels from ``centre`` to the voxels of a box, shape (..., 3)."""
    ranges = [
        torch.arange(s.start, s.stop, device=dice.device) - c
        for s, c in zip(where, centre, strict=True)
    ]
    return torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1).float()


def around(canvas: Canvas, centre: tuple[int, int, int], reach: int) -> tuple[slice, slice, slice]:
    """Return the box within ``reach`` voxels of a voxel, cut to the canvas."""
    i, p, l = (  # noqa: E741 - the axis is called L
        slice(max(0, c - reach), min(n, c + reach + 1))
        for c, n in zip(centre, canvas.shape, strict=True)
    )
    return i, p, l
