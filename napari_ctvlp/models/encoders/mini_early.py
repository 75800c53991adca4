"""The organs of mini's first weights: one learned query per organ, four organs, no adapter.

It goes when weights of the second kind (``mini_pool.py``) take the first ones' place.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, ras_to_screen, resample, spacing
from napari_ctvlp.core.regions import Regions, regions
from napari_ctvlp.models.encoders.mini_tower import WIDTH

#: Organs with a query, in the order of the weights.
ORGANS = ("lung_left", "lung_right", "mediastinum", "chest_wall")
#: Half width of the mediastinum about the midline, where the lungs' shares begin, and thickness
#: of the chest wall, in mm.
MIDDLE_MM, LATERAL_MM, WALL_MM = 60.0, 35.0, 40.0
#: Findings that the training painted in each organ; the others are not judged there.
JUDGED = {
    "mediastinum": ("lymph_node", "mass"),
    "chest_wall": ("pleural_thickening", "mass"),
}
NOT_IN_LUNG = ("lymph_node",)

Mask = NDArray[np.bool_]


class EarlyPool(nn.Module):
    """Learned organ queries; follows fVLM's anatomy-wise contrast (Shui et al. 2025).

    Attributes
    ----------
    query : Parameter, shape (organs, 64)
    project : Parameter, shape (64, 64)
        Brings pooled tokens beside the concept directions.
    normal : Parameter, shape (organs, 64)
        Direction of "nothing found here".
    scale : Parameter, shape ()
        Logarithm of the contrast's inverse temperature.
    """

    organs = ORGANS

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__()
        self.findings = findings
        self.query = nn.Parameter(0.02 * torch.randn(len(ORGANS), WIDTH))
        self.project = nn.Parameter(torch.eye(WIDTH))
        self.normal = nn.Parameter(torch.randn(len(ORGANS), WIDTH))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def attention(self, tokens: Tensor, organ: int) -> Tensor:
        """Return weights over an organ's tokens, (n, 64) to (n,), summing to 1."""
        return torch.softmax(tokens @ self.query[organ], dim=0)

    def forward(self, tokens: Tensor, organ: int) -> Tensor:
        """Return the organ's unit vector, (n, 64) to (64,)."""
        pooled = self.attention(tokens, organ) @ tokens
        return functional.normalize(pooled @ self.project, dim=0)

    def compare(
        self, tokens: Tensor, logits: Tensor, organ: int, table: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return cosines to each finding and to "nothing found", shape (findings,) each.

        NaN where the training painted no such finding.
        """
        vector = self(tokens, organ)
        present = functional.normalize(table[: len(self.findings)], dim=1) @ vector
        absent = functional.normalize(self.normal, dim=1)[organ] @ vector
        name = ORGANS[organ]
        told = torch.tensor([_judged(name, finding) for finding in self.findings])
        return present, torch.where(told.to(absent.device), absent, torch.nan)

    @staticmethod
    def masks(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> dict[str, Mask]:
        """Return where each organ's query looks; see :func:`early_masks`."""
        return early_masks(anatomy, shape, affine)


def early_masks(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> dict[str, Mask]:
    """Return where each organ's query may look, on the token grid.

    A lung's region takes in the lateral thorax of its side, so that what is too dense to be
    called lung is still looked at; regions may overlap.
    """
    found = regions(anatomy)
    screen = ras_to_screen(found.affine[:3, 3])[2]
    across = screen + spacing(found.affine)[2] * np.arange(found.labels.shape[2])
    side = across[None, None, :] - found.midline[:, None, None]
    thorax, lungs = found.thorax, found.organ("lung_left", "lung_right")
    coarse = {
        "lung_left": found.organ("lung_left") | (thorax & ~lungs & (side > LATERAL_MM)),
        "lung_right": found.organ("lung_right") | (thorax & ~lungs & (side < -LATERAL_MM)),
        "mediastinum": thorax & ~lungs & (np.abs(side) < MIDDLE_MM),
        "chest_wall": _wall(found),
    }
    return {
        name: resample(mask.astype(np.uint8), found.affine, shape, affine, order=0) > 0
        for name, mask in coarse.items()
    }


def _wall(found: Regions) -> Mask:
    """Body within reach of the thorax, in the slices that hold lung."""
    thorax = found.thorax
    if not thorax.any():
        return np.zeros_like(thorax)
    reach = ndimage.distance_transform_edt(~thorax, sampling=spacing(found.affine))
    near = np.asarray(reach) <= WALL_MM
    slices = np.asarray(thorax.any(axis=(1, 2)))[:, None, None]
    return np.asarray(found.body & near & slices & ~thorax)


def _judged(organ: str, finding: str) -> bool:
    return finding in JUDGED[organ] if organ in JUDGED else finding not in NOT_IN_LUNG
