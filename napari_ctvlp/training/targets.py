"""What each 4 mm token of a crop should say: present, absent or nothing, per concept."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.core import vocabulary
from napari_ctvlp.training.data import CLASSES, IGNORE, MAYBE_EMPHYSEMA, WEAK_MASS
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.synthesis.crops import Crop

#: A token is positive from this share on, and says nothing between the two.
POSITIVE, TRACE = 0.4, 0.05
#: At tokens of the first, nothing is said about the second.
NEIGHBOURS = (
    ("nodule", "mass"), ("mass", "nodule"), ("calcified_nodule", "nodule"),
    ("ground_glass", "fibrosis"), ("fibrosis", "ground_glass"),
)  # fmt: skip
#: What a real tumour drawn only as a box may also be.
MAYBE_IN_TUMOUR = (
    "nodule", "cavity", "calcified_nodule", "consolidation", "atelectasis", "lymph_node",
    "ground_glass", "pleural_thickening", "fibrosis", "opacity",
)  # fmt: skip
#: Anatomy that only labelled CTs know.
NEED_LABELS = (
    "heart", "aorta", "liver", "spleen", "kidney", "stomach", "oesophagus", "soft_tissue",
    "gallbladder", "pancreas", "colon", "small_bowel", "bladder",
)  # fmt: skip
#: Bones by name, which only labelled CTs tell apart.
NAMED_BONES = ("vertebra", "rib")
#: Findings that are common enough to be really there, unlabelled: of these, bright spots (calcium
#: and whatever looks like it, above so many HU) say nothing, nor do patients whose findings are
#: unknown of the others.
MAYBE_CALCIUM = ("coronary_calcification", "aortic_calcification", "gallstone")
CALCIUM_HU = 130.0
MAYBE_REAL = (
    "steatosis", "splenomegaly", "aortic_aneurysm", "hiatal_hernia", "bronchiectasis",
    "vertebral_fracture", "sclerotic_lesion",
)  # fmt: skip


@cache
def concepts() -> tuple[str, ...]:
    """Return concept names in the order of the table: findings, unions, anatomy."""
    return tuple(row.name for row in vocabulary.concepts())


@cache
def unions() -> dict[str, tuple[str, ...]]:
    """Return union concepts and their members."""
    return {row.name: row.members for row in vocabulary.concepts() if row.kind == "union"}


def targets(crop: Crop) -> tuple[Tensor, Tensor]:
    """Return what to learn from a crop.

    Returns
    -------
    tuple
        Target, shape (tokens, concepts), int8: 1 present, 0 absent, -1 nothing said; and the
        painted or real finding of each token, shape (tokens,), int64, -1 for none.
    """
    names = concepts()
    found, kind = _findings(crop)
    target = torch.cat([found, _anatomy(crop)], dim=1)
    silent = _share(crop.flags & IGNORE > 0) > 0
    weak = (_share(crop.flags & WEAK_MASS > 0) >= 0.5) & (_share(crop.canvas.found > 0) <= TRACE)
    sayable = len(FINDINGS) + len(unions())
    target[silent, :sayable] = -1
    kind[silent] = -1
    kind[weak] = names.index("mass")
    target[weak, :sayable] = 0
    for name in ("mass", "lesion"):
        target[weak, names.index(name)] = 1
    target[_columns(weak, MAYBE_IN_TUMOUR)] = -1
    return target, kind


def choose(crop: Crop, target: Tensor, kind: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the tokens that enter the loss: lesions first, then body, a little air."""
    lesion = (kind >= 0).flatten()
    body = (crop.place[3] > 0).flatten()
    parts = [(lesion, 7000), (body & ~lesion, 11000), (~body & ~lesion, 600)]
    chosen = []
    for mask, most in parts:
        where = torch.nonzero(mask).flatten()
        order = torch.randperm(where.numel(), generator=generator)[:most]
        chosen.append(where[order])
    return torch.cat(chosen)


def _findings(crop: Crop) -> tuple[Tensor, Tensor]:
    """Targets of the painted findings and their unions, and the finding of each token."""
    names = concepts()
    found = crop.canvas.found
    shares = torch.zeros(len(FINDINGS), found.numel() // 8)
    for number in torch.unique(found).tolist():
        if number:
            shares[number - 1] = _share(found == number)
    rows = [shares]
    for members in unions().values():
        rows.append(shares[[names.index(m) for m in members]].sum(dim=0, keepdim=True))
    share = torch.cat(rows).T
    target = (share >= POSITIVE).to(torch.int8)
    target[(share > TRACE) & (share < POSITIVE)] = -1
    top = share[:, : len(FINDINGS)].max(dim=1)
    kind = torch.where(top.values >= POSITIVE, top.indices, -1)
    for here, unsaid in NEIGHBOURS:
        target[kind == names.index(here), names.index(unsaid)] = -1
    maybe = _share(crop.flags & MAYBE_EMPHYSEMA > 0) > 0
    _hush(target, maybe, "emphysema")
    if crop.unknown_findings:
        _hush_unknown(crop, target)
    return target, kind


def _hush_unknown(crop: Crop, target: Tensor) -> None:
    """Say nothing about what a patient with unknown findings may really have."""
    middle = _share(crop.canvas.anatomy == CLASSES.index("unknown")) > 0.5
    _hush(target, middle, "lymph_node")
    bright = _share(crop.canvas.hu > CALCIUM_HU) >= 0.25
    for name in MAYBE_CALCIUM:
        _hush(target, bright, name)
    for name in MAYBE_REAL:
        _hush(target, torch.ones_like(middle), name)


def _anatomy(crop: Crop) -> Tensor:
    """Targets of the anatomy concepts; painted voxels belong to none."""
    anatomy = torch.where(crop.canvas.found > 0, 31, crop.canvas.anatomy)
    unknown = _share(anatomy == CLASSES.index("unknown")) > 0.1
    painted = _share(crop.canvas.found > 0) > TRACE
    bones = [_share(anatomy == CLASSES.index(name)) for name in ("bone", *NAMED_BONES)]
    unnamed = (bones[0] > 0.1) if not any(bool(b.any()) for b in bones[1:]) else bones[0] < 0
    columns = []
    for name in concepts()[len(FINDINGS) + len(unions()) :]:
        share = _share(anatomy == CLASSES.index(name))
        if name == "bone":
            share = torch.stack(bones).sum(dim=0)
        column = (share >= 0.5).to(torch.int8)
        column[(share > 0.1) & (share < 0.5)] = -1
        column[painted & (share < 0.5)] = -1
        if name in NEED_LABELS:
            column[unknown & (column == 0)] = -1
        if name in NAMED_BONES:
            column[unnamed & (column == 0)] = -1
        columns.append(column)
    return torch.stack(columns, dim=1)


def _hush(target: Tensor, where: Tensor, name: str) -> None:
    column = concepts().index(name)
    target[where & (target[:, column] == 0), column] = -1


def _columns(rows: Tensor, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    columns = torch.tensor([concepts().index(name) for name in names])
    return torch.nonzero(rows), columns[None, :]


def _share(mask: Tensor) -> Tensor:
    """Share of each token's eight voxels, flat."""
    return functional.avg_pool3d(mask.float()[None, None], 2).flatten()


def as_arrays(target: Tensor, kind: Tensor, chosen: Tensor) -> tuple[np.ndarray, ...]:
    """Return the chosen rows as small arrays, ready to cross to another process."""
    return (
        chosen.numpy().astype(np.int32),
        target[chosen].numpy().astype(np.int8),
        kind[chosen].numpy().astype(np.int8),
    )
