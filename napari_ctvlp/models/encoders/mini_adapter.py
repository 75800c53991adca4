"""The open half of mini's text side: a sentence vector becomes a direction among the tokens.

The concept mixture (``mini_text.py``) can only say what the concepts say. This network was shown
whole report sentences beside the tokens they speak of (``training/adapter.py``), so that side,
place, size and manner of a finding, and denial, can turn the direction too. It belongs to a text
tower and lies in the file of that tower's head, as ``adapter.*``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.models.encoders.mini_text import DIMENSIONS
from napari_ctvlp.models.encoders.mini_tower import WIDTH
from napari_ctvlp.models.store import unusable

HIDDEN = 256
#: Of its tensors in the file of a head.
PREFIX = "adapter."

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

    @classmethod
    def load(cls, path: Path) -> Adapter | None:
        """Read the adapter of a head's file; None where it has none.

        Raises
        ------
        ModelRefused
            If it holds other tensors than this code expects.
        """
        from safetensors.torch import load_file

        state = {name: value.float() for name, value in load_file(path).items()}
        own = {n.removeprefix(PREFIX): v for n, v in state.items() if n.startswith(PREFIX)}
        if not own:
            return None
        adapter = cls()
        try:
            adapter.load_state_dict(own)
            if not all(bool(value.isfinite().all()) for value in own.values()):
                raise ValueError("some weights are not finite")
        except (RuntimeError, ValueError) as error:
            raise unusable(path, "mini's text adapter", error) from error
        return adapter.eval().requires_grad_(False)

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
