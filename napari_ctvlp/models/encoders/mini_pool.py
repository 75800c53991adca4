"""Organs of mini: where each is looked at, its vector, and how strongly a finding shows in it.

A finding's similarity to an organ is read by the finding itself: its own logits are the weights
with which the organ's tokens are averaged, sharply for focal findings (one nodule counts) and
evenly for diffuse ones (a fatty liver). The organ vectors follow fVLM's anatomy-wise contrast
(Shui et al. 2025): one learned query per organ attends to the organ's tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, resample, spacing
from napari_ctvlp.core.regions import Regions, regions
from napari_ctvlp.models.encoders.mini_tower import WIDTH

#: The fifteen anatomies, in the order of the weights.
ORGANS = (
    "lung_left", "lung_right", "mediastinum", "heart", "aorta", "oesophagus", "liver",
    "gallbladder", "spleen", "pancreas", "stomach", "kidney_left", "kidney_right", "abdomen",
    "bones",
)  # fmt: skip
#: How far around an organ's mask its findings are looked for, in mm.
MARGIN_MM = {
    "heart": 8.0, "aorta": 8.0, "oesophagus": 12.0, "liver": 4.0, "gallbladder": 8.0,
    "spleen": 4.0, "pancreas": 4.0, "stomach": 4.0, "kidney_left": 12.0, "kidney_right": 12.0,
    "bones": 4.0,
}  # fmt: skip
#: Half width of the mediastinum about the midline, where the lungs' shares begin, and how deep
#: under the skin the abdomen begins, in mm.
MIDDLE_MM, LATERAL_MM, SKIN_MM = 60.0, 35.0, 16.0

Mask = NDArray[np.bool_]


class Pool(nn.Module):
    """Organ vectors by one learned query each, and findings by organ.

    The queries follow fVLM's anatomy-wise contrast (Shui et al. 2025).

    Parameters
    ----------
    findings : int
        Rows of the concept table that are findings; they lead.

    Attributes
    ----------
    organs : tuple of str
        In the order of the weights.
    query : Parameter, shape (organs, 64)
    project : Parameter, shape (64, 64)
        Brings pooled tokens beside the concept directions.
    normal : Parameter, shape (organs, 64)
        Direction of "nothing found here".
    scale : Parameter, shape ()
        Logarithm of the contrast's inverse temperature.
    focus : Tensor, shape (findings,)
        How sharply a finding picks its tokens.
    level : Tensor, shape (organs, findings)
        Similarity half way between organs with and without the finding; NaN where the pair
        was not trained.
    """

    focus: Tensor
    level: Tensor

    def __init__(self, findings: int) -> None:
        super().__init__()
        self.organs = ORGANS
        self.query = nn.Parameter(0.02 * torch.randn(len(ORGANS), WIDTH))
        self.project = nn.Parameter(torch.eye(WIDTH))
        self.normal = nn.Parameter(torch.randn(len(ORGANS), WIDTH))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("focus", torch.ones(findings))
        self.register_buffer("level", torch.full((len(ORGANS), findings), float("nan")))

    def attention(self, tokens: Tensor, organ: int) -> Tensor:
        """Return weights over an organ's tokens, (n, 64) to (n,), summing to 1."""
        return torch.softmax(tokens @ self.query[organ], dim=0)

    def forward(self, tokens: Tensor, organ: int) -> Tensor:
        """Return the organ's unit vector, (n, 64) to (64,)."""
        seen = self.attention(tokens, organ) @ tokens
        return functional.normalize(seen @ self.project, dim=0)

    def absent(self) -> Tensor:
        """Return the unit vectors of "nothing found", shape (organs, 64)."""
        return functional.normalize(self.normal, dim=1)

    def compare(self, logits: Tensor, organ: int, findings: Tensor) -> tuple[Tensor, Tensor]:
        """Return findings' similarities to an organ and their levels, shape (m,) each.

        Parameters
        ----------
        logits : Tensor, shape (n, m)
            Of the organ's tokens.
        organ : int
        findings : Tensor, shape (m,)
            The findings' numbers.
        """
        return pooled(logits, self.focus[findings]), self.level[organ][findings]


def pooled(logits: Tensor, focus: Tensor | float) -> Tensor:
    """Average logits over tokens with weights softmax(focus * logits), (n, f) to (f,).

    0 gives the mean, infinity the maximum.
    """
    return (torch.softmax(focus * logits, dim=0) * logits).sum(dim=0)


def organ_masks(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> dict[str, Mask]:
    """Return where each of the fifteen anatomies is looked at, on the token grid.

    A lung's region takes in the lateral thorax of its side, so that what is too dense to be
    called lung is still looked at; the abdomen is what lies below and beside the chest. Organs
    the segmenter does not know are empty; regions may overlap. Kept with the anatomy.
    """
    kept: dict[bytes, dict[str, Mask]] = vars(anatomy).setdefault("_organ_masks", {})
    key = np.array(shape).tobytes() + affine.tobytes()
    if key not in kept:
        kept.clear()
        kept[key] = _masks(anatomy, shape, affine)
    return kept[key]


def _masks(anatomy: AnatomyMap, shape: tuple[int, ...], affine: Affine) -> dict[str, Mask]:
    found = regions(anatomy)
    masks = {**_chest(found), "abdomen": _abdomen(found)}
    for name, margin in MARGIN_MM.items():
        masks[name] = _grown(found, found.organ(name), margin)
    return {
        name: resample(masks[name].astype(np.uint8), found.affine, shape, affine, order=0) > 0
        for name in ORGANS
    }


def _chest(found: Regions) -> dict[str, Mask]:
    """Return lungs with the pleura of their side, and what lies between them."""
    side = found.across[None, None, :] - found.midline[:, None, None]
    thorax, lungs = found.thorax, found.organ("lung_left", "lung_right")
    rest = thorax & ~lungs
    return {
        "lung_left": found.organ("lung_left") | (rest & (side > LATERAL_MM)),
        "lung_right": found.organ("lung_right") | (rest & (side < -LATERAL_MM)),
        "mediastinum": rest & (np.abs(side) < MIDDLE_MM),
    }


def _abdomen(found: Regions) -> Mask:
    """Return the body below the dome of the liver (without one, below the lungs), but the chest."""
    upper = np.asarray(found.organ("liver").any(axis=(1, 2)))
    rows = np.arange(len(upper))
    if upper.any():
        below = rows >= int(np.argmax(upper))
    else:
        lungs = found.lungs.any(axis=(1, 2))
        below = rows > (int(rows[lungs].max()) if lungs.any() else -1)
    deep = ndimage.distance_transform_edt(found.body, sampling=spacing(found.affine)) > SKIN_MM
    return np.asarray(deep & below[:, None, None] & ~found.thorax)


def _grown(found: Regions, mask: Mask, margin: float) -> Mask:
    if not mask.any():
        return mask
    reach = ndimage.distance_transform_edt(~mask, sampling=spacing(found.affine))
    return np.asarray((reach <= margin) & found.body)
