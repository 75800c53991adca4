"""RADAR's networks: a U-Net that draws its own organs, organ queries over its encoder, a BERT.

Written from the published description (Science 393, eaec6129, 2026); modules are named so that
the published state dict fits without renaming. The published modules hold each convolution under
several names; loading them writes the same tensor several times and the last name counts, so only
that one is kept here. Arrays run (slices, rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.bert import bert_body
from napari_ctvlp.models.encoders.organ_query import Pooled, pooled

if TYPE_CHECKING:
    from collections.abc import Callable

#: Voxels of a token's block, coarsest scale first.
STRIDES = ((8, 32, 32), (4, 16, 16), (2, 8, 8))
ORGANS, SHARED, QUERY_HEADS = 36, 256, 4
#: Strides and kernels of the U-Net's stages.
STEPS = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
KERNELS = ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))


@dataclass(frozen=True)
class Sizes:
    """Numbers of the published model; tests use smaller ones.

    Attributes
    ----------
    text_width, text_layers, text_heads, text_inner, vocabulary : int
        Of the text tower.
    widths : tuple of int
        Channels of the U-Net's stages.
    """

    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_inner: int = 3072
    vocabulary: int = 21128
    widths: tuple[int, ...] = (32, 64, 128, 256, 320, 320)


def _convolution(given: int, width: int, kernel: Any, stride: Any = 1) -> nn.Module:
    """Return a convolution, a batch norm and a ReLU under the name that counts."""
    padding = tuple(n // 2 for n in kernel)
    parts = nn.Conv3d(given, width, kernel, stride, padding), nn.BatchNorm3d(width), nn.ReLU()
    return nn.ModuleDict({"all_modules": nn.Sequential(*parts)})


def _run(convolutions: nn.Module, x: Tensor) -> Tensor:
    for each in convolutions.get_submodule("convs").children():
        x = each.get_submodule("all_modules")(x)
    return x


class Encoder(nn.Module):
    """Six stages of two convolutions."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        stages, given = [], 1
        for width, kernel, step in zip(widths, KERNELS, STEPS, strict=True):
            first = _convolution(given, width, kernel, step)
            both = nn.ModuleList([first, _convolution(width, width, kernel)])
            stages.append(nn.ModuleList([nn.ModuleDict({"convs": both})]))
            given = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor, tick: Callable[[], None] | None = None) -> list[Tensor]:
        """Return the features of every stage, finest first."""
        found = []
        for stage in self.stages:
            x = _run(stage.get_submodule("0"), x)
            found.append(x)
            if tick:
                tick()
        return found


class Decoder(nn.Module):
    """Up to half the in-plane size, one convolution a stage; it owns the encoder."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(widths)
        below, widths = widths[:0:-1], widths[-2:0:-1]
        steps, kernels = STEPS[:1:-1], KERNELS[-2:0:-1]
        self.transpconvs = nn.ModuleList(
            nn.ConvTranspose3d(given, width, step, step)
            for given, width, step in zip(below, widths, steps, strict=False)
        )
        self.stages = nn.ModuleList(
            nn.ModuleDict({"convs": nn.ModuleList([_convolution(2 * width, width, kernel)])})
            for width, kernel in zip(widths, kernels, strict=True)
        )
        last = str(len(widths) - 1)
        self.seg_layers = nn.ModuleDict({last: nn.Conv3d(widths[-1], 1 + ORGANS, 1)})

    def forward(self, found: list[Tensor], tick: Callable[[], None] | None = None) -> Tensor:
        """Return logits (batch, 37, d, h/2, w/2) from the encoder's features."""
        x = found[-1]
        pairs = zip(self.transpconvs, self.stages, strict=True)
        for (up, stage), beside in zip(pairs, found[-2:0:-1], strict=True):
            x = _run(stage, torch.cat([up(x), beside], 1))
            if tick:
                tick()
        (layer,) = self.seg_layers.values()
        out: Tensor = layer(x)
        return out


class Seen(NamedTuple):
    """What the image tower says of one image.

    Attributes
    ----------
    scales : list of Tensor, shape (256, d, h, w)
        Tokens, coarsest first.
    logits : Tensor, shape (37, d, h/2, w/2)
        Background and organs.
    mask : Tensor, shape (d, h, w), int64
        0 for background, else 1 + the organ's number.
    """

    scales: list[Tensor]
    logits: Tensor
    mask: Tensor


class ImageTower(nn.Module):
    """The U-Net, and a projection of the encoder's last three stages to 256 channels."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.UNet = nn.ModuleDict({"decoder": Decoder(widths)})
        for number, width in enumerate(widths[:2:-1], 1):
            self.add_module(f"proj{number}", nn.Conv3d(width, SHARED, 1))

    def forward(self, image: Tensor, tick: Callable[[], None] | None = None) -> Seen:
        """Look at an image, shape (1, 1, d, h, w); every axis a multiple of (8, 32, 32)."""
        decoder = self.UNet["decoder"]
        found = decoder.get_submodule("encoder")(image, tick)
        scales = [self.get_submodule(f"proj{n}")(x)[0] for n, x in enumerate(found[:2:-1], 1)]
        logits = decoder(found, tick)
        return Seen(scales, logits[0], self.drawn(logits, image.shape[2:]))

    @staticmethod
    def drawn(logits: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the organs' masks on the image's grid, a few planes at a time to save memory."""
        rows, columns = shape[1:]
        return torch.cat(
            [
                functional.interpolate(
                    planes, size=(planes.shape[2], rows, columns), mode="trilinear"
                ).argmax(1)[0]
                for planes in logits.split(8, 2)
            ]
        )


class Radar(nn.Module):
    """All parts."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        s = sizes or Sizes()
        self.visual_encoder = ImageTower(s.widths)
        self.query_tokens = nn.Parameter(torch.zeros(ORGANS, SHARED))
        self.attention = nn.MultiheadAttention(SHARED, QUERY_HEADS, batch_first=True)
        self.vision_projs = nn.ModuleList(nn.Linear(SHARED, SHARED) for _ in range(ORGANS))
        self.text_encoder = bert_body(
            s.text_width, s.text_layers, s.text_heads, s.text_inner, s.vocabulary,
            token_types=False,
        )  # fmt: skip
        self.text_proj = nn.Linear(s.text_width, SHARED)
        self.temp = nn.Parameter(torch.tensor(0.07))

    def pool(self, rows: Tensor, organ: int) -> Pooled:
        """Return an organ's vector from its tokens of all scales, coarsest first."""
        project = cast("nn.Linear", self.vision_projs[organ])
        return pooled(self.attention, self.query_tokens[organ], rows, project)

    def text(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return unit text vectors, shape (texts, 256)."""
        states = self.text_encoder(input_ids=ids, attention_mask=real.long()).last_hidden_state
        return functional.normalize(self.text_proj(states[:, 0]), dim=-1)
