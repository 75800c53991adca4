"""The segmenter that needs no weights: thresholds and morphology, after a coarse look."""

from napari_ctvlp.models.segmenters.classical.refine import Organ
from napari_ctvlp.models.segmenters.classical.segmenter import ORGANS, ClassicalSegmenter

__all__ = ["ORGANS", "ClassicalSegmenter", "Organ"]
