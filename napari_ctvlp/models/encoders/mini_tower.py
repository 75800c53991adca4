"""The image tower of mini: four HU windows at 2 mm in, one 64-d token per 4 mm cell out.

A residual U-shaped network of 3x3x3 convolutions over 4, 8 and 16 mm cells. The only
normalisation is over the channels of one cell, so a cell's token depends on nothing but the
voxels within its reach (``REACH_MM``): a crop and the whole scan agree.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Token length, and the norm of every token (root mean square 1 over 64 channels).
WIDTH = 64
NORM = 8.0
#: Input voxel and token edge in mm, and voxels per cell of the coarsest level.
VOXEL_MM = 2.0
TOKEN_MM = 4.0
COARSEST = 8
#: Channels of 2 mm voxels.
DETAIL = 12
#: Input voxels further away than this cannot change a token, in mm.
REACH_MM = 192.0
#: HU windows as (centre, half width); the last channel is plain HU / 1000.
WINDOWS = ((-600.0, 400.0), (40.0, 200.0), (-950.0, 80.0))

#: Share by which the running mean follows each crop.
MEAN_STEP = 0.05

Tick = Callable[[], None]


def no_tick() -> None:
    """Do nothing between two layers."""


def windows(hu: Tensor) -> Tensor:
    """Return the four input channels, shape (n, 1, i, p, l) HU to (n, 4, i, p, l)."""
    channels = [((hu - centre) / half).clamp(-1.2, 1.5) for centre, half in WINDOWS]
    return torch.cat([*channels, (hu / 1000).clamp(-1.2, 1.5)], dim=1)


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels of each cell, with a learned gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, c, i, p, l) over c."""
        last = x.permute(0, 2, 3, 4, 1)
        scale = torch.rsqrt(last.pow(2).mean(-1, keepdim=True) + 1e-5)
        normed: Tensor = last * scale * self.gain.to(x.dtype)
        return normed.permute(0, 4, 1, 2, 3)


class Block(nn.Module):
    """x + conv(relu(conv(norm(x)))), or x + conv(relu(norm(x))) when ``single``."""

    def __init__(self, channels: int, single: bool = False) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = _conv(channels, channels, 3, 1, 1)
        self.second = None if single else _conv(channels, channels, 3, 1, 1)
        last = self.first if self.second is None else self.second
        with torch.no_grad():
            last.weight.mul_(0.3)

    def forward(self, x: Tensor, tick: Tick = no_tick) -> Tensor:
        """Add one residual, calling ``tick`` after each convolution."""
        inner: Tensor = self.norm(x)
        if self.second is not None:
            inner = functional.relu(self.first(inner))
            tick()
        last = self.first if self.second is None else self.second
        inner = last(inner if self.second is not None else functional.relu(inner))
        tick()
        return x + inner


class Tower(nn.Module):
    """Image tower and concept table.

    Parameters
    ----------
    concepts : int
        Rows of the concept table.
    detail : bool
        Look at single 2 mm voxels before the first 4 mm cells: small nodules and thin vessels
        differ there. The first weights do without. Starts as no change.

    Attributes
    ----------
    middle : Tensor, shape (64,)
        Mean of the tokens before scaling: without it all tokens come to share one direction.
    table : Parameter, shape (concepts, 64)
        Concept directions E; logit = token . E / 8 + bias.
    bias : Parameter, shape (concepts,)
    """

    middle: Tensor

    def __init__(self, concepts: int = 27, *, detail: bool = False) -> None:
        super().__init__()
        self.stem = _conv(4, 32, 4, 2, 1)
        self.detail = _detail() if detail else None
        self.fine_in = Block(32)
        self.place = nn.Sequential(nn.Conv3d(4, 16, 1), nn.ReLU(), nn.Conv3d(16, 32, 1))
        self.down_middle = _conv(32, 64, 2, 2, 0)
        self.middle_in = nn.ModuleList([Block(64), Block(64)])
        self.down_coarse = _conv(64, 112, 2, 2, 0)
        self.coarse = nn.ModuleList([Block(112), Block(112), Block(112)])
        self.up_middle = _conv(112 + 64, 64, 1, 1, 0)
        self.middle_out = Block(64)
        self.up_fine = _conv(64 + 32, 32, 1, 1, 0)
        self.fine_out = Block(32, single=True)
        self.head_norm = ChannelNorm(32)
        self.head_middle_norm = ChannelNorm(64)
        self.head_fine = nn.Conv3d(32, WIDTH, 1, bias=False)
        self.head_middle = nn.Conv3d(64, WIDTH, 1, bias=False)
        self.register_buffer("middle", torch.zeros(WIDTH))
        directions = functional.normalize(torch.randn(concepts, WIDTH), dim=1)
        self.table = nn.Parameter(directions * NORM)
        self.bias = nn.Parameter(torch.full((concepts,), -3.0))

    def forward(self, hu: Tensor, place: Tensor, tick: Tick = no_tick) -> Tensor:
        """Encode a volume whose edges are multiples of ``COARSEST`` voxels.

        Parameters
        ----------
        hu : Tensor, shape (n, 1, i, p, l)
            HU at 2 mm, IPL order.
        place : Tensor, shape (n, 4, i/2, p/2, l/2)
            Position channels of :func:`napari_ctvlp.models.encoders.mini_grid.place_channels`.
        tick : callable
            Called between layers.

        Returns
        -------
        Tensor, shape (n, 64, i/2, p/2, l/2)
            Tokens of norm 8.
        """
        return self.features(hu, place, tick)[1]

    def features(self, hu: Tensor, place: Tensor, tick: Tick = no_tick) -> tuple[Tensor, Tensor]:
        """Return (n, 96, i/2, p/2, l/2) features before the token head, and the tokens.

        The first 32 channels are of the 4 mm cell, the others of its 8 mm parent, all normed.
        """
        x = windows(hu).contiguous(memory_format=torch.channels_last_3d)
        stem = self.stem(x)
        if self.detail is not None:
            stem = stem + self.detail(x)
        fine = self.fine_in(functional.relu(stem), tick)
        fine = fine + self.place(place)
        middle = self.down_middle(fine)
        for block in self.middle_in:
            middle = block(middle, tick)
        coarse = self.down_coarse(middle)
        for block in self.coarse:
            coarse = block(coarse, tick)
        middle = self.middle_out(self.up_middle(torch.cat([_twice(coarse), middle], 1)), tick)
        fine = self.fine_out(self.up_fine(torch.cat([_twice(middle), fine], 1)), tick)
        tick()
        fine, middle = self.head_norm(fine), self.head_middle_norm(middle)
        token = self.head_fine(fine) + _twice(self.head_middle(middle))
        return torch.cat([fine, _twice(middle)], 1), unit(self._centred(token.float()))

    def _centred(self, token: Tensor) -> Tensor:
        """Take off the running mean of all tokens, which in training follows along.

        In training no gradient moves all tokens of a crop together: that direction is the
        quickest way to a low loss and the end of all differences between tokens.
        """
        middle = self.middle.view(1, -1, 1, 1, 1)
        if not self.training:
            return token - middle
        mean = token.mean(dim=(0, 2, 3, 4), keepdim=True)
        with torch.no_grad():
            self.middle.lerp_(mean.flatten(), MEAN_STEP)
        return token - mean + (mean - middle).detach()

    def logits(self, tokens: Tensor, concepts: Tensor | None = None) -> Tensor:
        """Return logits of token rows, (n, 64) to (n, concepts): of all, or of those numbered."""
        if concepts is None:
            return tokens @ self.table.T / NORM + self.bias
        return tokens @ self.table[concepts].T / NORM + self.bias[concepts]


def channels_last(module: nn.Module) -> None:
    """Store a module's weights the way 3D convolutions run fastest."""
    module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def unit(token: Tensor) -> Tensor:
    """Scale to root mean square 1 over dimension 1, that is norm 8."""
    return token * torch.rsqrt(token.pow(2).mean(1, keepdim=True) + 1e-6)


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def _detail() -> nn.Sequential:
    last = _conv(DETAIL, 32, 4, 2, 1)
    nn.init.zeros_(last.weight)
    return nn.Sequential(_conv(4, DETAIL, 3, 1, 1), nn.ReLU(), last)


def _conv(inside: int, outside: int, size: int, stride: int, padding: int) -> nn.Conv3d:
    layer = nn.Conv3d(inside, outside, size, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
