"""Scans with known findings asked for every finding: one pair of scan and finding each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core import absence, grounding
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.extent import cut_organs
from napari_ctvlp.core.gating import main_concept
from napari_ctvlp.core.geometry import resample
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import judging
from napari_ctvlp.evaluation.reader import Reader


@dataclass(frozen=True)
class Asked:
    """A scan whose findings are known.

    Attributes
    ----------
    scan : Scan
    anatomy : AnatomyMap
    name : str
        The CT it came from: pairs of one CT stay together.
    there : tuple of str
        Findings that are there.
    silent : frozenset of str
        Findings nobody knows about; they are not asked for.
    unknown : ndarray, shape (i, p, l), bool, or None
        Voxels about which nothing may be said.
    study : str
        This scan among those of its CT, or ``""``.
    """

    scan: Scan
    anatomy: AnatomyMap
    name: str
    there: tuple[str, ...]
    silent: Collection[str] = ()
    unknown: NDArray[np.bool_] | None = None
    study: str = ""


@dataclass(frozen=True)
class Pair:
    """One finding asked for in one scan.

    Attributes
    ----------
    scan, finding : str
    there : bool
    peak, limit : float
        Naive: highest value in the gate, and the card's threshold for it.
    clues : mapping of str to float
        See :mod:`napari_ctvlp.core.absence`.
    doubt : str
        Why the model would not judge, or ``""``.
    cut : str
        That the organ is cut by the edge of the scan, or ``""``.
    naive : str
        The card's answer by its thresholds alone.
    study : str
        The painted scan, or ``""``.
    """

    scan: str
    finding: str
    there: bool
    peak: float
    limit: float
    clues: Mapping[str, float]
    doubt: str
    cut: str
    naive: str
    study: str = ""


def pairs(asked: Asked, reader: Reader, phrases: Mapping[str, str]) -> Iterator[Pair]:
    """Ask a scan for every finding.

    Parameters
    ----------
    asked : Asked
    reader : Reader
        The scan as the model sees it.
    phrases : mapping of str to str
        Wording of each finding; a finding that is alike to one that is there is not asked for.
    """
    settings = reader.model.card.settings
    encoder = reader.model.encoder
    neutral = tuple(judging.embedded(encoder, settings.get("neutral", ())))
    rivals = judging.rivals(encoder)
    blind = _on_grid(asked, reader)
    for name, text in phrases.items():
        if name in asked.silent or (
            name not in asked.there and any(absence.same(name, other) for other in asked.there)
        ):
            continue
        phrase = parse(text)
        words = judging.worded(encoder, phrase.query)
        vector = words.mean
        heat = grounding.heatmap(
            reader.grid, vector, phrase, asked.anatomy, model=reader.model.card.id,
            settings=settings, background=neutral,
        )  # fmt: skip
        heat = replace(heat, allowed=heat.allowed & ~blind)
        others = absence.Others(neutral, words.denied, rivals)
        concept = main_concept(vector)
        yield Pair(
            asked.name, name, name in asked.there, heat.peak,
            grounding.Settings.of(settings, phrase.finding or concept).present,
            absence.clues(heat, reader.grid, asked.anatomy, others, name),
            heat.doubt, cut_organs(phrase, asked.anatomy, concept), heat.verdict, asked.study,
        )  # fmt: skip


def _on_grid(asked: Asked, reader: Reader) -> NDArray[np.bool_]:
    shape, affine = reader.grid.valid.shape, reader.grid.affine
    if asked.unknown is None:
        return np.zeros(shape, np.bool_)
    marked = asked.unknown.astype(np.uint8)
    return resample(marked, asked.scan.affine, shape, affine, order=0) > 0
