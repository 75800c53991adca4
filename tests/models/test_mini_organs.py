"""The anatomy segmenter: places, sides, plausibility, weights, and a training run of seconds."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ctvlp.core import phantom as chest
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import from_ipl, oriented_affine, to_ipl, transform
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.segmenters.mini import ORGANS, WEIGHTS, AnatomySegmenter, load, reliability
from napari_ctvlp.models.segmenters.mini_atlas import fused
from napari_ctvlp.models.segmenters.mini_net import CLASSES, OrganNet, inputs
from napari_ctvlp.models.segmenters.plausible import judge, ranges
from napari_ctvlp.training.organ_crops import Dice, Loaded, draw
from napari_ctvlp.training.organ_data import IGNORE, OrganCase, on_four_mm
from napari_ctvlp.training.organs import Plan, Run, atlas_of, export, loss_of, weights_of

#: Organs whose place in a chest nobody disputes, and the letter of their patient side.
SIDED = {"lung_left": -1, "lung_right": 1, "liver": 1, "spleen": -1}


def as_scan(hu: np.ndarray, affine: np.ndarray) -> Scan:
    view, ipl = to_ipl(hu, affine)
    return Scan(view, ipl, Source((), hu.shape, affine), ScanMeta("CT", "test", "HU"))


def centre(anatomy: AnatomyMap, name: str) -> np.ndarray:
    return transform(anatomy.affine, np.argwhere(anatomy.mask(name))).mean(axis=0)


@functools.cache
def case() -> OrganCase:
    """Return the phantom as a labelled CT: two lungs, a heart, a liver and the rest."""
    scan = chest.phantom((48, 44, 60), (6.0, 6.4, 6.2))
    hu, affine = on_four_mm(scan)
    points = transform(affine, np.moveaxis(np.indices(hu.shape), 0, -1)).astype(np.float32)
    axes = points[..., 0], points[..., 1], points[..., 2]
    labels = np.zeros(hu.shape, np.uint8)
    for name, x in (("lung_left", -74), ("lung_right", 74)):
        labels[chest.Blob(0, (x, 0, 5), (54, 80, 118), power=2.5).holds(axes)] = CLASSES.index(name)
    labels[chest.Blob(0, (60, 5, -128), (74, 82, 72)).holds(axes)] = CLASSES.index("liver")
    labels[chest.Blob(0, (-22, 25, -45), (52, 42, 48)).holds(axes)] = CLASSES.index("heart")
    return OrganCase("phantom", hu, hu, labels, hu > -500, affine)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with weights of a training run of a few steps."""
    folder = tmp_path_factory.mktemp("weights")
    Run([case()], Plan(steps=4, size=16, warm=1, clean=1, ramp=3, labelled=0), folder).train(2)
    export(folder, case(), folder)
    return folder


def test_training_leaves_weights_that_the_segmenter_loads(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    net, atlas = load(trained / WEIGHTS, Compute())
    assert sum(p.numel() for p in net.parameters()) < 3_000_000
    hu, labels, _ = atlas_of(case())
    assert np.array_equal(atlas.labels, labels)
    assert atlas.mask("heart").sum() == (case().labels == CLASSES.index("heart")).sum()
    assert np.abs(atlas.hu - hu.clip(-1024, 506)).max() <= 3.01


def test_a_broken_run_goes_on_to_the_same_weights(trained: Path, tmp_path: Path) -> None:
    plan = Plan(steps=4, size=16, warm=1, clean=1, ramp=3, labelled=0)
    first = Run([case()], plan, tmp_path)
    first._step()
    first._step()
    first.save()
    Run([case()], plan, tmp_path).train(2)
    ends = [torch.load(f / "checkpoint.pt", weights_only=True) for f in (trained, tmp_path)]
    for name, value in ends[0]["mean"].items():
        assert torch.equal(value, ends[1]["mean"][name]), name


def test_a_run_begins_with_a_checkpoint_or_with_what_was_shipped(trained: Path) -> None:
    """Shipping takes half of the class weights back and rounds to half precision."""
    mean, shipped = (weights_of(trained / name) for name in ("checkpoint.pt", WEIGHTS))
    assert mean.keys() == shipped.keys()
    for name, value in mean.items():
        torch.testing.assert_close(shipped[name], value, atol=2e-3, rtol=2e-3)


def test_one_crop_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    net, crop = OrganNet(), draw([Loaded(case())], 16, 0.0, Dice(3))
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3)
    losses = []
    for _ in range(25):
        loss = loss_of(net(inputs(crop.hu[None], crop.place[None])), crop.labels[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_the_unknown_has_no_gradient() -> None:
    logits = torch.randn(1, len(CLASSES), 4, 4, 4, requires_grad=True)
    labels = torch.full((1, 4, 4, 4), IGNORE)
    labels[0, :2] = 7
    loss_of(logits, labels).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, 2:].any()
    assert logits.grad[:, :, :2].any()


def test_mirrored_crops_change_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_ctvlp.training.organ_crops.MIRRORED", 1e9)
    crop = draw([Loaded(case())], 32, 1e-6, Dice(0))
    monkeypatch.setattr("napari_ctvlp.training.organ_crops.MIRRORED", 0.0)
    plain = draw([Loaded(case())], 32, 1e-6, Dice(0))
    left, right = (CLASSES.index(f"lung_{side}") for side in ("left", "right"))
    assert torch.equal(crop.labels.flip(-1) == left, plain.labels == right)
    assert torch.allclose(crop.place[1].flip(-1), -plain.place[1])


@pytest.mark.parametrize("code", ["RAS", "LPS", "SAR"])
def test_orientation_changes_nothing(trained: Path, code: str) -> None:
    shape, steps = (40, 36, 48), (7.0, 7.4, 7.2)
    plain = AnatomySegmenter(trained).segment(chest.phantom(shape, steps))
    target = oriented_affine(code, (1, 1, 1), (1, 1, 1))
    scan = chest.phantom(shape, steps)
    turned = from_ipl(np.ascontiguousarray(scan.hu), target)
    order = [abs(target[:3, axis]).argmax() for axis in range(3)]
    sizes = [steps[2 - row] for row in order]
    anatomy = AnatomySegmenter(trained).segment(
        as_scan(turned, oriented_affine(code, turned.shape, sizes))
    )
    assert np.array_equal(anatomy.labels, plain.labels)


def test_same_bits_on_any_number_of_threads(trained: Path) -> None:
    scan, before = chest.phantom((40, 36, 48), (7.0, 7.4, 7.2)), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(AnatomySegmenter(trained).segment(scan).labels)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("harm", ["cut", "nan", "other"])
def test_corrupt_weights_are_refused(trained: Path, tmp_path: Path, harm: str) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(trained / WEIGHTS)
    if harm == "nan":
        state["stem.weight"][0] = float("nan")
    if harm == "other":
        state["stem.weight"] = state["stem.weight"][:4].clone()
    save_file(state, tmp_path / WEIGHTS)
    if harm == "cut":
        whole = (trained / WEIGHTS).read_bytes()
        (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelRefused) as refusal:
        AnatomySegmenter(tmp_path).segment(chest.phantom((40, 36, 48), (7.0, 7.4, 7.2)))
    assert refusal.value.code == "corrupt-weights"


def blob(shape: tuple[int, int, int], middle: tuple[int, int, int], radius: float) -> np.ndarray:
    away = np.indices(shape) - np.array(middle)[:, None, None, None]
    return np.asarray((away**2).sum(axis=0) <= radius**2)


def judged(**masks: np.ndarray):
    shape = next(iter(masks.values())).shape
    chances = {name: np.where(mask, 0.9, 0).astype(np.float32) for name, mask in masks.items()}
    middle = np.full(shape[0], shape[2] / 2)
    return judge(masks, chances, np.full(shape, 60.0, np.float32), middle, 0.064)


SHAPE = (60, 50, 80)


def test_an_implausible_volume_is_said_in_words() -> None:
    big = judged(spleen=blob(SHAPE, (40, 25, 60), 15), heart=blob(SHAPE, (15, 20, 42), 12))
    assert not big.doubtful
    small = judged(spleen=blob(SHAPE, (40, 25, 60), 5))
    assert "33 ml, expected 60 to 1500" in small.doubtful["spleen"]
    first = AnatomyMap(np.zeros((1, 1, 1), np.uint8), np.eye(4), (), "classical", "Shape only.")
    words = reliability(first, small)
    assert "Doubtful: spleen (33 ml, expected" in words
    assert "Rough, seldom right in a patient it has not learned from: spleen." in words


def test_an_organ_of_another_tissue_is_left_out() -> None:
    mask = blob(SHAPE, (40, 25, 60), 9)
    chances = {"spleen": np.where(mask, 0.9, 0).astype(np.float32)}
    fat = np.full(SHAPE, -90, np.float32)
    found = judge({"spleen": mask}, chances, fat, np.full(SHAPE[0], 40.0), 0.064)
    assert found.left_out["spleen"] == "mean -90 HU, expected 0 to 260"


def test_a_cut_organ_may_be_small() -> None:
    assert not judged(liver=blob(SHAPE, (59, 25, 20), 9)).doubtful


def test_what_lies_on_the_other_side_or_too_high_is_left_out() -> None:
    found = judged(
        heart=blob(SHAPE, (20, 20, 42), 12),
        spleen=blob(SHAPE, (40, 25, 15), 9),
        liver=blob(SHAPE, (8, 25, 20), 14),
        kidney_left=blob(SHAPE, (48, 30, 62), 8),
    )
    assert set(found.masks) == {"heart", "kidney_left"}
    assert "other side" in found.left_out["spleen"]
    assert "above the heart" in found.left_out["liver"]


def test_of_two_pieces_the_likelier_one_is_the_organ() -> None:
    spleen = blob(SHAPE, (40, 25, 60), 9) | blob(SHAPE, (3, 25, 70), 4)
    found = judged(spleen=spleen)
    assert not found.masks["spleen"][:10].any()


def test_what_the_network_is_not_sure_of_is_left_out() -> None:
    mask = blob(SHAPE, (40, 25, 60), 9)
    chances = {"spleen": np.where(mask, 0.3, 0).astype(np.float32)}
    hu = np.full(SHAPE, 50, np.float32)
    found = judge({"spleen": mask}, chances, hu, np.full(SHAPE[0], 40.0), 0.064)
    assert "not sure" in found.left_out["spleen"]


def test_the_atlas_counts_only_where_it_reaches() -> None:
    chances = {name: np.full((1, 1, 2), 1 / len(CLASSES), np.float32) for name in CLASSES}
    atlas = {"heart": np.ones((1, 1, 2), np.float32)}
    both = fused(chances, atlas, np.array([[[True, False]]]))
    assert both["heart"][0, 0, 0] > 0.5
    assert both["heart"][0, 0, 1] == pytest.approx(1 / len(CLASSES))
    assert np.sum(list(both.values()), axis=0) == pytest.approx(1)


def test_every_organ_has_a_house_name_and_a_range_in_order() -> None:
    assert {name for _, name in ORGANS} <= set(places())
    for rule in ranges().values():
        assert rule.least < rule.ml[0] < rule.ml[1]
        assert rule.hu[0] < rule.hu[1]


def test_the_sample_has_its_organs_where_they_belong(sample: Path) -> None:
    import nibabel

    image = nibabel.load(sample)
    scan = as_scan(np.asanyarray(image.dataobj), image.affine)
    store.verify(store.card("anatomy"))
    anatomy = AnatomySegmenter().segment(scan)
    middle = centre(anatomy, "vertebrae")[0]
    for name, side in SIDED.items():
        assert side * (centre(anatomy, name)[0] - middle) > 20, name
    assert centre(anatomy, "liver")[2] < centre(anatomy, "heart")[2]
    assert centre(anatomy, "aorta")[1] < centre(anatomy, "heart")[1]
    assert 250 < anatomy.by_name["heart"].ml < 600
    assert 700 < anatomy.by_name["liver"].ml < 1400
    assert anatomy.by_name["bones"].ml < anatomy.mask("bones").sum() * scan.voxel_ml
