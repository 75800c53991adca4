"""The network of fVLM: image tower, organ pooling and text tower, with the published names.

After Shui et al., "Large-scale and Fine-grained Vision-language Pre-training for Enhanced CT
Image Understanding", ICLR 2025, arXiv:2501.14548. Three things differ from a plain ViT and BERT:
patches are 16 x 16 x 32 voxels and the position table is interpolated to the window's grid; an
organ is pooled over four feature levels at once, three of them raw residual streams; and the
text tower has no token types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.bert import bert_body
from napari_ctvlp.models.encoders.organ_query import pooled

#: Blocks whose output is a feature level; the last level is the normed end of the tower.
LEVELS = (3, 6, 9)


@dataclass(frozen=True)
class Sizes:
    """What makes one fVLM differ from another; the defaults are the published ones.

    Attributes
    ----------
    hidden, inner, blocks, heads : int
        Of the image tower.
    pool_heads : int
        Of the organ pooling.
    shared : int
        Width of the space shared with texts.
    organs : int
    patch, image : (d, h, w)
        Voxels of a patch, and of the image the position table was made for.
    text : mapping
        Arguments of :func:`napari_ctvlp.models.encoders.bert.bert_body`.
    """

    hidden: int = 768
    inner: int = 3072
    blocks: int = 12
    heads: int = 12
    pool_heads: int = 4
    shared: int = 256
    organs: int = 4
    patch: tuple[int, int, int] = (16, 16, 32)
    image: tuple[int, int, int] = (112, 256, 352)
    text: Mapping[str, int] = field(
        default_factory=lambda: {
            "width": 768, "layers": 12, "heads": 12, "inner": 3072, "vocabulary": 30522,
            "positions": 512,
        }
    )  # fmt: skip

    @property
    def grid(self) -> tuple[int, int, int]:
        """Cells of the position table."""
        d, h, w = (n // p for n, p in zip(self.image, self.patch, strict=True))
        return d, h, w

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Sizes:
        """Read a card's ``settings.sizes``."""
        table = dict(settings.get("sizes", {}))
        for name in ("patch", "image"):
            if name in table:
                table[name] = tuple(table[name])
        return cls(**table)


def _silent() -> None:
    """Tell nobody."""


class PatchEmbedding(nn.Module):
    """Patches to tokens, each with its place."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.grid = sizes.grid
        cells = sizes.grid[0] * sizes.grid[1] * sizes.grid[2]
        self.position_embeddings = nn.Parameter(torch.zeros(1, cells, sizes.hidden))
        self.patch_embeddings = nn.Conv3d(1, sizes.hidden, sizes.patch, sizes.patch)

    def forward(self, image: Tensor) -> Tensor:
        """Embed (n, 1, D, H, W) as (n, d h w, c).

        Patches do not overlap, so the convolution is one matrix product, which is faster.
        """
        conv = self.patch_embeddings
        (a, b, c), count = conv.kernel_size, len(image)
        d, h, w = (n // p for n, p in zip(image.shape[2:], (a, b, c), strict=True))
        patches = image.reshape(count, d, a, h, b, w, c).permute(0, 1, 3, 5, 2, 4, 6)
        weight = conv.weight.flatten(1)
        tokens = functional.linear(patches.reshape(count, d * h * w, a * b * c), weight, conv.bias)
        return tokens + self.places((d, h, w))

    def places(self, grid: tuple[int, int, int]) -> Tensor:
        """Return the position table on another grid, (1, d h w, c)."""
        if grid == self.grid:
            return self.position_embeddings
        table = self.position_embeddings.transpose(1, 2).unflatten(2, self.grid)
        table = functional.interpolate(table, grid, mode="trilinear", align_corners=False)
        return table.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Plain attention of every token to every token."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.hidden, 3 * sizes.hidden)
        self.out_proj = nn.Linear(sizes.hidden, sizes.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens (n, t, c)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Two layers with the exact GELU between them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.linear1 = nn.Linear(sizes.hidden, sizes.inner)
        self.linear2 = nn.Linear(sizes.inner, sizes.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Change tokens one by one."""
        out: Tensor = self.linear2(functional.gelu(self.linear1(x)))
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(sizes.hidden), nn.LayerNorm(sizes.hidden)
        self.attn, self.mlp = Attention(sizes), Mlp(sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Add attention, then the layers."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageTower(nn.Module):
    """A window of the CT to four levels of tokens."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.patch_embedding = PatchEmbedding(sizes)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.blocks))
        self.norm = nn.LayerNorm(sizes.hidden)

    def forward(self, image: Tensor, tick: Callable[[], None] = _silent) -> Tensor:
        """Encode (n, 1, D, H, W), whole patches, as (n, 4, tokens, c); ticks once per block."""
        x, levels = self.patch_embedding(image), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            tick()
            if number in LEVELS:
                levels.append(x)
        return torch.stack([*levels, self.norm(x)], dim=1)


class Seen(NamedTuple):
    """One organ in one window.

    Attributes
    ----------
    pooled : Tensor, shape (c,)
        What attention gathered.
    unit : Tensor, shape (s,)
        The organ's unit vector beside the texts.
    split : Tensor, shape (n, s)
        The part of ``unit`` that each of the organ's cells brought, over all heads and levels;
        biases are shared out evenly. Sums to ``unit``.
    weights : Tensor, shape (n,)
        The query's attention to each of the organ's cells, over all heads and levels; sums to 1.
    """

    pooled: Tensor
    unit: Tensor
    split: Tensor
    weights: Tensor


class Fvlm(nn.Module):
    """Both towers, the organ queries and the projections between them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.query_tokens = nn.Parameter(torch.zeros(sizes.organs, sizes.hidden))
        self.attention = nn.MultiheadAttention(sizes.hidden, sizes.pool_heads, batch_first=True)
        projections = (nn.Linear(sizes.hidden, sizes.shared) for _ in range(sizes.organs))
        self.vision_projs = nn.ModuleList(projections)
        self.text_proj = nn.Linear(sizes.text["width"], sizes.shared)
        self.visual_encoder = ImageTower(sizes)
        self.text_encoder = bert_body(**sizes.text, token_types=False)

    def pool(self, levels: Tensor, on: Tensor, organ: int) -> Seen:
        """Pool an organ of a window.

        Parameters
        ----------
        levels : Tensor, shape (4, tokens, c)
        on : Tensor, shape (tokens,), bool
            The organ's cells, at least one.
        organ : int
        """
        rows = levels[:, on].flatten(0, 1)
        found = pooled(self.attention, self.query_tokens[organ], rows, self.projection(organ))
        by_cell = found.shares.unflatten(0, (len(levels), -1)).sum(0)
        weights = found.weights.unflatten(0, (len(levels), -1)).sum(0)
        split = (by_cell + found.rest / len(by_cell)) / found.vector.norm().clamp(min=1e-12)
        return Seen(found.roi, found.unit, split, weights)

    def dense(self, levels: Tensor, organ: int) -> Tensor:
        """Return the unit vector each cell would give an organ by itself, (tokens, s).

        That is the organ's pooling with its attention spread evenly over the cell's four levels.
        """
        weight, bias = self.attention.in_proj_weight, self.attention.in_proj_bias
        values = functional.linear(levels.mean(0), weight.chunk(3)[2], bias.chunk(3)[2])
        return functional.normalize(self.projection(organ)(self.attention.out_proj(values)), dim=1)

    def projection(self, organ: int) -> Any:
        """Return an organ's own projection, a linear layer."""
        return self.vision_projs[organ]

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors of token rows (n, t), by their first token."""
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return functional.normalize(self.text_proj(hidden[:, 0]), dim=1)
