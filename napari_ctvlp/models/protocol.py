"""The two protocols everything with weights (or rules) stands behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.scan import Scan

#: Called with the share done (0..1) and a short word for the stage. It raises
#: :class:`~napari_ctvlp.errors.JobCancelled` when the user has stopped the job, so long work
#: calls it often (at least every half second).
Progress = Callable[[float, str], None]


def silent(share: float, stage: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Compute:
    """Where and how a model runs; decided in ``engine/compute.py``, never in an encoder.

    Attributes
    ----------
    device : str
        torch device name, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    precision : str
        ``"float32"`` or ``"bfloat16"``.
    threads : int
        CPU threads.
    tiles : float
        Share of a model's usual tile size; below 1 after memory ran out.
    """

    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    tiles: float = 1.0


@dataclass(frozen=True)
class ModelCard:
    """Everything specific to one model, read from ``models/cards/<id>.toml``.

    Attributes
    ----------
    id, title, kind : str
        ``kind`` is ``"encoder"`` or ``"segmenter"``.
    licence, source, summary : str
    weights : tuple of (file name, SHA-256)
    known_failures : tuple of str
    settings : mapping
        The rest of the card: preprocessing, prompts, thresholds, reference scores.
    """

    id: str
    title: str
    kind: str
    licence: str
    source: str
    summary: str
    weights: tuple[tuple[str, str], ...] = ()
    known_failures: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


class Segmenter(Protocol):
    """Something that names voxels."""

    card: ModelCard

    def segment(self, scan: Scan, *, compute: Compute, progress: Progress = silent) -> AnatomyMap:
        """Return labels on the scan's own grid."""
        ...


class Encoder(Protocol):
    """Something that turns scans into tokens and phrases into vectors beside them."""

    card: ModelCard

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> Encoder:
        """Load verified weights from ``folder``."""
        ...

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode a scan; ``anatomy`` gives the body, the lungs and the organs to pool over."""
        ...

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases (already stripped of side and negation, or raw) beside the tokens."""
        ...

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return present and absent similarities per organ and finding."""
        ...


@runtime_checkable
class Looking(Protocol):
    """An encoder that says where it looks for the findings of each organ."""

    def looked_at(self, encoding: Encoding, anatomy: AnatomyMap) -> Mapping[str, NDArray[np.bool_]]:
        """Return a mask on the first grid by organ, as its findings table names them."""
        ...
