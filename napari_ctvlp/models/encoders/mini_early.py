"""The organs of mini's first weights: one learned query per organ, four organs, no adapter.

It goes when weights of the second kind (``mini_pool.py``) take the first ones' place.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, spacing
from napari_ctvlp.core.regions import Regions, regions
from napari_ctvlp.models.encoders.mini_pool import OrganQueries, chest_regions, on_tokens

#: Organs with a query, in the order of the weights.
ORGANS = ("lung_left", "lung_right", "mediastinum", "chest_wall")
#: Thickness of the chest wall, in mm.
WALL_MM = 40.0
#: Findings that the training painted in each organ; the others are not judged there.
JUDGED = {
    "mediastinum": ("lymph_node", "mass"),
    "chest_wall": ("pleural_thickening", "mass"),
}
NOT_IN_LUNG = ("lymph_node",)

Mask = NDArray[np.bool_]


class EarlyPool(OrganQueries):
    """Organ vectors whose cosines to finding and organ are compared.

    Parameters
    ----------
    findings : tuple of str
        In the order of the concept table.
    """

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__(ORGANS)
        self.findings = findings

    def compare(
        self, tokens: Tensor, logits: Tensor, organ: int, table: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return cosines to each finding and to "nothing found", shape (findings,) each.

        NaN where the training painted no such finding.
        """
        vector = self(tokens, organ)
        present = functional.normalize(table[: len(self.findings)], dim=1) @ vector
        absent = self.absent()[organ] @ vector
        name = ORGANS[organ]
        told = torch.tensor([_judged(name, finding) for finding in self.findings])
        return present, torch.where(told.to(absent.device), absent, torch.nan)

    @staticmethod
    def masks(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> dict[str, Mask]:
        """Return where each organ's query looks; see :func:`early_masks`."""
        return early_masks(anatomy, shape, affine)


def early_masks(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> dict[str, Mask]:
    """Return where each organ's query may look, on the token grid; regions may overlap."""
    found = regions(anatomy)
    return on_tokens(found, {**chest_regions(found), "chest_wall": _wall(found)}, shape, affine)


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
