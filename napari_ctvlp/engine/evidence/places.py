"""What a map says of places: pieces above a threshold, words at a voxel, places alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.components import Component, components
from napari_ctvlp.core.encoding import Encoding, TextVector
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.locality import cell_of, locality, nearest_words, self_similarity
from napari_ctvlp.core.looking import PlaceWords
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import concepts, findings, places
from napari_ctvlp.engine import judging
from napari_ctvlp.engine.evidence.lines import isolines
from napari_ctvlp.engine.export import heatmap_on_scan
from napari_ctvlp.engine.saving import threshold_mask
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.io.nifti import save_on_source
from napari_ctvlp.models.protocol import Encoder

__all__ = [
    "isolines", "locality_of", "pieces", "resembling", "save_pieces", "vocabulary", "words_at",
]  # fmt: skip
Array = NDArray[np.float32]
#: Tokens that the locality diagnostic looks at.
_PLACES = 4000


def pieces(
    heat: Heatmap, scan: Scan, level: float, least_ml: float = 0.0
) -> tuple[NDArray[np.uint16], tuple[Component, ...]]:
    """Tell apart and measure what reaches a level inside the gate, on the scan's grid.

    Parameters
    ----------
    heat : Heatmap
    scan : Scan
        Gives the grid and the mean HU.
    level : float
        In the heatmap's own unit.
    least_ml : float
        Smaller pieces are dropped.

    Returns
    -------
    labels : ndarray, shape (i, p, l), uint16
        Editable like any label layer; saved by :func:`save_pieces`.
    pieces : tuple of Component
        The highest peak first.
    """
    mask = threshold_mask(heat, scan, level) > 0
    return components(mask, heatmap_on_scan(heat, scan), scan.affine, scan.hu, least_ml)


def save_pieces(path: Path, labels: NDArray[np.uint16], scan: Scan) -> None:
    """Write pieces, as measured or edited, on the scan's stored grid with its affine."""
    save_on_source(path, labels, scan)


def resembling(encoding: Encoding, point_ras: tuple[float, float, float]) -> Array:
    """Return how much each token of the first grid resembles that at a point, NaN elsewhere."""
    return self_similarity(encoding.grids[0], point_ras)


def words_at(
    encoder: Encoder,
    encoding: Encoding,
    point_ras: tuple[float, float, float],
    words: Sequence[str] = (),
    n: int = 8,
) -> PlaceWords:
    """Return the words that a place resembles most; the model's own concepts by default.

    Read on the first grid that holds the place, on one whose cells stand for themselves (logit,
    cosine) rather than on parts of a score.
    """
    texts = tuple(words) or vocabulary(encoder)
    vectors: dict[str, TextVector] = dict(zip(texts, judging.embedded(encoder, texts), strict=True))
    grids = sorted(encoding.grids, key=lambda grid: grid.kind == "split")
    grid = next((one for one in grids if cell_of(one, point_ras) is not None), grids[0])
    found = nearest_words(grid, point_ras, vectors, n)
    return PlaceWords(point_ras, found, grid.kind, grid.organ)


def vocabulary(encoder: Encoder) -> tuple[str, ...]:
    """Return what a place is compared with: findings and organs of the card, else of the house."""
    known = encoder.card.settings.get("concepts", [row.name for row in concepts()])
    titles = {row.concept: row.title for row in findings().values() if row.concept}
    named = {name: place.title for name, place in places().items()}
    return tuple(titles.get(name) or named.get(name) or name.replace("_", " ") for name in known)


def locality_of(encoder: Any, scan: Scan, anatomy: AnatomyMap, seed: int = 0) -> float:
    """Correlate feature similarity before and after projection, over places of one scan.

    Before: the features in front of mini's token head; after: the tokens that phrases are
    compared with.

    Raises
    ------
    ModelRefused
        If the encoder does not show its features.
    """
    if not hasattr(encoder, "tower"):
        raise ModelRefused(
            "no-features", "an encoder that shows its features before projection.",
            f"{encoder.card.id} does not.", "Choose another one, such as mini.",
        )  # fmt: skip
    import torch

    from napari_ctvlp.models.encoders.mini_grid import inputs_of

    hu, place, _, body = inputs_of(scan, anatomy)
    cells = np.argwhere(body)
    cells = cells[np.random.default_rng(seed).permutation(len(cells))[:_PLACES]]
    with torch.inference_mode():
        both = encoder.tower.features(
            torch.from_numpy(hu)[None, None], torch.from_numpy(place)[None]
        )
        before, after = (part[0].permute(1, 2, 3, 0)[tuple(cells.T)].numpy() for part in both)
    return locality(before, after, seed=seed)
