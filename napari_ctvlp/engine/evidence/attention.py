"""Attention of transformer encoders: by layer and head, their mean, and rollout.

Encoders mix tokens with ``scaled_dot_product_attention``, which keeps no weights; while a
:class:`Recorder` listens, the weights are worked out beside it and only what was asked for is
kept. Rollout after Abnar and Zuidema (2020): the residual counts as half of each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, coarse_affine, to_ipl, voxel_of
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.models.protocol import Encoder

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """One pass of an image tower over one window.

    Attributes
    ----------
    run : callable
        Runs the pass.
    grid : tuple of int
        Tokens along the window's axes, in their order.
    affine : ndarray, shape (4, 4)
        Token index to RAS mm.
    """

    run: Callable[[], object]
    grid: tuple[int, ...]
    affine: Affine


@dataclass(frozen=True)
class Attention:
    """Attention from or to one place.

    Attributes
    ----------
    heads : ndarray, shape (layers, heads, i, p, l), float32
        From the place each map sums to 1.
    rollout : ndarray, shape (i, p, l), float32
        Over all layers, sums to 1 from the place.
    affine : ndarray, shape (4, 4)
        Cell to RAS mm, IPL.
    cell : tuple of int
        The place's own cell.
    direction : {"from", "to"}
    """

    heads: Array
    rollout: Array
    affine: Affine
    cell: tuple[int, int, int]
    direction: str

    def mean(self, layer: int | None = None) -> Array:
        """Return the mean over heads of one layer, or of all."""
        chosen = self.heads if layer is None else self.heads[layer : layer + 1]
        return np.asarray(chosen.mean(axis=(0, 1)), np.float32)


class Recorder:
    """Keeps one row or column of every layer's attention, and the rollout.

    Parameters
    ----------
    token : int
        The place's token.
    count : int
        Tokens of the image; calls with another number are no image attention.
    to : bool
        Keep columns (what looks at the place) instead of rows (where the place looks).
    """

    def __init__(self, token: int, count: int, to: bool = False) -> None:
        self.token, self.count, self.to = token, count, to
        self.layers: list[Array] = []
        self._rollout: Tensor | None = None

    def see(self, q: Tensor, k: Tensor) -> None:
        """Take queries and keys (1, heads, tokens, width) of one layer."""
        import torch

        if q.shape[0] != 1 or q.shape[-2] != self.count or k.shape[-2] != self.count:
            return
        logits = q[0].float() @ k[0].float().transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = torch.softmax(logits, -1)
        kept = weights[:, :, self.token] if self.to else weights[:, self.token]
        self.layers.append(kept.cpu().numpy())
        mixed = 0.5 * weights.mean(0) + 0.5 * torch.eye(self.count, device=weights.device)
        self._rollout = mixed if self._rollout is None else mixed @ self._rollout

    @property
    def rollout(self) -> Array:
        """The place's row or column of the product of all layers, shape (tokens,)."""
        whole = self._rollout
        if whole is None:
            raise ModelRefused(
                "no-attention", "an encoder whose image tokens attend to one another.",
                "None of its layers did.", "Look at the relevance of this model instead.",
            )  # fmt: skip
        part = whole[:, self.token] if self.to else whole[self.token]
        return np.asarray(part.cpu().numpy(), np.float32)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let a recorder see every attention of torch while inside; what is computed stays the same."""
    from torch.nn import functional

    plain = functional.scaled_dot_product_attention

    def watched(q: Tensor, k: Tensor, *rest: Any, **more: Any) -> Tensor:
        recorder.see(q, k)
        return plain(q, k, *rest, **more)

    functional.scaled_dot_product_attention = watched  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = plain


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
    frame = frame_of(encoder, scan, anatomy, organ)
    cell = np.rint(voxel_of(frame.affine, point)).astype(int)
    if (cell < 0).any() or (cell >= frame.grid).any():
        raise InputRefused(
            "outside-window", "a place inside the window the model looked at.",
            f"{point} is outside.", "Choose another place, or another organ's window.",
        )  # fmt: skip
    count = int(np.prod(frame.grid))
    recorder = Recorder(int(np.ravel_multi_index(tuple(cell), frame.grid)), count, to)
    with recording(recorder):
        frame.run()
    rollout, affine = to_ipl(recorder.rollout.reshape(frame.grid), frame.affine)
    heads = np.stack([
        [to_ipl(head.reshape(frame.grid), frame.affine)[0] for head in layer]
        for layer in recorder.layers
    ])  # fmt: skip
    own = np.rint(voxel_of(affine, point)).astype(int).tolist()
    return Attention(heads, rollout, affine, tuple(own), "to" if to else "from")


def frame_of(encoder: Any, scan: Scan, anatomy: AnatomyMap, organ: str = "") -> Frame:
    """Return the pass of an encoder whose attention can be read: fVLM's windows so far."""
    from napari_ctvlp.models.encoders import fvlm
    from napari_ctvlp.models.encoders import fvlm_prepare as prepare
    from napari_ctvlp.models.encoders.cells import moved

    if not isinstance(encoder, fvlm.Fvlm):
        raise ModelRefused(
            "no-attention", "an encoder whose attention between places can be read: fVLM.",
            f"{encoder.card.id} is not one.",
            "Look at its organ queries ('attention') or its relevance.",
        )  # fmt: skip
    ready = fvlm.prepared(scan, anatomy, list(encoder.organs.values()))
    windows = encoder._windows(ready)
    if not windows or (organ and organ not in windows):
        raise InputRefused(
            "organ-missing", "an organ of the model that is in this scan.",
            f"{organ or 'None'} of {', '.join(encoder.organs)} is.", "Choose another organ.",
        )  # fmt: skip
    _, window = windows[organ or next(iter(windows))][0]
    patch = encoder.network.sizes.patch
    grid = tuple(n // p for n, p in zip(window.padded, patch, strict=True))
    affine = coarse_affine(moved(ready.affine, window.start), np.array(patch))
    image = prepare.cut(ready.image, window)
    return Frame(lambda: encoder._levels(image, lambda: None), grid, affine)
