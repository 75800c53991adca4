"""COLIPRI's networks: an image tower of EVA-02 blocks, a BERT body, attention pooling.

Written from the published description (Primus-M, arXiv 2503.01835; COLIPRI, arXiv 2510.15042);
modules are named so that the published state dict fits without renaming. Tokens stand on a grid
in the order of the image's own axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.bert import bert_body

if TYPE_CHECKING:
    from collections.abc import Callable

    Tick = Callable[[float], None]

#: Edge of a token in voxels.
PATCH = 8
EPS = 1e-5
#: Share of each block's output that is added at the start of training.
LAYER_SCALE = 0.1


@dataclass(frozen=True)
class Sizes:
    """Numbers of the published model; tests use smaller ones.

    Attributes
    ----------
    width, depth, heads : int
        Of the image tower.
    shared : int
        Of the space that image and text share; also the text tower's width.
    pool_heads : int
    text_layers, text_heads, text_inner, vocabulary : int
    """

    width: int = 864
    depth: int = 16
    heads: int = 12
    shared: int = 768
    pool_heads: int = 12
    text_layers: int = 12
    text_heads: int = 12
    text_inner: int = 3072
    vocabulary: int = 30522


class Attention(nn.Module):
    """Self-attention whose queries and keys are turned by their place, with an inner norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, EPS)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Return what is added, shape (batch, tokens, width)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = functional.scaled_dot_product_attention(turned(q, *turns), turned(k, *turns), v)
        added: Tensor = self.proj(self.norm(out.transpose(1, 2).flatten(2)))
        return added


class GatedMlp(nn.Module):
    """SwiGLU with a norm before its last layer."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1_g, self.fc1_x = nn.Linear(width, inner), nn.Linear(width, inner)
        self.norm = nn.LayerNorm(inner, EPS)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added, shape of ``x``."""
        out: Tensor = self.fc2(self.norm(functional.silu(self.fc1_g(x)) * self.fc1_x(x)))
        return out


class Block(nn.Module):
    """One EVA-02 block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.attn = Attention(width, heads)
        self.mlp = GatedMlp(width, width * 8 // 3)
        self.gamma_1 = nn.Parameter(torch.full((width,), LAYER_SCALE))
        self.gamma_2 = nn.Parameter(torch.full((width,), LAYER_SCALE))

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Return tokens, shape of ``x``."""
        x = x + self.gamma_1 * self.attn(self.norm1(x), turns)
        out: Tensor = x + self.gamma_2 * self.mlp(self.norm2(x))
        return out


class Eva(nn.Module):
    """The blocks and a last norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(sizes.width, sizes.heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, EPS)


class Backbone(nn.Module):
    """Patches of 8 cubed voxels through the blocks; any grid of whole patches.

    The published class fixes the grid when it is built; positions are whole numbers from 0, so
    the same weights serve every grid.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.head_width = sizes.width // sizes.heads
        self.down_projection = nn.ModuleDict({"proj": nn.Conv3d(1, sizes.width, PATCH, PATCH)})
        self.eva = Eva(sizes)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, sizes.width))  # of the pre-training

    def forward(self, image: Tensor, tick: Tick | None = None) -> Tensor:
        """Encode an image, shape (batch, 1, a, b, c), to (batch, width, a/8, b/8, c/8)."""
        x = self.down_projection["proj"](image)
        grid = x.shape[2:]
        turns = positions(tuple(grid), self.head_width, x.device)
        x = x.flatten(2).transpose(1, 2)
        for number, block in enumerate(self.eva.blocks, 1):
            x = block(x, turns)
            if tick:
                tick(number / len(self.eva.blocks))
        tokens: Tensor = self.eva.norm(x).transpose(1, 2).unflatten(2, grid)
        return tokens


class Pooler(nn.Module):
    """Attention pooling whose only query is the mean token; no residual, no norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pool tokens, shape (batch, tokens, width).

        Parameters
        ----------
        tokens : Tensor
        real : Tensor, shape (batch, tokens), bool, optional
            False where a token is padding.

        Returns
        -------
        tuple of Tensor
            Pooled (batch, width) and each head's weights (batch, heads, tokens).
        """
        if real is None:
            query = tokens.mean(1, keepdim=True)
        else:
            weight = real[..., None].to(tokens)
            query = (tokens * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        hidden = None if real is None else ~real
        pooled, weights = self.attn(
            query, tokens, tokens, key_padding_mask=hidden, average_attn_weights=False
        )
        return pooled[:, 0], weights[:, :, 0]

    def dense(self, tokens: Tensor) -> Tensor:
        """Project each token as if it alone were pooled, shape of ``tokens``."""
        out: Tensor = self.attn.out_proj(self._values(tokens))
        return out

    def _values(self, tokens: Tensor) -> Tensor:
        last = slice(2 * tokens.shape[-1], None)
        return functional.linear(
            tokens, self.attn.in_proj_weight[last], self.attn.in_proj_bias[last]
        )

    def share(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Return what each token adds to the pooled vector, but for the output's bias.

        Parameters
        ----------
        tokens : Tensor, shape (tokens, width)
        weights : Tensor, shape (heads, tokens)

        Returns
        -------
        Tensor, shape (tokens, width)
            Their sum and ``attn.out_proj.bias`` make the pooled vector.
        """
        by_head = self._values(tokens).unflatten(-1, (len(weights), -1)) * weights.T[..., None]
        return functional.linear(by_head.flatten(1), self.attn.out_proj.weight)


class ImageEncoder(nn.Module):
    """Backbone, projection into the shared space, pooling."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.backbone = Backbone(sizes)
        self.projector = nn.Conv3d(sizes.width, sizes.shared, 1)
        self.pooler = Pooler(sizes.shared, sizes.pool_heads)

    def rows(self, tokens: Tensor) -> Tensor:
        """Project backbone tokens (batch, width, a, b, c) to rows (batch, abc, shared)."""
        projected: Tensor = self.projector(tokens)
        return projected.flatten(2).transpose(1, 2)


class TextEncoder(nn.Module):
    """BERT body and pooling over its real tokens (as from version 0.1.3 on)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.backbone = bert_body(
            sizes.shared, sizes.text_layers, sizes.text_heads, sizes.text_inner, sizes.vocabulary
        )
        self.pooler = Pooler(sizes.shared, sizes.pool_heads)

    def forward(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return pooled texts, shape (texts, shared), not normalised."""
        hidden = self.backbone(input_ids=ids, attention_mask=real.long()).last_hidden_state
        pooled: Tensor = self.pooler(hidden, real.bool())[0]
        return pooled


class Colipri(nn.Module):
    """Both towers and the temperature."""

    softmax_temperature: Tensor

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.image_encoder = ImageEncoder(sizes or Sizes())
        self.text_encoder = TextEncoder(sizes or Sizes())
        self.register_buffer("softmax_temperature", torch.tensor(1.0))


def positions(
    grid: tuple[int, ...], width: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Return sines and cosines of each token's turns, shape (tokens, width) each.

    A third of a head's channels turns with each axis; neighbouring pairs share an angle.
    """
    pairs = width // 6
    speed = 10000.0 ** (-torch.arange(pairs, device=device, dtype=torch.float32) / pairs)
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in grid]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    angles = (place[..., None] * speed).flatten(0, 2).flatten(1).repeat_interleave(2, -1)
    return angles.sin(), angles.cos()


def turned(x: Tensor, sines: Tensor, cosines: Tensor) -> Tensor:
    """Turn neighbouring channel pairs (a, b) to (a cos - b sin, b cos + a sin)."""
    pairs = x.unflatten(-1, (-1, 2))
    crossed = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
    return x * cosines + crossed * sines


def sliding_tokens(
    backbone: Backbone, image: Tensor, window: int, tick: Tick | None = None
) -> Tensor:
    """Encode an image larger than a window; where windows overlap, the later one counts.

    Parameters
    ----------
    backbone : Backbone
    image : Tensor, shape (1, 1, a, b, c)
        Each axis at least ``window`` and a multiple of 8.
    window : int
        Edge in voxels.
    tick : callable, optional
        Told the share done.

    Returns
    -------
    Tensor, shape (1, width, a/8, b/8, c/8)
    """
    size = image.shape[2:]
    width = backbone.mask_token.shape[-1]
    out = image.new_empty((1, width, *(n // PATCH for n in size)))
    corners = list(product(*(window_starts(n, window) for n in size)))
    for number, (a, b, c) in enumerate(corners, 1):
        part = image[..., a : a + window, b : b + window, c : c + window]
        i, j, k, n = a // PATCH, b // PATCH, c // PATCH, window // PATCH
        out[..., i : i + n, j : j + n, k : k + n] = backbone(part)
        if tick:
            tick(number / len(corners))
    return out


def window_starts(size: int, window: int) -> list[int]:
    """Return where windows begin: side by side, the last one flush with the end."""
    starts = list(range(0, size - window + 1, window))
    return starts if starts[-1] + window == size else [*starts, size - window]
