"""Organ queries: one learned query per organ attends to that organ's tokens only.

Shared by ViSD-Boost and RADAR. Everything after the tokens is linear once the attention's
weights are known, so an organ's vector is a sum over its tokens and a rest that belongs to none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Pooled(NamedTuple):
    """One organ's vector and where it comes from.

    Attributes
    ----------
    roi : Tensor, shape (width,)
        Attention output, before the organ's projection.
    vector : Tensor, shape (shared,)
        Not normalised.
    shares : Tensor, shape (tokens, shared)
        What each token adds to ``vector``.
    rest : Tensor, shape (shared,)
        ``vector`` minus the sum of ``shares``: the biases of the last two layers.
    weights : Tensor, shape (tokens,)
        Attention, mean over the heads; sums to 1.
    """

    roi: Tensor
    vector: Tensor
    shares: Tensor
    rest: Tensor
    weights: Tensor

    @property
    def unit(self) -> Tensor:
        """The vector that is compared with texts, shape (shared,)."""
        return functional.normalize(self.vector, dim=0)


def pooled(
    attention: nn.MultiheadAttention, query: Tensor, rows: Tensor, project: nn.Linear
) -> Pooled:
    """Pool an organ's tokens.

    Parameters
    ----------
    attention : MultiheadAttention
        ``batch_first``, keys and values of the query's width.
    query : Tensor, shape (width,)
    rows : Tensor, shape (tokens, width)
        Keys and values; at least one.
    project : Linear
        The organ's own.
    """
    roi, weights = attention(query[None, None], rows[None], rows[None], average_attn_weights=False)
    roi, weights = roi[0, 0], weights[0, :, 0]
    width = rows.shape[1]
    value = functional.linear(
        rows, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    )
    by_head = value.unflatten(1, (len(weights), -1)) * weights.T[..., None]
    shares = by_head.flatten(1) @ (project.weight @ attention.out_proj.weight).T
    return Pooled(roi, project(roi), shares, project(attention.out_proj.bias), weights.mean(0))


def flags(organ: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return which tokens an organ touches: any of its voxels lies in the token's block.

    Parameters
    ----------
    organ : Tensor, shape (d, h, w), bool
    stride : tuple of int
        Size of a block.

    Returns
    -------
    Tensor, shape (tokens,), bool
    """
    found = functional.max_pool3d(organ[None, None].float(), stride, stride)
    return found.flatten() > 0


def probabilities(unit: Tensor, texts: Tensor, temperature: Tensor) -> Tensor:
    """Return the softmax of cosines over prompts (..., prompts, shared), shape (..., prompts)."""
    return torch.softmax(texts @ unit / temperature, -1)
