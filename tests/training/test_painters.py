"""Each painter on a small body made of arithmetic: place, HU, size and side are as told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_ctvlp.core.geometry import ipl_affine
from napari_ctvlp.models.encoders.mini_grid import ChestBox
from napari_ctvlp.training.data import CLASSES, SIDE_SHIFT, Case, Chest
from napari_ctvlp.training.synthesis import decoys
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, FINDINGS, Canvas, Chance
from napari_ctvlp.training.synthesis.crops import PAINTERS, Crop, CropMaker
from napari_ctvlp.training.synthesis.truth import WAYS, diameter

SHAPE = (112, 104, 128)
#: Ellipsoids (class, HU, organ id, centre, radii) in voxels; later ones win.
ORGANS = [
    ("oesophagus", 35, 15, (50, 66, 66), (40, 4, 4)),
    ("heart", 40, 51, (40, 42, 70), (20, 18, 18)),
    ("liver", 55, 5, (88, 46, 40), (22, 26, 26)),
    ("spleen", 50, 1, (84, 58, 98), (26, 20, 14)),
    ("kidney", 32, 3, (92, 76, 84), (15, 9, 9)),
    ("kidney", 32, 2, (96, 80, 40), (14, 9, 9)),
    ("gallbladder", 10, 4, (96, 26, 46), (8, 7, 6)),
    ("colon", 20, 20, (98, 30, 84), (10, 10, 14)),
    ("aorta", 40, 52, (60, 72, 74), (70, 6, 6)),
]  # fmt: skip
#: HU of the labelled voxels: range of their median.
MEDIAN = {
    "pericardial_effusion": (-10, 40), "coronary_calcification": (120, 1250),
    "aortic_calcification": (120, 1250), "aortic_aneurysm": (0, 80), "liver_cyst": (-15, 30),
    "liver_metastasis": (-30, 45), "steatosis": (-20, 45), "kidney_cyst": (-15, 30),
    "kidney_stone": (150, 1250), "hydronephrosis": (-15, 35), "gallstone": (60, 950),
    "splenomegaly": (20, 80), "ascites": (-15, 40), "lytic_lesion": (0, 110),
    "sclerotic_lesion": (300, 1300), "vertebral_fracture": (150, 600),
    "hiatal_hernia": (-1000, 90), "bronchiectasis": (-1000, 50),
}  # fmt: skip
#: Classes before painting that most of a painting lies in.
INSIDE = {
    "liver_cyst": "liver", "liver_metastasis": "liver", "steatosis": "liver",
    "gallstone": "gallbladder", "kidney_stone": "kidney", "nodule": "lungs",
    "bronchiectasis": "lungs", "emphysema": "lungs", "sclerotic_lesion": "vertebra",
}  # fmt: skip


@pytest.fixture(scope="module")
def body() -> Chest:
    """Lungs, heart, aorta, a spine of five vertebrae and the organs below, in fat."""
    i, p, left = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    radius = np.sqrt(((p - 52) / 50) ** 2 + ((left - 64) / 62) ** 2)
    hu = np.where(radius < 1, np.where(radius < 0.9, -100, 40), -1000)
    classes = np.where(radius < 1, CLASSES.index("soft_tissue"), 0)
    ids, side, depth = (np.zeros(SHAPE, np.int16) for _ in range(3))
    lung_mm = np.full(SHAPE, -100.0)
    for number, middle in ((1, 96), (2, 32)):
        r = np.sqrt(((i - 34) / 34) ** 2 + ((p - 50) / 40) ** 2 + ((left - middle) / 22) ** 2)
        side[r < 1] = number
        lung_mm = np.maximum(lung_mm, 44 * (1 - r))
    vessel = (side > 0) & ((i % 12 < 2) & (p % 12 < 2))
    hu = np.where(side > 0, np.where(vessel, 30, -850), hu)
    classes = np.where(side > 0, CLASSES.index("lungs"), classes)
    classes[vessel] = CLASSES.index("vessel")
    for name, value, number, centre, radii in ORGANS:
        away = sum(((x - c) / r) ** 2 for x, c, r in zip((i, p, left), centre, radii, strict=True))
        inside = (away < 1) & (side == 0)
        hu[inside], classes[inside], ids[inside] = value, CLASSES.index(name), number
    spine = ((p - 88) ** 2 + (left - 64) ** 2 < 100) & (i % 18 < 14)
    hu[spine], classes[spine] = 220, CLASSES.index("vertebra")
    ids[spine] = (38 - i // 18)[spine]
    depth = np.clip(100 * (1 - radius), 0, 120)
    return Chest(
        Case("body", "body", 1.0, organs=True, unknown_findings=False),
        hu.astype(np.int16),
        np.clip(lung_mm, -100, 100).astype(np.int8),
        depth.astype(np.uint8),
        (classes + (side << SIDE_SHIFT)).astype(np.int16),
        ipl_affine((2, 2, 2), (0, 0, 0)),
        ChestBox(np.array([68.0, 100, 128]), np.array([68.0, 80, 108])),
        ids.astype(np.uint8),
    )


class Crops(dict[str, Crop]):
    """One crop per finding, painted without augmentation when first asked for."""

    def __init__(self, body: Chest) -> None:
        self.maker = CropMaker([body])

    def __missing__(self, name: str) -> Crop:
        for seed in range(30):
            crop = self.maker.make(seed, 0.0, [name])
            if crop.painted and int(_labelled(crop, name).sum()) > 6:
                self[name] = crop
                return crop
        raise AssertionError(f"{name} was never painted")


@pytest.fixture(scope="module")
def crops(body: Chest) -> Crops:
    return Crops(body)


def _labelled(crop: Crop, name: str) -> torch.Tensor:
    return crop.canvas.found == FINDINGS.index(name) + 1


def test_every_finding_has_a_painter():
    assert set(PAINTERS) == set(FINDINGS)


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_told_is_true(crops: Crops, name: str):
    crop = crops[name]
    (told,) = crop.painted
    assert told.finding == name
    assert told.organ in ANATOMIES
    across = float(crop.canvas.across[_labelled(crop, name)].mean())
    if told.side:
        assert (across > 0) == (told.side == "left")
    if told.organ.startswith(("lung", "kidney")):
        assert told.organ.endswith(told.side)
    if not math.isnan(told.size_mm) and name not in ("liver_cyst", "liver_metastasis"):
        spots = torch.nonzero(_labelled(crop, name))
        assert told.size_mm <= diameter(spots) + 1e-3
        assert told.size_mm >= 0.5 * diameter(spots) or name in ("aortic_aneurysm", "gallstone")


@pytest.mark.parametrize("name", MEDIAN)
def test_hu_are_physical(crops: Crops, name: str):
    low, high = MEDIAN[name]
    assert low <= float(crops[name].canvas.hu[_labelled(crops[name], name)].median()) <= high


@pytest.mark.parametrize("name", INSIDE)
def test_a_painting_lies_in_its_organ(crops: Crops, name: str):
    crop = crops[name]
    classes = crop.canvas.anatomy[_labelled(crop, name)]
    inside = classes == CLASSES.index(INSIDE[name])
    if INSIDE[name] == "lungs":
        inside = inside | (classes == CLASSES.index("vessel"))
    assert float(inside.float().mean()) > 0.8


def test_sides_and_organ_ids_are_mirrored_with_the_crop(body: Chest):
    """A cyst of the kidney is told on the side where it lies, mirrored or not."""
    maker, seen = CropMaker([body]), set()
    for seed in range(16):
        crop = maker.make(seed, 0.0, ["kidney_cyst"])
        for told in crop.painted:
            spots = crop.canvas.across[_labelled(crop, "kidney_cyst")]
            assert (float(spots.mean()) > 0) == (told.side == "left")
        for number, sign in ((3, 1), (2, -1)):
            kidney = crop.canvas.across[crop.canvas.ids == number]
            assert not kidney.numel() or float(kidney.mean()) * sign > 0
        liver = crop.canvas.across[crop.canvas.anatomy == CLASSES.index("liver")]
        seen.add(bool(liver.numel()) and float(liver.mean()) > 0)
    assert seen == {True, False}


def test_the_same_seed_paints_the_same_abdomen(body: Chest):
    first, again = (CropMaker([body]).make(7, 1.0, ["hydronephrosis"]) for _ in range(2))
    assert first.painted == again.painted
    assert torch.equal(first.canvas.hu, again.canvas.hu)


def test_tokens_know_their_organ(crops: Crops):
    for name, organ in (("steatosis", "liver"), ("kidney_stone", "kidney"), ("nodule", "lung")):
        crop = crops[name]
        (told,) = crop.painted
        where = _labelled(crop, name)[1::2, 1::2, 1::2]
        numbers = crop.organs[where]
        assert crop.organs.shape == (40, 40, 40)
        assert told.organ.startswith(organ)
        same = numbers == ANATOMIES.index(told.organ) + 1
        assert not numbers.numel() or float(same.float().mean()) > 0.5


def test_decoys_leave_no_label(body: Chest):
    maker, changed = CropMaker([body]), 0
    for seed in range(6):
        canvas: Canvas = maker.make(seed, 0.0, []).canvas
        before = canvas.hu.clone()
        dice = Chance(seed)
        for _ in range(4):
            decoys.healthy_patch(canvas, dice)
        decoys.tube(canvas, dice)
        changed += int(not torch.equal(before, canvas.hu))
        assert not canvas.found.any()
    assert changed > 3


def test_a_diameter_is_the_longest_extent():
    ball = torch.tensor([[i, 0, 0] for i in range(5)])
    assert diameter(ball) == pytest.approx(10.0)
    assert diameter(torch.zeros(1, 3)) == pytest.approx(2.0)
    assert len(WAYS) == 13


def test_a_crop_tells_its_case(crops: Crops):
    assert crops["nodule"].case == "body"
