"""Heads for the user's labels: what they learn, what they refuse, what is kept of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.protocol import Compute, Encoder
from napari_ctvlp.models.segmenters.classical import ClassicalSegmenter
from napari_ctvlp.models.store import load_encoder
from napari_ctvlp.training.finetune import (
    Tuned,
    auroc,
    calibrate,
    check_labels,
    finetune,
    folds_of,
    weights_of,
)
from napari_ctvlp.training.headfile import CARD, HEAD, fit_manifest, load_head, save_head
from napari_ctvlp.training.heads import MODES, Mode, Recipe, imbalance, loss_of, new_head
from napari_ctvlp.training.phantom_studies import studies, study_hu
from napari_ctvlp.training.trunks import Example, TokenTail, TowerTail, example, tail_of

NAN = float("nan")
QUICK = Recipe(members=2, steps=24, checks=3)


def toy(count: int = 16, width: int = 8, seed: int = 0) -> list[Example]:
    """Studies of random tokens; one token of a positive one points along the first axis."""
    dice = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        cells = torch.randn(width, 4, 4, 4, generator=dice)
        if number % 2:
            cells[0, 1, 2, 3] += 9
        inside = torch.ones(4, 4, 4, dtype=torch.bool)
        labels = torch.tensor([float(number % 2), float(number % 2) if number % 3 else NAN])
        made.append(Example(str(number), f"p{number // 2}", cells.half(), inside, labels, 0.5))
    return made


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.set_num_threads(1)
    return load_encoder("mini", Compute())


def test_the_tail_gives_the_towers_own_tokens(encoder: Encoder):
    tower = encoder.tower  # type: ignore[attr-defined]
    (study,) = studies(tower, "halo", 1)
    hu, _ = study_hu("halo", 0, 0)
    kept: list[Tensor] = []
    hook = tower.register_forward_hook(lambda _, __, out: kept.append(out))
    again = studies(tower, "halo", 1)[0]
    hook.remove()
    assert hu.shape == (40, 40, 40)
    assert torch.equal(study.cells, again.cells)
    tokens = TowerTail(tower)(study.cells[None].float())
    torch.testing.assert_close(tokens.detach(), kept[0].clone(), atol=0.05, rtol=0.05)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_tuned_head_beats_the_linear_head_from_sixteen_studies(encoder: Encoder):
    """By a halo, which the trunk's tokens hardly hold; benchmarks/finetune.py has three seeds.

    The other sign, an atoll, the linear head reads from these weights' tokens by itself (.99).
    """
    tower = encoder.tower  # type: ignore[attr-defined]
    train, test = studies(tower, "halo", 16), studies(tower, "halo", 100, 1_000_000)
    truth = torch.cat([study.labels for study in test])
    found = {}
    for mode in MODES:
        tuned = finetune(train, ["sign"], Recipe(mode=mode), TowerTail(tower))
        found[mode] = auroc(tuned.probabilities(test)[0][:, 0], truth)
    assert found["tuned"] > found["frozen"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_tuned_head_learns_a_sign_from_sixteen_studies(encoder: Encoder):
    tower = encoder.tower  # type: ignore[attr-defined]
    train, test = studies(tower, "atoll", 16), studies(tower, "atoll", 40, 1_000_000)
    tuned = finetune(train, ["sign"], Recipe(), TowerTail(tower))
    truth = torch.cat([study.labels for study in test])
    assert auroc(tuned.probabilities(test)[0][:, 0], truth) >= 0.8


@pytest.mark.parametrize(("mode", "least"), [("frozen", 0.7), ("tuned", 0.9)])
def test_tokens_of_any_encoder_will_do(mode: Mode, least: float):
    tuned = finetune(toy(), ["a", "b"], replace(QUICK, mode=mode, steps=60))
    means, spreads = tuned.probabilities(toy(40, seed=1))
    truth = torch.stack([study.labels for study in toy(40, seed=1)])
    assert auroc(means[:, 0], truth[:, 0]) > least
    assert means.shape == spreads.shape == (40, 2)
    assert float(means.min()) > 0
    assert float(means.max()) < 1
    assert float(spreads.max()) > 0
    assert tuned.report["studies"] == 16
    assert tuned.report["patients"] == 8


def test_the_same_seed_gives_the_same_head():
    first, second = (finetune(toy(), ["a", "b"], QUICK).probabilities(toy())[0] for _ in "12")
    other = finetune(toy(), ["a", "b"], replace(QUICK, seed=1)).probabilities(toy())[0]
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_no_patient_is_on_both_sides_and_everyone_is_held_out_once():
    made = toy(24)
    folds = folds_of(made, Recipe())
    assert set.union(*folds) == {study.patient for study in made}
    assert sum(len(fold) for fold in folds) == 12
    fixed = [replace(study, split="validation" if study.id < "2" else "") for study in made]
    assert set.union(*folds_of(fixed, Recipe())) < {study.patient for study in made}


def test_test_rows_are_never_learnt_from():
    made = toy(20)
    kept = [*made[:16], *(replace(s, cells=s.cells * NAN, split="test") for s in made[16:])]
    assert finetune(kept, ["a", "b"], QUICK).report["studies"] == 16


def test_too_few_patients_are_refused_for_every_label():
    made = [replace(study, labels=torch.tensor([0.0, 1.0])) for study in toy()]
    with pytest.raises(InputRefused, match="a: 0 patients with it") as caught:
        check_labels(made, ["a", "b"])
    assert "b: 0 patients without it" in caught.value.found


def test_labels_nobody_gave_cost_nothing_and_rare_ones_weigh_more():
    logits = torch.tensor([[3.0, -1.0], [0.5, 2.0]])
    labels = torch.tensor([[1.0, NAN], [NAN, 0.0]])
    by_hand = (np.log1p(np.exp(-3.0)) + np.log1p(np.exp(2.0))) / 2
    assert float(loss_of(logits, labels)) == pytest.approx(by_hand, rel=1e-5)
    counts = imbalance(torch.tensor([[1.0], [0.0], [0.0], [0.0], [NAN]]))
    assert counts.tolist() == [3.0]


def test_calibration_calms_boasting_logits():
    dice = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(4000, 1, generator=dice)
    labels = (torch.rand(4000, 1, generator=dice) < torch.sigmoid(honest)).float()
    slope, offset = calibrate(5 * honest[:, None] + 3, labels)
    assert float(slope) == pytest.approx(0.2, abs=0.03)
    assert float(offset) == pytest.approx(-0.6, abs=0.15)


def test_of_two_parts_of_a_head_the_one_that_knows_counts_more():
    dice = torch.Generator().manual_seed(0)
    honest, noise = (torch.randn(400, 1, 1, generator=dice) for _ in "12")
    labels = (torch.rand(400, 1, generator=dice) < torch.sigmoid(2 * honest[:, 0])).float()
    slope, _ = calibrate(torch.cat([noise, honest], 1), labels)
    assert float(slope[1]) == pytest.approx(2, abs=0.5)
    assert float(slope[0]) < 0.3


def test_the_adapter_begins_as_nothing():
    cells = torch.randn(1, 8, 4, 4, 4)
    assert torch.equal(TokenTail(8)(cells), cells)
    assert new_head("tuned", None, 8, 2)(toy(1)[0])[1].tolist() == [0.0, 0.0]


def test_a_scan_goes_through_trunk_head_and_file(encoder: Encoder, tmp_path: Path):
    scan = phantom((52, 56, 60), (5.0, 5.0, 6.0))
    anatomy = ClassicalSegmenter().segment(scan, compute=Compute())
    one = example(encoder, scan, anatomy, ["lung_right"], name="s")
    made = [
        replace(one, id=str(n), patient=str(n), labels=torch.tensor([float(n % 2)]))
        for n in range(8)
    ]
    fitted = finetune(made, ["sign"], replace(QUICK, steps=2, checks=1), tail_of(encoder))
    tuned = replace(
        fitted, organs=("lung_right",), model=encoder.card.id, weights=weights_of(encoder)
    )
    save_head(tuned, tmp_path)
    back = load_head(tmp_path, encoder)
    assert back.apply(encoder, scan, anatomy) == tuned.apply(encoder, scan, anatomy)
    other = replace(tuned, weights="0" * 64)
    with pytest.raises(InputRefused, match="mini has the weights"):
        other.apply(encoder, scan, anatomy)
    with pytest.raises(InputRefused, match="found none of them"):
        example(encoder, scan, anatomy, ["pancreas"])


def toy_file(folder: Path) -> Tuned:
    tuned = finetune(toy(), ["a", "b"], replace(QUICK, steps=4))
    save_head(tuned, folder)
    return tuned


class Hosted:
    """An encoder without a tower: nothing but the name of the protocol is used here."""


def test_a_spoilt_head_is_refused(tmp_path: Path):
    tuned = toy_file(tmp_path)
    back = load_head(tmp_path, Hosted())  # type: ignore[arg-type]
    assert torch.equal(back.probabilities(toy())[0], tuned.probabilities(toy())[0])
    raw = bytearray((tmp_path / HEAD).read_bytes())
    raw[-1] ^= 1
    (tmp_path / HEAD).write_bytes(raw)
    with pytest.raises(ModelRefused, match="has the SHA-256"):
        load_head(tmp_path, Hosted())  # type: ignore[arg-type]
    (tmp_path / CARD).unlink()
    with pytest.raises(ModelRefused, match="cannot be used"):
        load_head(tmp_path, Hosted())  # type: ignore[arg-type]


def test_a_bad_manifest_or_mode_ends_before_the_model_is_loaded(tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("id,ct,finding:sign\na,none.nii.gz,1\n")
    with pytest.raises(InputRefused, match="there is no CT"):
        fit_manifest(tmp_path / "manifest.csv", tmp_path / "out")
    with pytest.raises(InputRefused, match="one of frozen, tuned"):
        fit_manifest(tmp_path / "manifest.csv", tmp_path / "out", mode="melted")
    assert not (tmp_path / "out").exists()


def test_the_tower_is_not_changed(encoder: Encoder):
    tower = encoder.tower  # type: ignore[attr-defined]
    assert isinstance(tower, Tower)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    finetune(studies(tower, "halo", 8), ["s"], replace(QUICK, steps=3, checks=1), TowerTail(tower))
    assert all(torch.equal(before[name], value) for name, value in tower.state_dict().items())
