"""ViSD-Boost's networks: a 3D ResNet-18, a normality branch, organ queries, a BERT.

Written from the published description (arXiv 2508.03742); modules are named so that the
published state dict fits without renaming. Arrays run (slices, rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.bert import bert_body
from napari_ctvlp.models.encoders.organ_query import Pooled, pooled

if TYPE_CHECKING:
    from collections.abc import Callable

#: Voxels of a token's block, by level.
STRIDES = ((2, 4, 4), (4, 8, 8), (8, 16, 16), (16, 32, 32))
ORGANS = 4
#: Stride of each stage's first block, and its dilation.
STAGES = ((1, 1), (2, 1), (2, 2), (2, 4))
SHARED, MIDDLE, CODES = 256, 512, 400
DEPTH, HEADS, HEAD_WIDTH = 2, 16, 64
QUERY_HEADS = 4


@dataclass(frozen=True)
class Sizes:
    """Numbers of the published model; tests use smaller ones.

    Attributes
    ----------
    text_width, text_layers, text_heads, text_inner, vocabulary : int
        Of the text tower.
    widths : tuple of int
        Channels of the trunk's stages.
    latent, inner : int
        Of the normality branch.
    """

    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_inner: int = 3072
    vocabulary: int = 30522
    widths: tuple[int, ...] = (64, 128, 256, 512)
    latent: int = 768
    inner: int = 2048


class Block(nn.Module):
    """Two 3x3x3 convolutions; the shortcut has no weights: it subsamples and adds channels of 0."""

    def __init__(self, given: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.stride, self.more = stride, width - given
        self.conv1 = nn.Conv3d(given, width, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return features, shape (batch, width, d, h, w)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        step = self.stride
        short = x[:, :, ::step, ::step, ::step]
        return functional.relu(out + functional.pad(short, (0, 0, 0, 0, 0, 0, 0, self.more)))


class ResNet(nn.Module):
    """The trunk; the last two stages are dilated although they stride."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        given = widths[0]
        self.conv1 = nn.Conv3d(1, given, 7, (1, 2, 2), 3, bias=False)
        self.bn1 = nn.BatchNorm3d(given)
        stages = zip(widths, STAGES, strict=True)
        for number, (width, (stride, dilation)) in enumerate(stages, 1):
            first = Block(given, width, stride, dilation)
            self.add_module(
                f"layer{number}", nn.Sequential(first, Block(width, width, 1, dilation))
            )
            given = width

    def forward(self, image: Tensor, tick: Callable[[], None] | None = None) -> list[Tensor]:
        """Return the four stages' features of an image (batch, 1, d, h, w)."""
        x = functional.relu(self.bn1(self.conv1(image)))
        x = functional.max_pool3d(x, 3, 2, 1)
        levels = []
        for number in range(1, 5):
            for block in self.get_submodule(f"layer{number}").children():
                x = block(x)
                if tick:
                    tick()
            levels.append(x)
        return levels


class ImageTower(nn.Module):
    """The trunk and a projection of each level to 256 channels."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.res_model = ResNet(widths)
        for number, width in enumerate(widths, 1):
            self.add_module(f"proj{number}", nn.Conv3d(width, SHARED, 1))

    def forward(self, image: Tensor, tick: Callable[[], None] | None = None) -> list[Tensor]:
        """Return tokens by level, each (batch, 256, d, h, w)."""
        levels = self.res_model(image, tick)
        return [self.get_submodule(f"proj{n}")(x) for n, x in enumerate(levels, 1)]


class Attention(nn.Module):
    """Plain attention after a norm."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(latent)
        self.to_qkv = nn.Linear(latent, 3 * HEADS * HEAD_WIDTH, bias=False)
        self.to_out = nn.Sequential(nn.Linear(HEADS * HEAD_WIDTH, latent))

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added, shape (batch, tokens, 768)."""
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.to_qkv(self.norm(x)).chunk(3, -1)
        )
        out = functional.scaled_dot_product_attention(q, k, v)
        added: Tensor = self.to_out(out.transpose(1, 2).flatten(2))
        return added


class Transformer(nn.Module):
    """Pre-norm blocks and a last norm."""

    def __init__(self, latent: int, inner: int) -> None:
        super().__init__()
        rows = []
        for _ in range(DEPTH):
            parts = {
                "0": nn.LayerNorm(latent),
                "1": nn.Linear(latent, inner),
                "2": nn.GELU(),
                "4": nn.Linear(inner, latent),  # 3: dropout
            }
            feed = nn.Module()
            feed.net = nn.ModuleDict(parts)
            rows.append(nn.ModuleList([Attention(latent), feed]))
        self.layers = nn.ModuleList(rows)
        self.norm = nn.LayerNorm(latent)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens, shape (batch, tokens, 768)."""
        for row in self.layers:
            attention, feed = row.children()
            x = x + attention(x)
            added = x
            for step in feed.get_submodule("net").children():
                added = step(added)
            x = x + added
        out: Tensor = self.norm(x)
        return out


class Inward(nn.Module):
    """Two linear layers, nothing between them, then blocks: 256 to 768 channels."""

    def __init__(self, latent: int, inner: int) -> None:
        super().__init__()
        self.input1, self.input2 = nn.Linear(SHARED, MIDDLE), nn.Linear(MIDDLE, latent)
        self.transformer = Transformer(latent, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return latents, shape (batch, tokens, 768)."""
        out: Tensor = self.transformer(self.input2(self.input1(x)))
        return out


class Outward(nn.Module):
    """The way back, 768 to 256 channels."""

    def __init__(self, latent: int, inner: int) -> None:
        super().__init__()
        self.transformer = Transformer(latent, inner)
        self.output1, self.output2 = nn.Linear(latent, MIDDLE), nn.Linear(MIDDLE, SHARED)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens, shape (batch, tokens, 256)."""
        out: Tensor = self.output2(self.output1(self.transformer(x)))
        return out


class Normal(NamedTuple):
    """An organ's coarsest tokens as the codes of normal organs would have them.

    Attributes
    ----------
    latent : Tensor, shape (1 + tokens, 768)
        The first row stands for the organ.
    codes : Tensor, shape (tokens,), int64
    margin : Tensor, shape (tokens,)
        Squared distance to the second nearest code minus that to the nearest.
    decoded : Tensor, shape (tokens, 256)
        On the scale -0.5..0.5.
    tokens : Tensor, shape (tokens, 256)
        On the scale of the organ's tokens.
    """

    latent: Tensor
    codes: Tensor
    margin: Tensor
    decoded: Tensor
    tokens: Tensor


class VisdBoost(nn.Module):
    """All parts."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        s = sizes or Sizes()
        self.visual_encoder = ImageTower(s.widths)
        self.encoder, self.decoder = Inward(s.latent, s.inner), Outward(s.latent, s.inner)
        self.vq_layer = nn.ParameterDict({"embeddings": torch.zeros(CODES, s.latent)})
        self.id_projs = nn.Linear(1, SHARED)
        self.res_projs1 = nn.ModuleList(nn.Linear(2 * SHARED, SHARED) for _ in range(ORGANS))
        self.res_projs2 = nn.ModuleList(nn.Linear(SHARED, SHARED) for _ in range(ORGANS))
        self.query_tokens = nn.Parameter(torch.zeros(ORGANS, SHARED))
        self.attention = nn.MultiheadAttention(SHARED, QUERY_HEADS, batch_first=True)
        self.vision_projs = nn.ModuleList(nn.Linear(SHARED, SHARED) for _ in range(ORGANS))
        self.text_encoder = bert_body(
            s.text_width, s.text_layers, s.text_heads, s.text_inner, s.vocabulary,
            token_types=False,
        )  # fmt: skip
        self.text_proj = nn.Linear(s.text_width, SHARED)
        self.temp = nn.Parameter(torch.tensor(0.07))

    def normal(self, tokens: Tensor, organ: int) -> Normal:
        """Rebuild an organ's coarsest tokens, shape (tokens, 256), from codes."""
        low, high = tokens.min(), tokens.max()
        label = self.id_projs(tokens.new_full((1, 1), organ))
        scaled = (tokens - low) / (high - low) - 0.5
        latent = self.encoder(torch.cat([label, scaled])[None])[0]
        codes = self.vq_layer["embeddings"]
        far = torch.cdist(latent[1:].double(), codes.double()).square()
        nearest, index = far.topk(2, largest=False)
        decoded = self.decoder(codes[index[:, 0]][None])[0]
        back = (decoded + 0.5) * (high - low) + low
        return Normal(latent, index[:, 0], nearest[:, 1] - nearest[:, 0], decoded, back)

    def hybrid(self, levels: list[Tensor], normal: Tensor, organ: int) -> Tensor:
        """Return what the organ's query attends to, shape (tokens of all levels, 256).

        Parameters
        ----------
        levels : list of Tensor, shape (tokens, 256)
            The organ's tokens, finest first.
        normal : Tensor, shape (tokens of the last level, 256)
        organ : int
        """
        pairs = zip(levels, [*levels[:-1], normal], strict=True)
        rows = torch.cat([torch.cat(pair, -1) for pair in pairs])
        out: Tensor = self.res_projs2[organ](self.res_projs1[organ](rows))
        return out

    def pool(self, hybrid: Tensor, organ: int) -> Pooled:
        """Return the organ's vector from its hybrid tokens."""
        project = cast("nn.Linear", self.vision_projs[organ])
        return pooled(self.attention, self.query_tokens[organ], hybrid, project)

    def hidden(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return BERT's last states, shape (texts, tokens, width)."""
        states = self.text_encoder(input_ids=ids, attention_mask=real.long())
        out: Tensor = states.last_hidden_state
        return out

    def text(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return unit text vectors, shape (texts, 256)."""
        return functional.normalize(self.text_proj(self.hidden(ids, real)[:, 0]), dim=-1)
