"""Phrases beside the vectors of an archive, and results of an archive taken as kept ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import cache, compute, judging
from napari_ctvlp.engine.loaded import encoder, encoding_key, loading
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Progress, silent


def embed(
    phrase: str, model: str = "mini", *, device: str = "auto", progress: Progress = silent
) -> NDArray[np.float32]:
    """Return the vector of what a phrase looks for, shape (c,): without side and negation.

    Parameters
    ----------
    phrase : str
    model : str
        Card id of an encoder.
    device : str
    progress : callable
    """
    progress(0.0, "phrase")
    chosen = compute.choose(device, store.card(model))
    with loading:
        loaded = encoder(model, chosen)
        (found,) = loaded.embed([judging.asked(parse(phrase), loaded.card)])
    return found.vector


def adopt(
    scan: Scan,
    anatomy: AnatomyMap,
    encoding: Encoding,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> Encoding:
    """Keep an encoding that was computed elsewhere, so that the verbs need not encode.

    Parameters
    ----------
    scan : Scan
    anatomy : AnatomyMap
        What the encoding was pooled over.
    encoding : Encoding
        Of this scan, by the weights that are installed.
    device : str
        On which the verbs will be asked.
    progress : callable

    Raises
    ------
    InputRefused
        ``not-of-this-scan`` or ``store-stale``.
    """
    card = store.card(encoding.model)
    if scan.digest != encoding.scan or anatomy.digest != scan.digest:
        raise InputRefused(
            "not-of-this-scan",
            "tokens of the voxels that are open.",
            "The file has changed since its tokens were kept.",
            "Run ctvlp batch again.",
        )
    if encoding.weights not in dict(card.weights).values():
        raise InputRefused(
            "store-stale",
            "tokens of the weights that are installed.",
            f"These are of other weights of {encoding.model!r}.",
            "Run ctvlp batch again.",
        )
    progress(0.5, "kept tokens")
    chosen = compute.choose(device, card)
    cache.save(encoding_key(card, chosen, scan, anatomy), encoding)
    return encoding
