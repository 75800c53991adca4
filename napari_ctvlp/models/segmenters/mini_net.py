"""The organ network: a small residual U-shaped network on 4 mm voxels, one class per voxel.

Inputs are three HU windows and where a voxel lies across and front to back in the body. As in
mini's tower the only normalisation is over the channels of one cell, so what is said of a voxel
depends on what lies within reach and on nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.mini_tower import Block, ChannelNorm, Tick, no_tick

#: Classes in the order of the weights; house names but for the first and the last one.
CLASSES = (
    "background", "lung_left", "lung_right", "airways", "heart", "aorta", "oesophagus", "liver",
    "spleen", "kidney_left", "kidney_right", "stomach", "gallbladder", "pancreas", "bladder",
    "colon", "small_bowel", "vertebrae", "ribs", "sternum", "bones", "vessels",
)  # fmt: skip
VOXEL_MM = 4.0
#: Voxels per cell of the coarsest level.
COARSEST = 8
#: HU windows as (centre, half width).
WINDOWS = ((-600.0, 400.0), (40.0, 160.0), (0.0, 800.0))
WIDTHS = (16, 32, 64, 128)


def inputs(hu: Tensor, place: Tensor) -> Tensor:
    """Return the input channels.

    Parameters
    ----------
    hu : Tensor, shape (n, 1, i, p, l)
        HU at 4 mm.
    place : Tensor, shape (n, 3, i, p, l)
        Place front to back and right to left in the body's box (-1 to 1), and 1 where that is
        known; all three 0 where it is not.
    """
    seen = [((hu - centre) / half).clamp(-1.2, 1.5) for centre, half in WINDOWS]
    return torch.cat([*seen, place], dim=1)


class OrganNet(nn.Module):
    """Four levels of 4, 8, 16 and 32 mm; 2.7 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = _conv(len(WINDOWS) + 3, a, 3, 1, 1)
        self.down = nn.ModuleList(_conv(x, y, 2, 2, 0) for x, y in ((a, b), (b, c), (c, d)))
        self.inner = nn.ModuleList(
            nn.ModuleList(Block(width) for _ in range(count))
            for width, count in ((b, 1), (c, 2), (d, 2))
        )
        self.join = nn.ModuleList([_conv(d + c, c, 1, 1, 0), _conv(c + b, b, 1, 1, 0)])
        self.outer = nn.ModuleList([Block(c), Block(b)])
        self.shuffle = _conv(b, 8 * a, 1, 1, 0)
        self.last = _conv(2 * a, 2 * a, 3, 1, 1)
        self.norm = ChannelNorm(2 * a)
        self.head = nn.Conv3d(2 * a, len(CLASSES), 1)

    def forward(self, x: Tensor, tick: Tick = no_tick) -> Tensor:
        """Return logits, (n, 6, i, p, l) to (n, classes, i, p, l); edges multiples of 8."""
        x = x.contiguous(memory_format=torch.channels_last_3d)
        fine = functional.relu(self.stem(x))
        tick()
        levels, now = [], fine
        for down, blocks in zip(self.down, self.inner, strict=True):
            now = down(now)
            for block in blocks:  # type: ignore[attr-defined]
                now = block(now, tick)
            levels.append(now)
        for join, block, beside in zip(self.join, self.outer, levels[1::-1], strict=True):
            wide = functional.interpolate(now, scale_factor=2, mode="nearest")
            now = block(join(torch.cat([wide, beside], 1)), tick)
        small = functional.relu(_unshuffled(self.shuffle(now)))
        joined = functional.relu(self.last(torch.cat([small, fine], 1)))
        tick()
        logits: Tensor = self.head(self.norm(joined))
        return logits


def _unshuffled(x: Tensor) -> Tensor:
    """Turn each cell's 8c channels into 2x2x2 cells of c channels."""
    n, many, i, p, l = x.shape  # noqa: E741 - the axis is called L
    cells = x.view(n, many // 8, 2, 2, 2, i, p, l).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cells.reshape(n, many // 8, 2 * i, 2 * p, 2 * l)


def _conv(inside: int, outside: int, size: int, stride: int, padding: int) -> nn.Conv3d:
    layer = nn.Conv3d(inside, outside, size, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
