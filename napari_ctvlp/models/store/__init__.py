"""The weights manager: reads cards, finds weights, verifies them, loads models."""

from napari_ctvlp.models.store.checkpoint import state_dict
from napari_ctvlp.models.store.hosted import Bundle, BundleFile, bundle, folder_of, models_folder
from napari_ctvlp.models.store.loading import (
    load_encoder,
    load_segmenter,
    model_digest,
    unusable,
    verify,
)
from napari_ctvlp.models.store.reading import CARDS, card, cards, read_card, sha256

__all__ = [
    "CARDS",
    "Bundle",
    "BundleFile",
    "bundle",
    "card",
    "cards",
    "folder_of",
    "load_encoder",
    "load_segmenter",
    "model_digest",
    "models_folder",
    "read_card",
    "sha256",
    "state_dict",
    "unusable",
    "verify",
]
