"""CT-CLIP's networks: a factorised video transformer with a codebook, and a BERT.

Written from the published description (Hamamci et al., arXiv 2403.17834; CViViT: arXiv
2210.02399); modules are named so that the published state dict fits without renaming. Tokens
stand on a grid (t, h, w): slabs along Z, then the two axes of a slice. What the checkpoint holds
beyond these modules (decoder of the pre-training, first-frame patches, copies of the last
projections) plays no part in a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.bert import bert_body

if TYPE_CHECKING:
    from collections.abc import Callable

#: Fixed factor on the cosines of queries and keys.
SHARPNESS = 8.0


@dataclass(frozen=True)
class Sizes:
    """Numbers of the published model; tests use smaller ones.

    Attributes
    ----------
    image, patch : tuple of int
        Voxels (Z, array axis 0, array axis 1).
    width, codes, spatial, temporal, heads, head_width : int
        Of the image tower; ``spatial`` and ``temporal`` count blocks.
    shared : int
        Of the space that image and text share.
    text_width, text_layers, text_heads, text_inner, vocabulary : int
    """

    image: tuple[int, int, int] = (240, 480, 480)
    patch: tuple[int, int, int] = (10, 20, 20)
    width: int = 512
    codes: int = 8192
    spatial: int = 4
    temporal: int = 4
    heads: int = 8
    head_width: int = 32
    shared: int = 512
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_inner: int = 3072
    vocabulary: int = 30522

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (t, h, w)."""
        t, h, w = (n // p for n, p in zip(self.image, self.patch, strict=True))
        return t, h, w


class Norm(nn.Module):
    """LayerNorm whose parts have other names."""

    beta: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.register_buffer("beta", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return functional.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Neighbours(nn.Module):
    """A depthwise 3x3x3 convolution; along its first axis it looks back only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dsconv = nn.Conv3d(width, width, 3, groups=width)

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return what is added, shape of ``x``.

        Rows are laid out as (batch, *grid) as they come, without a permutation: with the rows of
        a column of slabs, as the published code has them, unrelated places are mixed.
        """
        laid = x.reshape(-1, *grid, x.shape[-1]).movedim(-1, 1)
        added: Tensor = self.dsconv(functional.pad(laid, (1, 1, 1, 1, 2, 0)))
        return added.movedim(1, -1).reshape(x.shape)


class Attention(nn.Module):
    """Attention by cosine; queries see the normed input, keys and values the raw one."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_width
        self.norm = Norm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.q_scale = nn.Parameter(torch.ones(head_width))
        self.k_scale = nn.Parameter(torch.ones(head_width))
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return what is added, shape (batch, tokens, width); ``bias`` is (heads, i, j)."""
        parts = (self.to_q(self.norm(x)), *self.to_kv(x).chunk(2, -1))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
        out = functional.scaled_dot_product_attention(
            q * self.q_scale, k * self.k_scale, v, attn_mask=bias, scale=SHARPNESS
        )
        added: Tensor = self.to_out(out.transpose(1, 2).flatten(2))
        return added


class Gate(nn.Module):
    """The first half times the GELU of the second."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve the last axis."""
        kept, gate = x.chunk(2, -1)
        return kept * functional.gelu(gate)


class Stage(nn.Module):
    """Blocks of neighbours, attention and a gated feed-forward; a norm at the end."""

    def __init__(self, depth: int, sizes: Sizes) -> None:
        super().__init__()
        width, inner = sizes.width, int(sizes.width * 8 / 3)
        rows = []
        for _ in range(depth):
            feed = nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * inner, bias=False),
                Gate(),
                nn.Identity(),  # dropout
                nn.Linear(inner, width, bias=False),
            )
            attention = Attention(width, sizes.heads, sizes.head_width)
            parts = {"0": Neighbours(width), "1": attention, "3": feed}  # 2: attention to others
            rows.append(nn.ModuleDict(parts))
        self.layers = nn.ModuleList(rows)
        self.norm_out = Norm(width)

    def forward(
        self,
        x: Tensor,
        grid: tuple[int, ...],
        bias: Tensor | None = None,
        tick: Callable[[], None] | None = None,
    ) -> Tensor:
        """Return tokens, shape (batch, tokens, width)."""
        for row in self.layers:
            near, attend, feed = row.children()
            x = x + near(x, grid)
            x = x + attend(x, bias)
            x = x + feed(x)
            if tick:
                tick()
        out: Tensor = self.norm_out(x)
        return out


class PlaceBias(nn.Module):
    """A bias per head from the signed logarithm of the distance along both slice axes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(0.1))
        second = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.1))
        self.net = nn.Sequential(first, second, nn.Linear(width, heads))

    def forward(self, h: int, w: int) -> Tensor:
        """Return biases, shape (heads, h w, h w)."""
        device = next(self.parameters()).device
        axes = (torch.arange(n, device=device, dtype=torch.float32) for n in (h, w))
        place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 1)
        apart = place[:, None] - place[None]
        out: Tensor = self.net(apart.sign() * (apart.abs() + 1).log())
        return out.movedim(-1, 0)


class Steps(NamedTuple):
    """What the image tower computes on its way, grid (t, h, w).

    Attributes
    ----------
    patches : Tensor, shape (batch, t, h, w, width)
    bias : Tensor, shape (heads, h w, h w)
    spatial : Tensor, shape (batch t, h w, width)
    temporal : Tensor, shape (batch h w, t, width)
    before : Tensor, shape (batch, t, h, w, width)
        Before the codebook.
    codes : Tensor, shape (batch, t, h, w), int64
    margin : Tensor, shape (batch, t, h, w)
        Cosine to the chosen code minus that to the next best.
    tokens : Tensor, shape (batch, t, h, w, width)
        Rows of the codebook as they are stored, not normalised.
    """

    patches: Tensor
    bias: Tensor
    spatial: Tensor
    temporal: Tensor
    before: Tensor
    codes: Tensor
    margin: Tensor
    tokens: Tensor


class ImageTower(nn.Module):
    """Patches, spatial blocks within each slab, temporal blocks through slabs, codes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.patch = sizes.patch
        inside = sizes.patch[0] * sizes.patch[1] * sizes.patch[2]
        parts = {
            "1": nn.LayerNorm(inside),
            "2": nn.Linear(inside, sizes.width),
            "3": nn.LayerNorm(sizes.width),
        }
        self.to_patch_emb = nn.ModuleDict(parts)
        self.spatial_rel_pos_bias = PlaceBias(sizes.width, sizes.heads)
        self.enc_spatial_transformer = Stage(sizes.spatial, sizes)
        self.enc_temporal_transformer = Stage(sizes.temporal, sizes)
        self.vq = Codebook(sizes.codes, sizes.width)

    def patches(self, image: Tensor) -> Tensor:
        """Bring an image (batch, 1, Z, a, b) to patch tokens (batch, t, h, w, width)."""
        pt, ph, pw = self.patch
        cut = image[:, 0].unflatten(1, (-1, pt)).unflatten(3, (-1, ph)).unflatten(5, (-1, pw))
        x: Tensor = cut.permute(0, 1, 3, 5, 2, 4, 6).flatten(4)
        for step in self.to_patch_emb.values():
            x = step(x)
        return x

    def forward(self, image: Tensor, tick: Callable[[], None] | None = None) -> Steps:
        """Encode an image, shape (batch, 1, Z, a, b)."""
        patches = self.patches(image)
        batch, t, h, w, _ = patches.shape
        bias = self.spatial_rel_pos_bias(h, w)
        spatial = self.enc_spatial_transformer(
            patches.flatten(2, 3).flatten(0, 1), (t, h, w), bias, tick
        )
        columns = spatial.unflatten(0, (batch, t)).transpose(1, 2).flatten(0, 1)
        temporal = self.enc_temporal_transformer(columns, (t, h, w), None, tick)
        before = temporal.unflatten(0, (batch, h, w)).movedim(3, 1)
        codes, margin = self.vq(before)
        return Steps(patches, bias, spatial, temporal, before, codes, margin, self.vq.rows(codes))


class Codebook(nn.Module):
    """The nearest of the codes by cosine."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self._codebook = nn.ParameterDict({"embed": torch.zeros(1, codes, width)})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return code numbers and their lead on the next best, shape of ``x`` without width."""
        codes = functional.normalize(self._codebook["embed"][0], dim=-1)
        rows = functional.normalize(x, dim=-1).flatten(0, -2)
        best = [(part @ codes.T).topk(2, -1) for part in rows.split(4096)]
        values = torch.cat([part.values for part in best]).reshape(*x.shape[:-1], 2)
        index = torch.cat([part.indices for part in best]).reshape(*x.shape[:-1], 2)
        return index[..., 0], values[..., 0] - values[..., 1]

    def rows(self, codes: Tensor) -> Tensor:
        """Return codebook rows, shape (*codes, width)."""
        return functional.embedding(codes, self._codebook["embed"][0])


class CtClip(nn.Module):
    """Both towers, the two projections and the temperature's logarithm."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or Sizes()
        _, h, w = sizes.grid
        self.visual_transformer = ImageTower(sizes)
        self.text_transformer = bert_body(
            sizes.text_width, sizes.text_layers, sizes.text_heads, sizes.text_inner,
            sizes.vocabulary,
        )  # fmt: skip
        self.to_visual_latent = nn.Linear(h * w * sizes.width, sizes.shared, bias=False)
        self.to_text_latent = nn.Linear(sizes.text_width, sizes.shared, bias=False)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def image_latent(self, tokens: Tensor) -> Tensor:
        """Return the image vector, shape (batch, shared), not normalised."""
        out: Tensor = self.to_visual_latent(tokens.mean(1).flatten(1))
        return out

    def text(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return unit text vectors, shape (texts, shared)."""
        states = self.text_transformer(input_ids=ids, attention_mask=real.long())
        return functional.normalize(self.to_text_latent(states.last_hidden_state[:, 0]), dim=-1)

    def shares(self, tokens: Tensor) -> Tensor:
        """Return what each token adds to the image vector, not normalised.

        Parameters
        ----------
        tokens : Tensor, shape (t, h, w, width)

        Returns
        -------
        Tensor, shape (t, h, w, shared)
            Their sum is :meth:`image_latent`. Each column of slabs has a projection of its own.
        """
        slabs, h, w, width = tokens.shape
        weight = self.to_visual_latent.weight.unflatten(1, (h, w, width))
        return torch.einsum("thwc,shwc->thws", tokens, weight) / slabs
