"""The objectives as the trainer sees them: small batches, a memory, exact resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.training.batch import Batch, Sentences
from napari_ctvlp.training.objectives import biud, elvis, fvlm
from napari_ctvlp.training.objectives.reports import finding_set, members, report_of
from napari_ctvlp.training.objectives.teacher import Bank, Expert, hit_rate, load, save

T = 6
PLUGS = [
    lambda: fvlm.Objective(past=8, least=2),
    lambda: biud.Objective(past=8),
    *[lambda r=r: elvis.Objective(r, past=8) for r in ("preserve", "targets", "gram")],
]


def sentences(seed: int, organs: list[int], meaning: list[int]) -> Sentences:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(organs), 384, generator=generator)
    texts = tuple(f"{o} {m}" for o, m in zip(organs, meaning, strict=True))
    unit = functional.normalize(vectors, dim=1)
    return Sentences(texts, unit, torch.tensor(organs), torch.tensor(meaning))


def batch(seed: int, crops: int = 2, *, said: bool = True, meaning: int | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    tokens = 8 * functional.normalize(torch.randn(crops, 64, T, T, T, generator=generator), dim=1)
    organs = torch.zeros(crops, T, T, T, dtype=torch.uint8)
    organs[:, 1:3], organs[:, 3:5] = 1, 4
    kinds = [seed + n if meaning is None else meaning for n in range(crops)]
    reports = [sentences(seed + n, [0, 3, 3], [k, 0, 0]) for n, k in enumerate(kinds)]
    nothing = torch.zeros(0)
    return Batch(
        hu=nothing, place=nothing, rows=(), organs=organs if said else None,
        sentences=tuple(reports) if said else (), radiographs=None,
        tokens=tokens.requires_grad_(),
        pre=torch.randn(crops, 96, T, T, T, generator=generator).requires_grad_(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = torch.Generator().manual_seed(0)
    vectors = [
        functional.normalize(torch.randn(5, c, generator=generator), dim=1) for c in (64, 384)
    ]
    path = tmp_path_factory.mktemp("bank") / "expert.pt"
    save(path, Expert(8), Bank(*vectors, torch.tensor([0, 1, 2, 3, 4])), {"seed": 0})
    return path


@pytest.mark.parametrize("make", PLUGS)
def test_gradients_reach_tower_and_heads(make):
    plug, seen = make(), batch(1)
    loss = plug.loss(seen)
    loss.backward()
    assert loss > 0
    assert seen.tokens.grad.abs().sum() > 0
    assert seen.pre.grad is None
    heads = dict(plug.parts().named_parameters())
    assert {name for name, p in heads.items() if p.grad is None} == set()


@pytest.mark.parametrize("make", PLUGS[:2])
def test_without_a_report_there_is_nothing_to_learn(make):
    loss = make().loss(batch(2, said=False))
    assert float(loss) == 0
    assert not loss.requires_grad


@pytest.mark.parametrize("make", PLUGS[:2])
def test_one_crop_learns_from_the_second_step_on(make):
    plug = make()
    assert float(plug.loss(batch(3, 1))) == 0
    second = plug.loss(batch(4, 1))
    assert second > 0
    assert second.requires_grad


@pytest.mark.parametrize("make", PLUGS)
def test_a_resumed_plug_goes_on_exactly(make):
    torch.manual_seed(0)
    first, second = make(), make()
    first.loss(batch(5))
    first.loss(batch(6))
    second.parts().load_state_dict(first.parts().state_dict())
    state = torch.get_rng_state()
    once = first.loss(batch(7))
    torch.set_rng_state(state)
    assert torch.equal(once, second.loss(batch(7)))


def test_normals_of_the_past_are_no_negatives_and_same_findings_are_not_either():
    plug = fvlm.Objective(past=8, least=2)
    for seed, kind in ((8, 0), (9, 0), (10, 5)):
        loss = plug.loss(batch(seed, 1, meaning=kind))
        assert bool(loss > 0) == (kind == 5)
    memory = plug.parts().memory
    assert memory.of(0)[2].tolist() == [0, 0, 1 << 4]
    assert memory.of(3)[2].tolist() == [0, 0, 0]


def test_released_rule_counts_whole_organs_only():
    plug = fvlm.Objective(past=8, whole=True, least=2)
    assert not plug.loss(batch(11)).requires_grad
    whole = batch(11)
    assert whole.organs is not None
    whole.organs[:, :, [0, -1]] = 0
    whole.organs[:, :, :, [0, -1]] = 0
    assert plug.loss(whole).requires_grad


def test_distillation_pulls_toward_the_retrieved_teacher(bank: Path):
    plain = biud.Objective(past=8)
    plug = biud.Objective(str(bank), past=8, floor=-1.0, relational=0.0)
    plug.parts().load_state_dict(plain.parts().state_dict(), strict=False)
    crops = batch(12)
    extra = plug.loss(crops) - plain.loss(crops)
    reports = torch.stack([report_of(s)[0] for s in crops.sentences])
    known = load(bank)[1]
    wanted = known.images[(reports @ known.reports.T).argmax(1)]
    heads = plug.parts()
    near = functional.cosine_similarity(heads.student(heads(crops.tokens)), wanted).mean()
    assert torch.isclose(extra, 1 - near, atol=1e-5)
    far = biud.Objective(str(bank), past=8, floor=1.01)
    far.parts().load_state_dict(plain.parts().state_dict(), strict=False)
    assert torch.equal(far.loss(batch(13)), plain.loss(batch(13)))


def test_the_bank_is_not_saved_with_the_heads(bank: Path):
    heads = [
        plug.parts().state_dict().keys() for plug in (biud.Objective(str(bank)), biud.Objective())
    ]
    assert heads[0] - heads[1] == {"student.weight", "student.bias"}


@pytest.mark.parametrize(
    "make",
    [lambda: biud.Objective(form="x"), lambda: biud.Objective(correction="x"),
     lambda: elvis.Objective("x")],
)  # fmt: skip
def test_unknown_words_are_refused(make):
    with pytest.raises(InputRefused, match="Change"):
        make()


def test_a_file_that_is_no_expert_is_refused(tmp_path: Path):
    (tmp_path / "x.pt").write_bytes(b"nothing")
    for name in ("x.pt", "missing.pt"):
        with pytest.raises(ModelRefused, match="Train one"):
            load(tmp_path / name)


def test_sets_of_findings_survive_being_numbers():
    sets = torch.tensor([finding_set(torch.tensor([0, 3, 3, 52])), finding_set(torch.tensor([0]))])
    assert members(sets).nonzero().tolist() == [[0, 2], [0, 51]]


def test_a_report_is_what_it_says_is_there():
    report = sentences(14, [0, 0, 3], [0, 7, 0])
    vector, found = report_of(report)
    assert torch.allclose(vector, report.vectors[1])
    assert found == 1 << 6
    vector, found = report_of(report, 3)
    assert torch.allclose(vector, report.vectors[2])
    assert found == 0
    assert report_of(report, 9) is None


def test_hits_share_a_finding_or_are_both_without():
    nothing = torch.zeros(0)
    queries = Bank(nothing, nothing, torch.tensor([0, 0b101, 0b10]))
    pool = Bank(nothing, nothing, torch.tensor([0, 0b100, 0b1]))
    rows = torch.tensor([[0, 1], [1, 0], [2, 0]])
    assert hit_rate(queries, pool, rows[:, :1]) == pytest.approx(2 / 3)
    assert hit_rate(queries, pool, rows) == pytest.approx(2 / 6)
