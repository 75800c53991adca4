"""Models that are loaded once, and results that are computed once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import cache, compute
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute, Encoder, ModelCard, Progress

#: Stage reported when a result came from the cache.
KEPT = "kept result"
Noun = TypeVar("Noun")
#: Held while a model is loaded, by whichever thread comes first.
loading = threading.RLock()


def encoder(model: str, chosen: Compute) -> Encoder:
    """Return a loaded encoder; its files are read again only when they have been replaced."""
    with loading:
        compute.limit_threads(chosen)
        return _load(model, chosen, store.model_digest(store.card(model)))


def kept(key: str, run: Callable[[], Noun], progress: Progress) -> Noun:
    """Return the kept result, or run and keep it."""
    found: Noun | None = cache.load(key)
    if found is not None:
        progress(1.0, KEPT)
        return found
    result = run()
    cache.save(key, result)
    return result


def encoding_key(card: ModelCard, chosen: Compute, scan: Scan, anatomy: AnatomyMap) -> str:
    """Return the key under which an encoding is kept."""
    where = f"{chosen.device} {chosen.precision}"
    return cache.key_of("encoding", store.model_digest(card), where, scan.digest, anatomy.content)


def forget() -> None:
    """Drop loaded models and what is kept in memory; the disk stays."""
    cache.forget_memory()
    _load.cache_clear()


def forget_models() -> None:
    """Drop loaded models only."""
    _load.cache_clear()


@lru_cache(maxsize=2)
def _load(model: str, chosen: Compute, digest: str) -> Encoder:
    """Load an encoder; another ``digest`` means that its files have been replaced."""
    return store.load_encoder(model, chosen)
