"""Merlin's networks: a ResNet inflated to three dimensions and a Longformer.

Written from the published description (Blankemeier et al., arXiv 2406.06512; inflation: Carreira
and Zisserman, CVPR 2017); modules are named so that the published state dict fits without
renaming. Inside, arrays run (Z, X, Y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.resnet import add_stages

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED, PHENOTYPES = 512, 1692
#: Token that fills a text up to whole windows.
PADDING = 1


@dataclass(frozen=True)
class Sizes:
    """Numbers of the published model; tests use smaller ones.

    Attributes
    ----------
    blocks : tuple of int
        Of each ResNet stage.
    text_width, text_layers, text_heads, text_inner, vocabulary, positions, window : int
        Of the Longformer.
    """

    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_inner: int = 3072
    vocabulary: int = 50265
    positions: int = 4098
    window: int = 512


class InflatedResNet(nn.Module):
    """The image tower: total stride 16 along Z and 32 along X and Y."""

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.stages = len(blocks)
        features = add_stages(self, blocks, basic=False, dims=3)
        self.classifier = nn.Conv3d(features, PHENOTYPES, 1)
        self.contrastive_head = nn.Conv3d(features, SHARED, 1)

    def stem(self, image: Tensor) -> Tensor:
        """Bring an image (batch, 1, X, Y, Z) to pooled features (batch, 64, z, x, y)."""
        x = image.permute(0, 1, 4, 2, 3).expand(-1, 3, -1, -1, -1)
        return functional.max_pool3d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)

    def forward(self, image: Tensor, tick: Callable[[float], None] | None = None) -> Tensor:
        """Encode an image (batch, 1, X, Y, Z) to features (batch, 2048, z, x, y)."""
        x = self.stem(image)
        stages = [self.get_submodule(f"layer{n + 1}") for n in range(self.stages)]
        blocks = [block for stage in stages for block in stage.children()]
        for number, block in enumerate(blocks, 1):
            x = block(x)
            if tick:
                tick(number / len(blocks))
        return x


class Merlin(nn.Module):
    """Both towers."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or Sizes()
        self.encode_image = nn.ModuleDict({"i3_resnet": InflatedResNet(sizes.blocks)})
        self.encode_text = nn.ModuleDict(
            {
                "text_encoder": _longformer(sizes),
                "linear_layer": nn.Linear(sizes.text_width, SHARED),
            }
        )
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    @property
    def image(self) -> InflatedResNet:
        """The image tower."""
        return cast("InflatedResNet", self.encode_image["i3_resnet"])

    def hidden(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return the Longformer's last states, shape (texts, tokens, width).

        No token attends globally, as in the published code: the first one sees a report beyond
        its window only through the layers.
        """
        count, window = ids.shape[1], self.sizes.window
        spare = (0, -count % window)
        ids, mask = functional.pad(ids, spare, value=PADDING), functional.pad(real.long(), spare)
        states: Tensor = self.encode_text["text_encoder"](ids, mask).last_hidden_state
        return states[:, :count]

    def text(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return unit text vectors, shape (texts, 512)."""
        first = self.hidden(ids, real)[:, 0]
        return functional.normalize(self.encode_text["linear_layer"](first), dim=-1)


def _longformer(sizes: Sizes) -> Any:
    from transformers import LongformerConfig, LongformerModel

    config = LongformerConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.text_width,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads,
        intermediate_size=sizes.text_inner,
        max_position_embeddings=sizes.positions,
        attention_window=sizes.window,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=PADDING,
        bos_token_id=0,
        eos_token_id=2,
        sep_token_id=2,
    )
    return LongformerModel(config)
