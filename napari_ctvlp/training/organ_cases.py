"""Everything the organ network is trained on, made once into a folder of 4 mm volumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.models.encoders.mini_grid import box_of
from napari_ctvlp.models.segmenters.mini_atlas import bring, from_boxes, register
from napari_ctvlp.training.data import cases
from napari_ctvlp.training.organ_data import IGNORE, OrganCase, from_atlas, prepare

#: The labelled CT that is laid over the unlabelled chests, and the other one.
ATLAS, BELLY = "LIDC-IDRI-0001", "TS-example-abdomen"
LUNGS = ("lung_left", "lung_right")
#: Relative number of crops: the labelled CTs, an unlabelled CT, and the atlas in its shape.
WEIGHTS = {ATLAS: 1.0, BELLY: 0.8}
UNLABELLED, SHAPED = 0.25, 0.25

Say = Callable[[str], None]


def prepare_all(root: Path, folder: Path, say: Say = print) -> list[OrganCase]:
    """Return all training cases, from ``folder`` where they were made before.

    Parameters
    ----------
    root : Path
        Holds the folders that ``cases.toml`` names.
    folder : Path
        Where the prepared volumes are kept.
    say : callable
        Told what is being done.

    Notes
    -----
    Only cases of the role "train". An unlabelled chest becomes two cases: its own CT with what
    can be trusted of the atlas' labels, and the atlas' CT and labels bent into its shape, where
    CT and labels agree exactly.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = sorted(folder.glob("*.npz"))
    if kept:
        return [OrganCase.load(path) for path in kept]
    rows = {case.name: root / case.folder for case in cases("train")}
    atlas, anatomy = prepare(ATLAS, rows.pop(ATLAS))
    out = [atlas, replace(prepare(BELLY, rows.pop(BELLY))[0], weight=WEIGHTS[BELLY])]
    box = lung_box(anatomy)
    for name, where in rows.items():
        say(f"laying {ATLAS} over {name}")
        out += shaped(atlas, box, *prepare(name, where))
    for case in out:
        case.save(folder / f"{case.name}.npz")
    return out


def shaped(
    atlas: OrganCase, box: NDArray[np.float64], case: OrganCase, anatomy: AnatomyMap
) -> tuple[OrganCase, OrganCase]:
    """Label a chest by the atlas, and bend the atlas into its shape."""
    start = from_boxes(lung_box(anatomy), box)
    way = register(case.hu, case.affine, atlas.plain, atlas.affine, start, lambda: None)
    like = case.hu, case.affine

    def there(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return bring(array, atlas.affine, way, *like, nearest=True)

    def smoothly(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return bring(array, atlas.affine, way, *like, nearest=False, fill=-1000.0)

    labels, known = there(atlas.labels), there(np.ones_like(atlas.labels))
    own = replace(from_atlas(case, anatomy, labels, known), weight=UNLABELLED)
    bent = OrganCase(
        f"{atlas.name} as {case.name}",
        smoothly(atlas.hu),
        smoothly(atlas.plain),
        np.where(known > 0, labels, IGNORE).astype(np.uint8),
        there(atlas.body.astype(np.uint8)) > 0,
        case.affine,
        SHAPED,
    )
    return own, bent


def lung_box(anatomy: AnatomyMap) -> NDArray[np.float64]:
    """Return lowest and highest screen (I, P, L) mm of both lungs, shape (2, 3)."""
    box = box_of(anatomy.mask(LUNGS), anatomy.affine)
    return np.stack([box.centre - box.half, box.centre + box.half])


def without(cases: list[OrganCase], name: str) -> list[OrganCase]:
    """Return the cases in which nothing of a labelled CT is left: for leave-one-out."""
    if name == ATLAS:
        return [case for case in cases if case.name == BELLY]
    return [case for case in cases if case.name != name]
