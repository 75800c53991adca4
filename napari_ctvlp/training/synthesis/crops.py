"""Random crops of training CTs with painted findings, in the tower's own input format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ctvlp.training.data import IGNORE, Chest
from napari_ctvlp.training.synthesis import (
    airway,
    bones,
    decoys,
    diffuse,
    focal,
    graft,
    heart,
    kidney,
    liver,
    pleural,
    scanner,
)
from napari_ctvlp.training.synthesis.canvas import FINDINGS, Canvas, Chance, Painted
from napari_ctvlp.training.synthesis.scanner import image_noise
from napari_ctvlp.training.synthesis.source import SIZE, Source, organ_tokens

Painter = Callable[[Canvas, Chance], Painted | None]


@dataclass(frozen=True)
class Work:
    """How one finding is painted.

    Attributes
    ----------
    painter : callable
    weight : float
        How often it is drawn, relative to its family.
    around : str
        What the crop is centred on; a key of ``Source.spots``.
    """

    painter: Painter
    weight: float
    around: str = "lung"


#: Findings of the chest, and of abdomen and bones, in painting order (diffuse first, focal last).
CHEST = {
    "aortic_aneurysm": Work(heart.aortic_aneurysm, 1.1, "aorta"),
    "emphysema": Work(diffuse.emphysema, 1.2),
    "fibrosis": Work(diffuse.fibrosis, 1.6),
    "ground_glass": Work(diffuse.ground_glass, 1.5),
    "bronchiectasis": Work(airway.bronchiectasis, 1.3),
    "pericardial_effusion": Work(heart.pericardial_effusion, 1.5, "heart"),
    "hiatal_hernia": Work(heart.hiatal_hernia, 1.0, "hiatus"),
    "effusion": Work(pleural.effusion, 1.4, "back"),
    "pneumothorax": Work(pleural.pneumothorax, 0.9, "front"),
    "consolidation": Work(diffuse.consolidation, 1.5),
    "atelectasis": Work(diffuse.atelectasis, 1.6),
    "pleural_thickening": Work(pleural.pleural_thickening, 1.6),
    "lymph_node": Work(focal.lymph_node, 2.2),
    "mass": Work(focal.mass, 3.2),
    "cavity": Work(focal.cavity, 1.6),
    "nodule": Work(focal.nodule, 4.0),
    "calcified_nodule": Work(focal.calcified_nodule, 1.3),
    "aortic_calcification": Work(heart.aortic_calcification, 1.2, "aorta"),
    "coronary_calcification": Work(heart.coronary_calcification, 1.2, "heart"),
}
BELOW = {
    "splenomegaly": Work(liver.splenomegaly, 1.0, "spleen"),
    "vertebral_fracture": Work(bones.vertebral_fracture, 1.2, "spine"),
    "steatosis": Work(liver.steatosis, 0.9, "liver"),
    "ascites": Work(liver.ascites, 1.0, "liver"),
    "hydronephrosis": Work(kidney.hydronephrosis, 1.0, "kidney"),
    "liver_metastasis": Work(liver.liver_metastasis, 1.2, "liver"),
    "liver_cyst": Work(liver.liver_cyst, 1.2, "liver"),
    "kidney_cyst": Work(kidney.kidney_cyst, 1.2, "kidney"),
    "kidney_stone": Work(kidney.kidney_stone, 1.2, "kidney"),
    "gallstone": Work(liver.gallstone, 1.0, "gallbladder"),
    "lytic_lesion": Work(bones.lytic_lesion, 1.3, "bone"),
    "sclerotic_lesion": Work(bones.sclerotic_lesion, 1.3, "bone"),
}
FAMILIES = (CHEST, BELOW)
PAINTERS: dict[str, Work] = {**BELOW, **CHEST}
#: Share of the two families.
SHARES = (0.7, 0.3)
#: Chances of 0, 1, 2, 3 or 4 findings in one crop, and how often chest crops are mirrored.
COUNTS = [0.12, 0.22, 0.28, 0.24, 0.14]
MIRRORED = (0.35, 0.12)
#: What often comes with a finding: lung behind a mass that shuts its bronchus.
COMPANIONS = {"mass": ("consolidation", 0.3)}
#: Where crops go that are not centred for a finding.
ELSEWHERE = (
    {"lung": 0.1, "body": 0.2, "hard": 0.35, "weak": 0.5, "mined": 0.5},
    {"body": 0.4, "liver": 0.2, "kidney": 0.15, "bone": 0.15, "heart": 0.1},
)


@dataclass
class Crop:
    """One crop at 2 mm, IPL order.

    Attributes
    ----------
    canvas : Canvas
        HU after painting and image noise, anatomy, painted findings.
    place : Tensor, shape (4, i/2, p/2, l/2)
        Position channels of the tower.
    flags : Tensor, shape (i, p, l), uint8
        Flags of ``data.py``.
    unknown_findings : bool
        As in the case the crop comes from.
    painted : tuple of Painted
        What was painted.
    organs : Tensor, shape (i/2, p/2, l/2), uint8
        0, or 1 + index in ``ANATOMIES``.
    case : str
        Name of the CT.
    """

    canvas: Canvas
    place: Tensor
    flags: Tensor
    unknown_findings: bool
    painted: tuple[Painted, ...]
    organs: Tensor
    case: str


class CropMaker:
    """Draws crops; the same seed always gives the same crop.

    Parameters
    ----------
    chests : sequence of Chest
    mined : mapping of str to list of (i, p, l), optional
        By case name, 2 mm voxels where an earlier model saw findings that are not there: some
        crops are centred on these, half of them without any finding.
    device : torch.device or str
        Where crops are made and stay.
    """

    def __init__(
        self,
        chests: Sequence[Chest],
        mined: Mapping[str, list[list[int]]] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        places = mined or {}
        self.device = device
        self.sources = [Source(c, places.get(c.case.name, []), device) for c in chests]
        cut_out = (graft.graft_of(chest, device) for chest in chests)
        self.grafts = tuple(one for one in cut_out if one is not None)

    def make(self, seed: int, strength: float = 1.0, findings: Sequence[str] | None = None) -> Crop:
        """Draw one crop.

        Parameters
        ----------
        seed : int
        strength : float
            Augmentation, 0 (none) to 1 (full).
        findings : sequence of str, optional
            Paint these instead of a random choice, and no hard negatives.
        """
        dice = Chance(seed, self.device)
        family = dice.pick(list(SHARES)) if any(map(self.can, BELOW)) else 0
        drawn = draw_findings(dice, family, self.can) if findings is None else list(findings)
        if findings:
            family = int(findings[0] in BELOW)
        around = self._around(dice, drawn, family, sure=findings is not None)
        if around == "mined" and findings is None and dice.chance(0.5):
            drawn = []
        source = self._source(dice, around)
        flip = dice.chance(MIRRORED[family])
        canvas, place, flags, body_mm = source.cut(dice, strength, around, flip)
        canvas.grafts = self.grafts
        scanner.contrast(canvas, dice, strength, source.chest.case)
        organs = organ_tokens(canvas, body_mm, chest=source.chest.case.chest)
        if findings is None:
            decoys.place(canvas, dice)
        painted = paint(canvas, drawn, dice)
        flags = torch.where(canvas.free, flags, flags | (flags == 0) * IGNORE)
        scanner.cut_field(canvas, organs, body_mm, place, dice, strength)
        image_noise(canvas, dice, strength)
        case = source.chest.case
        return Crop(canvas, place, flags, case.unknown_findings, painted, organs, case.name)

    def can(self, finding: str) -> bool:
        """Tell whether any CT has the place a finding needs."""
        around = PAINTERS[finding].around
        return any(source.spots[around].size for source in self.sources)

    def _around(self, dice: Chance, findings: Sequence[str], family: int, *, sure: bool) -> str:
        """Choose what the crop is centred on: the place of the first finding, or elsewhere."""
        likely = 1.0 if sure or family else 0.75
        if findings and self.can(findings[0]) and dice.chance(likely):
            return PAINTERS[findings[0]].around
        names = list(ELSEWHERE[family])
        weights = [
            ELSEWHERE[family][name] * any(s.spots[name].size for s in self.sources)
            for name in names
        ]
        return names[dice.pick(weights)] if sum(weights) else "body"

    def _source(self, dice: Chance, around: str) -> Source:
        weights = [s.chest.case.weight * bool(s.spots[around].size) for s in self.sources]
        return self.sources[dice.pick(weights)]


def draw_findings(dice: Chance, family: int, can: Callable[[str], bool]) -> list[str]:
    """Draw the findings of one crop; the first one decides where the crop lies."""
    names = [name for name in FAMILIES[family] if can(name)]
    weights = [FAMILIES[family][name].weight for name in names]
    drawn = [names[dice.pick(weights)] for _ in range(dice.pick(COUNTS))]
    with_it = [COMPANIONS[name] for name in drawn if name in COMPANIONS]
    return drawn + [name for name, share in with_it if dice.chance(share)]


def paint(canvas: Canvas, findings: Sequence[str], dice: Chance) -> tuple[Painted, ...]:
    """Paint findings in their fixed order; return those that found a place."""
    order = [name for name in PAINTERS for _ in range(list(findings).count(name))]
    painted = [PAINTERS[name].painter(canvas, dice) for name in order]
    return tuple(p for p in painted if p is not None)


__all__ = ["COUNTS", "FINDINGS", "PAINTERS", "SIZE", "Crop", "CropMaker", "image_noise", "paint"]
