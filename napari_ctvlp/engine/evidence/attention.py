"""Attention between places of transformer encoders: by layer and head, their mean, and rollout.

Encoders mix tokens with ``scaled_dot_product_attention``, which keeps no weights; while a
:class:`Recorder` listens, queries and keys are kept, and the weights of any place are worked out
from them afterwards. Rollout after Abnar and Zuidema (2020): the residual counts as half of each
layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import to_ipl, voxel_of
from napari_ctvlp.core.looking import Attention
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.encoders.attending import Cells, Frame, Point
from napari_ctvlp.models.protocol import Encoder

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
#: Mean weights of all layers are kept for the rollout up to this size.
MEANS_BYTES = 400_000_000


@dataclass
class Layer:
    """Queries and keys of one layer, and where their tokens lie.

    Attributes
    ----------
    queries, keys : Tensor, shape (batch, heads, tokens, width), float32
        Queries already scaled.
    bias : Tensor, broadcastable to (batch, heads, tokens, tokens), or None
    cells : Tensor, shape (batch, tokens), int64
        Flat cell of each token, -1 without a place.
    """

    queries: Tensor
    keys: Tensor
    bias: Tensor | None
    cells: Tensor
    _sums: Tensor | None = None
    _means: Tensor | None = None

    def rows(self, cell: int, count: int, to: bool) -> Array:
        """Return what a cell's token gives each cell, or gets from it, shape (heads, count)."""
        import torch

        (batch, token), *_ = torch.nonzero(self.cells == cell).tolist()
        one, every = (self.keys, self.queries) if to else (self.queries, self.keys)
        logits = (every[batch] @ one[batch, :, token, :, None])[..., 0]
        if self.bias is not None:
            logits = logits + (
                self._bias(batch)[:, :, token] if to else self._bias(batch)[:, token]
            )
        weights = torch.exp(logits - self.sums[batch]) if to else torch.softmax(logits, -1)
        out = torch.zeros(weights.shape[0], count + 1)
        out[:, self.cells[batch]] = weights.cpu()
        return np.asarray(out[:, :count].numpy(), np.float32)

    def roll(self, share: Tensor, to: bool, keep: bool) -> Tensor:
        """Pass a share of each cell (count + 1,) through this layer, backward or forward."""
        import torch

        own = share[self.cells]
        out = torch.zeros_like(share)
        for batch in range(len(own)):
            mean = self._mean(batch, keep)
            mixed = mean @ own[batch] if to else own[batch] @ mean
            out[self.cells[batch]] += 0.5 * mixed + 0.5 * own[batch]
        return out

    @property
    def sums(self) -> Tensor:
        """Logarithm of each query's sum, shape (batch, heads, tokens)."""
        import torch

        if self._sums is None:
            batches, heads = self.queries.shape[:2]
            flat = [
                torch.logsumexp(self._logits(batch, head), -1)
                for batch in range(batches)
                for head in range(heads)
            ]
            self._sums = torch.stack(flat).unflatten(0, (batches, heads))
        return self._sums

    def size(self) -> int:
        """Return the bytes of this layer's mean weights."""
        return 4 * self.cells.shape[0] * self.cells.shape[1] ** 2

    def _mean(self, batch: int, keep: bool) -> Tensor:
        import torch

        if not keep:
            return self._fresh_mean(batch)
        if self._means is None:
            self._means = torch.stack([self._fresh_mean(b) for b in range(len(self.cells))])
        return self._means[batch]

    def _fresh_mean(self, batch: int) -> Tensor:
        """Return one batch's weights, mean over heads, head by head to spare memory."""
        import torch

        total = torch.zeros(self.cells.shape[1], self.cells.shape[1])
        heads = self.queries.shape[1]
        for head in range(heads):
            total += torch.softmax(self._logits(batch, head), -1).cpu() / heads
        return total

    def _logits(self, batch: int, head: int) -> Tensor:
        """Return logits of one head, shape (tokens, tokens)."""
        logits = self.queries[batch, head] @ self.keys[batch, head].T
        return logits if self.bias is None else logits + self._bias(batch)[head]

    def _bias(self, batch: int) -> Tensor:
        bias = self.bias
        assert bias is not None  # noqa: S101 - callers have looked
        shape = (*self.queries.shape[:3], self.keys.shape[2])
        return bias.float().expand(shape)[batch]


@dataclass
class Recorder:
    """Keeps queries and keys of every attention between places.

    Attributes
    ----------
    layouts : tuple of ndarray, shape (batch, tokens), int64
        Ways tokens are laid out; attention of any other shape is left out.
    layers : list of Layer
        In the order they ran.
    """

    layouts: tuple[Cells, ...]
    layers: list[Layer] = field(default_factory=list)

    def see(
        self, q: Tensor, k: Tensor, bias: Tensor | None = None, scale: float | None = None
    ) -> None:
        """Take queries and keys (batch, heads, tokens, width) of one layer."""
        import torch

        shape = (q.shape[0], q.shape[-2])
        fits = [cells for cells in self.layouts if cells.shape == shape]
        if not fits or k.shape[-2] != q.shape[-2] or q.ndim != 4:
            return
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        cells = torch.from_numpy(fits[0])
        self.layers.append(Layer(q.float() * factor, k.float(), bias, cells))

    def heads(self, cell: int, count: int, to: bool = False) -> Array:
        """Return every head's map, shape (layers, heads, count).

        Raises
        ------
        ModelRefused
            If nothing attended.
        """
        if not self.layers:
            raise ModelRefused(
                "no-attention", "an encoder whose image tokens attend to one another.",
                "None of its layers did.", "Look at the relevance of this model instead.",
            )  # fmt: skip
        return np.stack([layer.rows(cell, count, to) for layer in self.layers])

    def rollout(self, cell: int, count: int, to: bool = False) -> Array:
        """Return the cell's row (or column) of the product of all layers, shape (count,)."""
        import torch

        keep = sum(layer.size() for layer in self.layers) <= MEANS_BYTES
        share = torch.zeros(count + 1)
        share[cell] = 1
        for layer in self.layers if to else reversed(self.layers):
            share = layer.roll(share, to, keep)
        return np.asarray(share[:count].numpy(), np.float32)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let a recorder see every attention of torch while inside; what is computed stays the same."""
    from torch.nn import functional

    known = functional.scaled_dot_product_attention

    def watched(q: Tensor, k: Tensor, v: Tensor, *rest: Any, **more: Any) -> Tensor:
        bias = more.get("attn_mask", rest[0] if rest else None)
        recorder.see(q, k, bias, more.get("scale"))
        return known(q, k, v, *rest, **more)

    functional.scaled_dot_product_attention = watched  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = known


def attend(
    encoder: Encoder,
    scan: Scan,
    anatomy: AnatomyMap,
    point: Point,
    *,
    to: bool = False,
    organ: str = "",
) -> Attention:
    """Return where the token at a place looks, or what looks at it.

    The pass over a window is run once and kept until another window, scan or model is asked for.

    Parameters
    ----------
    encoder : Encoder
    scan, anatomy
    point : (R, A, S) in mm
    to : bool
        What looks at the place.
    organ : str
        The model's organ whose window is taken; its first one when left out.

    Raises
    ------
    ModelRefused
        If the encoder has no such attention.
    InputRefused
        If the place is not in the window.
    """
    if not hasattr(encoder, "attention_frame"):
        raise ModelRefused(
            "no-attention", "an encoder whose tokens attend to one another: fVLM, COLIPRI, "
            "CT-CLIP, ViSD-Boost.", f"{encoder.card.id} is not one.",
            "Look at its organ queries or its relevance.",
        )  # fmt: skip
    frame, recorder = _recorded(encoder, scan, anatomy, point, organ)
    flat, count = frame.cell(point), int(np.prod(frame.shape))
    heads = recorder.heads(flat, count, to)
    rollout, affine = to_ipl(recorder.rollout(flat, count, to).reshape(frame.shape), frame.affine)
    maps = [
        [to_ipl(head.reshape(frame.shape), frame.affine)[0] for head in layer] for layer in heads
    ]
    i, p, l = np.rint(voxel_of(affine, point)).astype(int).tolist()  # noqa: E741
    return Attention(
        np.array(maps), rollout, affine, (i, p, l), "to" if to else "from", encoder.card.id,
        frame.organ,
    )  # fmt: skip


#: The last window that was looked at: its queries and keys, and what they belong to.
_LAST: dict[str, Any] = {}


def _recorded(
    encoder: Any, scan: Scan, anatomy: AnatomyMap, point: Point, organ: str
) -> tuple[Frame, Recorder]:
    """Return a window that holds a place, run at most once."""
    key = f"{scan.digest} {anatomy.content} {organ}"
    if _LAST.get("key") == key and _LAST["encoder"]() is encoder:
        frame: Frame = _LAST["frame"]
        if organ or frame.holds(point):
            return frame, _LAST["recorder"]
    frame = encoder.attention_frame(scan, anatomy, point, organ)
    frame.cell(point)
    _LAST.clear()
    recorder = Recorder(frame.layouts)
    with recording(recorder):
        frame.run()
    frame = replace(frame, run=_over)
    _LAST.update(key=key, encoder=weakref.ref(encoder), frame=frame, recorder=recorder)
    return frame, recorder


def _over() -> None:
    """Stand for a pass that was run, which would keep the network in memory."""
