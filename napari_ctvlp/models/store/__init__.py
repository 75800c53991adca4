"""The weights manager: reads cards, finds weights, verifies them, loads models."""

from napari_ctvlp.models.store.checkpoint import state_dict
from napari_ctvlp.models.store.download import download
from napari_ctvlp.models.store.hosted import Bundle, BundleFile, bundle, folder_of, models_folder
from napari_ctvlp.models.store.loading import (
    digests,
    embedded,
    load_encoder,
    load_segmenter,
    model_digest,
    unusable,
    verify,
)
from napari_ctvlp.models.store.manage import State, delete, import_files, state_of, verify_files
from napari_ctvlp.models.store.reading import CARDS, card, cards, read_card, sha256
from napari_ctvlp.models.store.settings import (
    accept,
    accepted,
    apply_offline,
    offline,
    set_offline,
)

__all__ = [
    "CARDS",
    "Bundle",
    "BundleFile",
    "State",
    "accept",
    "accepted",
    "bundle",
    "card",
    "cards",
    "delete",
    "digests",
    "download",
    "embedded",
    "folder_of",
    "import_files",
    "load_encoder",
    "load_segmenter",
    "model_digest",
    "models_folder",
    "offline",
    "read_card",
    "set_offline",
    "sha256",
    "state_dict",
    "state_of",
    "unusable",
    "verify",
    "verify_files",
]

apply_offline()
