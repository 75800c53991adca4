"""BioViL and BioViL-T: a ResNet, a transformer over two visits, CXR-BERT with its head.

Written from the published descriptions (Boecking et al., arXiv 2204.09817; Bannur et al., arXiv
2301.04558); modules are named so that the published state dicts fit without renaming.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.bert import bert_body
from napari_ctvlp.models.encoders.resnet import add_stages

#: Dimensions of the joint space.
JOINT = 128
#: Width of the transformer over two visits, and patches along an edge of the pictures it takes.
FUSED, GRID = 256, 14
EPS = 1e-6


@dataclass(frozen=True)
class Sizes:
    """Numbers of the published models; tests use smaller ones.

    Attributes
    ----------
    blocks : tuple of int
        Of each ResNet stage.
    basic : bool
        Two 3x3 convolutions to a block (ResNet-18) in place of a bottleneck (ResNet-50).
    two_visits : bool
        BioViL-T: half of a patch's features tell the change since a prior picture.
    text_width, text_layers, text_heads, text_inner, vocabulary : int
    """

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    basic: bool = False
    two_visits: bool = True
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_inner: int = 3072
    vocabulary: int = 30522


class ResNet(nn.Module):
    """The trunk; its classifier of 1000 objects is in the published files and unused."""

    def __init__(self, blocks: tuple[int, ...], basic: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.stages = len(blocks)
        self.fc = nn.Linear(add_stages(self, blocks, basic, dims=2), 1000)

    def forward(self, picture: Tensor) -> Tensor:
        """Encode (batch, 3, h, w) to (batch, channels, h/32, w/32)."""
        x = functional.relu(self.bn1(self.conv1(picture)))
        x = functional.max_pool2d(x, 3, 2, 1)
        for number in range(self.stages):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return x


class Attention(nn.Module):
    """Self-attention of eight heads whose input carries place and visit, values included."""

    def __init__(self, width: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.proj_q = nn.Linear(width, width, bias=False)
        self.proj_k = nn.Linear(width, width, bias=False)
        self.proj_v = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added, shape (batch, tokens, width)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.proj_q, self.proj_k, self.proj_v)
        )
        out = functional.scaled_dot_product_attention(q, k, v)
        added: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return added


class Mlp(nn.Module):
    """Two layers with a GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added, shape of ``x``."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class VisitBlock(nn.Module):
    """One block of the transformer over two visits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.attn, self.mlp = Attention(width), Mlp(width)

    def forward(self, x: Tensor, where: Tensor) -> Tensor:
        """Return tokens, shape of ``x``; ``where`` is added before attention only."""
        x = x + self.attn(self.norm1(x) + where)
        added: Tensor = self.mlp(self.norm2(x))
        return x + added


class VisitPooler(nn.Module):
    """What changed from a prior picture to this one, patch by patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(VisitBlock(width) for _ in range(3))
        self.norm_post = nn.LayerNorm(width, EPS)
        self.type_embed = nn.Parameter(torch.zeros(2, 1, width))

    def forward(self, now: Tensor, prior: Tensor) -> Tensor:
        """Compare two grids of patches, shape (batch, width, 14, 14) each and the result."""
        place = sine_places(now.shape[2], now.shape[1]).to(now)
        where = torch.cat([place + self.type_embed[0], place + self.type_embed[1]])
        x = torch.cat([visit.flatten(2).transpose(1, 2) for visit in (now, prior)], dim=1)
        for block in self.blocks:
            x = block(x, where)
        x = self.norm_post(x)[:, : len(place)]
        fused: Tensor = x.transpose(1, 2).unflatten(2, now.shape[2:])
        return fused


class ImageEncoder(nn.Module):
    """The trunk and, in BioViL-T, the comparison with a prior picture."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = ResNet(sizes.blocks, sizes.basic)
        self.two_visits = sizes.two_visits
        if sizes.two_visits:
            channels = self.encoder.fc.in_features
            self.backbone_to_vit = nn.Conv2d(channels, FUSED, 1, bias=False)
            self.vit_pooler = VisitPooler(FUSED)
            self.missing_previous_emb = nn.Parameter(torch.zeros(1, FUSED, 1, 1))

    def forward(self, picture: Tensor, prior: Tensor | None = None) -> Tensor:
        """Return patch features, shape (batch, channels, rows, columns).

        Parameters
        ----------
        picture, prior : Tensor, shape (batch, 3, h, w)
            A prior is for BioViL-T only, and both are then 448 by 448.
        """
        x: Tensor = self.encoder(picture)
        if not self.two_visits:
            return x
        now = self.backbone_to_vit(x)
        if prior is None:
            change = self.missing_previous_emb.expand(len(now), -1, *now.shape[2:])
        else:
            change = self.vit_pooler(now, self.backbone_to_vit(self.encoder(prior)))
        return torch.cat([now, change], dim=1)


class ImageTower(nn.Module):
    """Patch features and their projection into the joint space."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.encoder = ImageEncoder(sizes)
        given = 2 * FUSED if sizes.two_visits else self.encoder.encoder.fc.in_features
        layers = nn.Sequential(
            nn.Conv2d(given, JOINT, 1, bias=False),
            nn.BatchNorm2d(JOINT),
            nn.ReLU(),
            nn.Conv2d(JOINT, JOINT, 1),
        )
        self.projector = nn.ModuleDict({"model": layers})

    def project(self, patches: Tensor) -> Tensor:
        """Project patch features to (batch, 128, rows, columns); their mean is the global one."""
        out: Tensor = self.projector["model"](patches)
        return out


class ProjectionHead(nn.Module):
    """From BERT's first token into the joint space."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense_to_hidden = nn.Linear(width, JOINT)
        self.LayerNorm = nn.LayerNorm(JOINT, 1e-12)
        self.dense_to_output = nn.Linear(JOINT, JOINT)

    def forward(self, x: Tensor) -> Tensor:
        """Project (texts, width) to (texts, 128)."""
        out: Tensor = self.dense_to_output(self.LayerNorm(functional.gelu(self.dense_to_hidden(x))))
        return out


class TextTower(nn.Module):
    """CXR-BERT and its projection head; the masked-word head of the file is not needed."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.bert = bert_body(
            sizes.text_width, sizes.text_layers, sizes.text_heads, sizes.text_inner,
            sizes.vocabulary,
        )  # fmt: skip
        self.cls_projection_head = ProjectionHead(sizes.text_width)

    def forward(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return projected texts, shape (texts, 128), not normalised."""
        hidden = self.bert(input_ids=ids, attention_mask=real.long()).last_hidden_state
        out: Tensor = self.cls_projection_head(hidden[:, 0])
        return out


def sine_places(edge: int, width: int) -> Tensor:
    """Return sine positions of a square grid, shape (edge * edge, width), rows then columns.

    Places run from just above 0 to 2 pi (Carion et al., ECCV 2020); half of the channels tell
    the row, half the column, sines and cosines taking turns.
    """
    half = width // 2
    place = torch.arange(1, edge + 1, dtype=torch.float32) / (edge + 1e-6) * (2 * math.pi)
    speed = 10000.0 ** (2 * (torch.arange(half, dtype=torch.float32) // 2) / half)
    angle = place[:, None] / speed
    waves = torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)
    rows = waves[:, None].expand(-1, edge, -1)
    columns = waves[None].expand(edge, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
