"""ClassicalSegmenter: body, lungs, airways, bones, muscle and fat from HU and shape."""

from __future__ import annotations

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.hull import both_sides
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent
from napari_ctvlp.models.segmenters.classical.airways import airways_above, find_airways
from napari_ctvlp.models.segmenters.classical.body import find_body
from napari_ctvlp.models.segmenters.classical.bones import find_bones
from napari_ctvlp.models.segmenters.classical.cavity import find_cavity
from napari_ctvlp.models.segmenters.classical.coarse import Coarse, coarse_scan
from napari_ctvlp.models.segmenters.classical.lungs import find_lungs
from napari_ctvlp.models.segmenters.classical.midline import find_midline
from napari_ctvlp.models.segmenters.classical.morphology import (
    Mask,
    box_of,
    grown,
    shrunk,
)
from napari_ctvlp.models.segmenters.classical.refine import Organ, label_scan, packed
from napari_ctvlp.models.store import CARDS, read_card

#: Id and house name of every organ this segmenter can find.
ORGANS = tuple((int(organ), organ.name.lower()) for organ in Organ)


class ClassicalSegmenter:
    """Names voxels by HU and shape; needs no weights, runs on the CPU.

    Attributes
    ----------
    card : ModelCard
    """

    card: ModelCard = read_card(CARDS / "classical.toml")

    def segment(
        self, scan: Scan, *, compute: Compute | None = None, progress: Progress = silent
    ) -> AnatomyMap:
        """Label a chest CT, or whatever part of one the scan holds.

        Parameters
        ----------
        scan : Scan
            In HU.
        compute : Compute, optional
            Not used: one CPU thread.
        progress : Progress
            Called at least once a second.

        Returns
        -------
        AnatomyMap
            Labels on the scan's grid with the ids of :data:`ORGANS`. Organs that are not in
            the scan have no volume; those cut by its edge are not ``complete``.

        Raises
        ------
        InputRefused
            When the scan does not hold HU.
        """
        _refuse_other_units(scan)
        progress(0.0, "reading")
        coarse = coarse_scan(scan)
        masks = _coarse_masks(coarse, progress)
        labels = label_scan(scan, coarse, packed(masks), progress)
        anatomy = anatomy_from_labels(
            labels, scan, ORGANS, source=self.card.id, reliability=_reliability(masks)
        )
        progress(1.0, "done")
        return anatomy


def _refuse_other_units(scan: Scan) -> None:
    if scan.meta.unit != "HU":
        raise InputRefused(
            "not-hu",
            "a CT in Hounsfield units.",
            f"The numbers of this scan are {scan.meta.unit!r} values.",
            "Open the CT with its rescale applied, or load organ labels of your own.",
        )


def _coarse_masks(coarse: Coarse, progress: Progress) -> dict[str, Mask]:
    """Return the masks :func:`packed` takes, shape of ``coarse.hu``."""
    progress(0.1, "body")
    body = find_body(coarse, lambda: progress(0.15, "body"))
    progress(0.2, "body")
    box = box_of(body, 2)
    edges = [(e.start, n - e.stop) for e, n in zip(box, body.shape, strict=True)]
    masks = _trunk_masks(coarse.part(box), body[box], progress)
    return {name: np.pad(mask, edges) for name, mask in masks.items()}


def _trunk_masks(coarse: Coarse, body: Mask, progress: Progress) -> dict[str, Mask]:
    midline = find_midline(coarse, body)
    airways = find_airways(coarse, body, midline)
    progress(0.3, "lungs")
    left, right = find_lungs(coarse, body, airways, midline, lambda: progress(0.35, "lungs"))
    lungs = left | right
    airways = airways_above(airways, lungs, coarse.step[0])
    progress(0.4, "chest")
    cavity = find_cavity(coarse, body, both_sides(left, right, midline), midline)
    progress(0.5, "bones")
    bones = find_bones(coarse, body, cavity)
    progress(0.55, "edges")
    return {
        "body": shrunk(body, 2),
        "left": shrunk(left),
        "right": shrunk(right),
        "airways": airways,
        "bones": bones,
        "near_body": grown(body),
        "near_left": grown(left) & ~right & ~airways & body,
        "near_right": grown(right) & ~left & ~airways & body,
        "near_airways": grown(airways) & ~lungs,
        "near_bones": grown(bones) & ~cavity.boneless,
        "cavity": cavity.inside,
    }


def _reliability(masks: dict[str, Mask]) -> str:
    if not masks["near_body"].any():
        return "No patient was found in this scan: everything is air."
    sides = [name for name in ("left", "right") if masks[f"near_{name}"].any()]
    if not sides:
        return "Thresholds and shape only. No lung was found in this scan."
    if len(sides) == 1:
        return f"Thresholds and shape only. Only the {sides[0]} lung was found in this scan."
    return "Thresholds and shape only: dense lung at the wall or the hilum may be left out."
