"""Residual blocks in two and in three dimensions, named as torchvision names them.

He et al., CVPR 2016, with the stride in the middle convolution. A block inflated to three
dimensions (Carreira and Zisserman, CVPR 2017) is the same block with cubes for squares.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """A bottleneck of three convolutions, or a basic block of two.

    Parameters
    ----------
    given, width : int
        Channels that come, and that the block works in; a bottleneck hands on ``4 * width``.
    stride : int
    basic : bool
    dims : {2, 3}
    """

    def __init__(self, given: int, width: int, stride: int, basic: bool, dims: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        wide = width if basic else 4 * width
        self.basic = basic
        if basic:
            self.conv1 = conv(given, width, 3, stride, padding=1, bias=False)
            self.conv2 = conv(width, width, 3, padding=1, bias=False)
        else:
            self.conv1 = conv(given, width, 1, bias=False)
            self.conv2 = conv(width, width, 3, stride, padding=1, bias=False)
            self.conv3, self.bn3 = conv(width, wide, 1, bias=False), norm(wide)
        self.bn1, self.bn2 = norm(width), norm(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or given != wide:
            self.downsample = nn.Sequential(conv(given, wide, 1, stride, bias=False), norm(wide))

    def forward(self, x: Tensor) -> Tensor:
        """Return features, shape (batch, channels, ...)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if not self.basic:
            out = self.bn3(self.conv3(functional.relu(out)))
        return functional.relu(out + (self.downsample(x) if self.downsample else x))


def add_stages(owner: nn.Module, counts: tuple[int, ...], basic: bool, dims: int) -> int:
    """Give a module its stages ``layer1``, ``layer2``...; return the channels of the last one.

    Each stage but the first halves the grid and doubles the width, beginning with 64.
    """
    given = 64
    for number, count in enumerate(counts):
        width = 64 << number
        wide = width if basic else 4 * width
        rows = [Block(given, width, 2 if number else 1, basic, dims)]
        rows += [Block(wide, width, 1, basic, dims) for _ in range(count - 1)]
        owner.add_module(f"layer{number + 1}", nn.Sequential(*rows))
        given = wide
    return given
