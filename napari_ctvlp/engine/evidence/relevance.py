"""Gradient relevance of convolutional encoders, under its own name: it is no attention.

Grad-CAM (Selvaraju et al. 2017) at a level of the tower: channels weighted by the mean gradient of
the phrase's score, rectified. The weights are one mean over the scan, so the map is coarse about a
score of few cells; cells outside the body, whose tokens reach no answer, are NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, coarse_affine
from napari_ctvlp.core.looking import Relevance
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.evidence.probe import TOP, Probe
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ctvlp.models.encoders.mini import Mini

#: Levels of mini's tower by name: module and edge of a cell in 2 mm voxels.
LEVELS = {"4mm": ("fine_out", 2), "8mm": ("middle_out", 4), "16mm": ("coarse", 8)}


def relevance(
    probe: Probe, scan: Scan, anatomy: AnatomyMap, level: str = "8mm", progress: Progress = silent
) -> Relevance:
    """Return Grad-CAM of a phrase on mini's tower.

    Raises
    ------
    ModelRefused
        If the encoder is not mini's kind, or has no such level.
    """
    encoder: Any = probe.encoder
    if not hasattr(encoder, "tower") or level not in LEVELS:
        raise ModelRefused(
            "no-relevance", f"mini or one trained like it, and one of {', '.join(LEVELS)}.",
            f"{encoder.card.id} was asked for {level}.",
            "Choose such a model; of others look at their attention.",
        )  # fmt: skip
    name, voxels = LEVELS[level]
    progress(0.1, "forward and backward")
    cam, score, fine = _grad_cam(encoder, probe, scan, anatomy, name)
    words = f"Grad-CAM at {level} cells: relevance by gradients, not attention."
    return Relevance(cam, coarse_affine(fine, voxels), level, score, words)


def _grad_cam(
    encoder: Mini, probe: Probe, scan: Scan, anatomy: AnatomyMap, name: str
) -> tuple[NDArray[np.float32], float, Affine]:
    """Run forward and back once; returns the map, the score and the affine of 2 mm voxels."""
    import torch

    from napari_ctvlp.models.encoders.mini_grid import inputs_of

    hu, place, fine, body = inputs_of(scan, anatomy)
    heat = probe.heat_of(probe.untouched(scan, anatomy), anatomy)
    searched = torch.from_numpy(np.array(heat.allowed))
    kept: list[Tensor] = []
    module = encoder.tower.get_submodule(name)
    last = module[-1] if name == "coarse" else module  # type: ignore[index]

    def keep(_: Any, __: Any, out: Tensor) -> Tensor:
        out.requires_grad_(True)
        kept.append(out)
        return out

    handle = last.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            volume = torch.from_numpy(hu)[None, None]
            tokens = encoder.tower(volume, torch.from_numpy(place)[None])[0]
            score = _score(probe, tokens, searched)
            (slope,) = torch.autograd.grad(score, kept)
    finally:
        handle.remove()
    weight = slope.mean(dim=(2, 3, 4), keepdim=True)
    cam = torch.relu((weight * kept[0]).sum(dim=1))[0].detach().float().numpy()
    cam[~_any_of(body, cam.shape)] = np.nan
    return cam, float(score.detach()), fine


def _any_of(body: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which coarser cells hold part of the body."""
    i, p, l = shape  # noqa: E741
    blocks = body.reshape(i, body.shape[0] // i, p, body.shape[1] // p, l, body.shape[2] // l)
    return np.asarray(blocks.any(axis=(1, 3, 5)))


def _score(probe: Probe, tokens: Tensor, searched: Tensor) -> Tensor:
    """Mean logit over the highest searched cells of tokens (64, i, p, l)."""
    import torch

    vector = probe.vector
    rows = tokens.permute(1, 2, 3, 0)[searched].float()
    logits = rows @ torch.from_numpy(vector.vector) + vector.bias
    return logits.topk(max(1, round(TOP * len(logits)))).values.mean()
