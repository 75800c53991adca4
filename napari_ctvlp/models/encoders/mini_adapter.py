"""The open half of mini's text side: a sentence vector becomes a direction among the tokens.

The concept mixture (``mini_text.py``) can only say what the concepts say. This network was shown
whole report sentences beside the tokens they speak of (``training/adapter.py``), so that side,
place, size and manner of a finding, and denial, can turn the direction too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.mini_text import DIMENSIONS
from napari_ctvlp.models.encoders.mini_tower import WIDTH

HIDDEN = 256

Array = NDArray[np.float32]


class Adapter(nn.Module):
    """Sentence vectors to directions and biases beside the tokens.

    Attributes
    ----------
    hidden : Linear, 384 to 256
    direction : Linear, 256 to 64
    shift : Linear, 256 to 1
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(DIMENSIONS, HIDDEN)
        self.direction = nn.Linear(HIDDEN, WIDTH)
        self.shift = nn.Linear(HIDDEN, 1)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return directions (n, 64) and biases (n,) of sentence vectors (n, 384)."""
        hidden = functional.gelu(self.hidden(vectors))
        return self.direction(hidden), self.shift(hidden)[:, 0]

    def each(self, vectors: Array) -> tuple[Array, Array]:
        """Do the same in numpy, to the same bits on any number of threads."""
        raw = _linear(self.hidden, vectors)
        hidden = np.asarray(raw * 0.5 * (1 + erf(raw / np.sqrt(2))), np.float32)
        return _linear(self.direction, hidden), _linear(self.shift, hidden)[:, 0]


def _linear(layer: nn.Linear, rows: Array) -> Array:
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return np.asarray(np.vecdot(rows[:, None], weight) + bias, np.float32)
