"""Painted findings are what their labels say, and real ones are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ctvlp.training.data import FLAG_SHIFT, WEAK_MASS, Chest
from napari_ctvlp.training.synthesis import focal
from napari_ctvlp.training.synthesis.canvas import FINDINGS, Chance
from napari_ctvlp.training.synthesis.crops import PAINTERS, CropMaker
from napari_ctvlp.training.targets import choose, concepts, targets
from napari_ctvlp.training.whole import painted_chest

#: Findings darker than lung; their core is the darkest tenth, elsewhere the brightest.
AIRY = ("pneumothorax", "emphysema")
#: Layers are judged where they are thick: thin ones are all edge.
LAYERS = ("effusion", "pneumothorax")
#: HU that the core of each finding must have.
HU = {
    "nodule": (-260, 160), "mass": (-20, 140), "calcified_nodule": (100, 1050),
    "consolidation": (-60, 160), "ground_glass": (-760, -250), "effusion": (-60, 80),
    "pneumothorax": (-1030, -960), "emphysema": (-1010, -920), "atelectasis": (-290, 170),
    "fibrosis": (-900, 0), "pleural_thickening": (0, 510), "lymph_node": (0, 110),
    "cavity": (-400, 110),
}  # fmt: skip


@pytest.fixture(scope="module")
def maker(small_chest: Chest) -> CropMaker:
    return CropMaker([small_chest])


@pytest.fixture(scope="module")
def tumour_chest(small_chest: Chest) -> Chest:
    """The small chest with a tumour of 28 mm and 67 HU, drawn in the right lung."""
    i, p, left = np.meshgrid(*[np.arange(n) for n in small_chest.hu.shape], indexing="ij")
    tumour = (i - 44) ** 2 + (p - 48) ** 2 + (left - 32) ** 2 < 49
    return replace(
        small_chest,
        hu=np.where(tumour, np.int16(67), small_chest.hu),
        labels=small_chest.labels | np.where(tumour, np.int16(WEAK_MASS << FLAG_SHIFT), 0),
    )


def _painted(maker: CropMaker, name: str):
    for seed in range(40):
        crop = maker.make(seed, 0.0, [name])
        inside = crop.canvas.found == FINDINGS.index(name) + 1
        if int(inside.sum()) > (9000 if name in LAYERS else 30):
            return crop, inside
    raise AssertionError(f"{name} was never painted")


@pytest.mark.parametrize("name", HU)
def test_a_finding_has_its_hu_and_only_its_own_label(maker: CropMaker, name: str):
    crop, inside = _painted(maker, name)
    low, high = HU[name]
    values = crop.canvas.hu[inside]
    assert low <= float(values.quantile(0.1 if name in AIRY else 0.9)) <= high
    others = set(torch.unique(crop.canvas.found).tolist()) - {0, FINDINGS.index(name) + 1}
    assert others <= {FINDINGS.index("atelectasis") + 1 if name == "effusion" else 0}


def test_every_finding_has_a_painter_and_a_concept():
    assert set(PAINTERS) == set(FINDINGS)
    assert concepts()[: len(FINDINGS)] == FINDINGS


def test_the_same_seed_gives_the_same_crop(maker: CropMaker):
    first, again, other = maker.make(5), maker.make(5), maker.make(6)
    assert torch.equal(first.canvas.hu, again.canvas.hu)
    assert torch.equal(first.canvas.found, again.canvas.found)
    assert not torch.equal(first.canvas.hu, other.canvas.hu)


def test_mirroring_swaps_the_sides_and_the_position_together(maker: CropMaker):
    """Whatever the augmentation did, side 1 lies where the L position is positive."""
    for seed in range(8):
        crop = maker.make(seed, 0.0, [])
        for number, sign in ((1, 1), (2, -1)):
            across = crop.canvas.across[crop.canvas.side == number]
            if across.numel() > 500:
                assert float((across * sign > 0).float().mean()) > 0.95


def test_tokens_of_a_painted_nodule_are_positive_and_say_nothing_about_mass(maker: CropMaker):
    crop, _ = _painted(maker, "nodule")
    target, kind = targets(crop)
    here = kind == FINDINGS.index("nodule")
    assert here.any()
    assert (target[here, concepts().index("nodule")] == 1).all()
    assert (target[here, concepts().index("lesion")] == 1).all()
    assert (target[here, concepts().index("mass")] == -1).all()
    assert (target[here, concepts().index("effusion")] == 0).all()
    assert (target[here, concepts().index("lungs")] != 0).all()


def test_a_left_out_finding_is_neither_positive_nor_negative(small_chest: Chest):
    """Every crop that sees it says nothing there, also when something is painted over it."""
    maker = CropMaker([small_chest])
    seen = 0
    for seed in range(25):
        crop = maker.make(seed)
        target, kind = targets(crop)
        flags = torch.nn.functional.max_pool3d(crop.flags.float()[None, None], 2).flatten() > 0
        seen += int(flags.sum())
        assert (target[flags][:, :15] == -1).all()
        assert (kind[flags] == -1).all()
    assert seen > 200


def test_nothing_is_centred_on_a_left_out_finding(small_chest: Chest):
    for seed in range(6):
        painted = painted_chest(small_chest, "calcified_nodule", seed)
        if painted is not None:
            centre = np.argwhere(painted.truth).mean(axis=0)
            assert np.linalg.norm(2 * centre - np.array([44, 48, 80])) > 6


def test_the_loss_takes_lesion_tokens_first(maker: CropMaker):
    crop, _ = _painted(maker, "mass")
    target, kind = targets(crop)
    chosen = choose(crop, target, kind, torch.Generator().manual_seed(0))
    assert len(set(chosen.tolist())) == len(chosen)
    assert int((kind[chosen] >= 0).sum()) == min(7000, int((kind >= 0).sum()))


def test_a_real_tumour_is_set_in_elsewhere_with_its_own_hu(tumour_chest: Chest, monkeypatch):
    """Turned and scaled; labelled as a mass, its edge into lung comes along and is not."""
    monkeypatch.setattr(focal, "GRAFTED", 1.0)
    maker = CropMaker([tumour_chest])
    assert len(maker.grafts) == 1
    assert maker.grafts[0].size_mm == pytest.approx(28, abs=1)
    sizes = []
    for seed in range(12):
        crop = maker.make(seed, 0.0, ["mass"])
        inside = crop.canvas.found == FINDINGS.index("mass") + 1
        if not inside.any():
            continue
        assert float(crop.canvas.hu[inside].median()) == pytest.approx(67, abs=30)
        rim = torch.nn.functional.max_pool3d(inside.float()[None, None], 3, 1, 1)[0, 0] > 0
        rim &= ~inside & (crop.canvas.side > 0)
        assert float(crop.canvas.hu[rim].mean()) < -200
        assert [p.finding for p in crop.painted] == ["mass"]
        sizes.append(crop.painted[0].size_mm)
    assert len(sizes) > 6
    assert max(sizes) > 1.3 * min(sizes)


def test_without_a_drawn_tumour_there_is_nothing_to_set_in(small_chest: Chest):
    assert CropMaker([small_chest]).grafts == ()


def test_noise_has_unit_spread():
    field = Chance(3).noise((24, 30, 36), 10.0)
    assert field.shape == (24, 30, 36)
    assert abs(float(field.std()) - 1) < 0.01
