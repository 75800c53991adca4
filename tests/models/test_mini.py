"""The embedded encoder: geometry, agreement of crop and whole, refusal, scores."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import ipl_affine, to_ipl, transform
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.scan import Scan, Source
from napari_ctvlp.errors import JobCancelled, ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import mini as mini_module
from napari_ctvlp.models.encoders.mini import Mini, concept_names, load_image, plan_slabs
from napari_ctvlp.models.encoders.mini_adapter import Adapter
from napari_ctvlp.models.encoders.mini_grid import axis_weights, body_depth, to_grid
from napari_ctvlp.models.encoders.mini_pool import Pool, pooled
from napari_ctvlp.models.encoders.mini_tower import REACH_MM, Tower
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.segmenters.classical import ClassicalSegmenter

PLAIN = Compute("cpu", "float32", 1)
NAMES, FINDINGS = concept_names(store.card("mini"))


@pytest.fixture(scope="module")
def mini() -> Mini:
    torch.set_num_threads(1)
    return store.load_encoder("mini", PLAIN)


@pytest.fixture(scope="module")
def chest_scan() -> Scan:
    return phantom((56, 60, 80), (5.0, 4.5, 4.5))


@pytest.fixture(scope="module")
def anatomy(chest_scan: Scan) -> AnatomyMap:
    return ClassicalSegmenter().segment(chest_scan)


def _scan(hu: np.ndarray, affine: np.ndarray) -> Scan:
    return Scan(hu, affine, Source((), hu.shape, affine))


def _all_body(scan: Scan) -> AnatomyMap:
    return anatomy_from_labels(
        np.ones(scan.shape, np.uint8), scan, [(1, "soft_tissue")], source="t"
    )


def test_box_averages_keep_the_mean_and_linear_keeps_a_ramp():
    fine = axis_weights(64, 0.75)
    assert fine.shape == (24, 64)
    assert np.allclose(fine.sum(axis=1), 1)
    coarse = axis_weights(40, 5.0)
    ramp = coarse @ np.arange(40)
    assert np.allclose(np.diff(ramp[3:96]), 2.0 / 5.0, atol=1e-4)


def test_cells_beyond_the_scan_are_air():
    scan = _scan(np.zeros((10, 12, 14), np.int16), ipl_affine((3, 2, 1), (5, 6, 7)))
    hu, affine = to_grid(scan)
    assert hu.shape == (16, 16, 8)
    assert np.allclose(hu[:15, :12, :7], 0, atol=1e-3)
    assert (hu[15:] == -1000).all()
    assert (hu[:, 12:] == -1000).all()
    corner = transform(affine, [-0.5, -0.5, -0.5])
    assert np.allclose(corner, transform(scan.affine, [-0.5, -0.5, -0.5]))


def test_nan_counts_as_air():
    hu = np.zeros((8, 8, 8), np.float32)
    hu[:4] = np.nan
    grid, _ = to_grid(_scan(hu, ipl_affine((2, 2, 2), (0, 0, 0))))
    assert (grid[:4] == -1000).all()
    assert np.allclose(grid[4:], 0, atol=1e-3)


def test_tokens_do_not_depend_on_how_the_file_was_stored(mini: Mini):
    """The same anatomy in all 48 orientations: every token at the same world point."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 300, (12, 13, 15)).astype(np.int16)
    affine = ipl_affine((3.0, 2.5, 2.0), (-20, 10, 30))
    first = None
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        stored = hu.transpose(order)
        turned = affine[:, [*order, 3]].copy()
        for axis, sign in enumerate(signs):
            if sign < 0:
                stored = np.flip(stored, axis)
                turned[:3, 3] += turned[:3, axis] * (stored.shape[axis] - 1)
                turned[:3, axis] *= -1
        scan = _scan(*to_ipl(stored, turned))
        grid = mini.encode(scan, _all_body(scan)).grids[0]
        first = first or grid
        assert np.allclose(grid.affine, first.affine)
        assert np.array_equal(grid.tokens, first.tokens)


def test_a_token_lies_where_what_it_sees_lies(mini: Mini):
    """A bright cube changes most the token whose cell holds it, within half a token."""
    affine = ipl_affine((2.0, 2.0, 2.0), (11, -30, 42))
    plain = np.full((64, 64, 64), -850, np.int16)
    dense = plain.copy()
    dense[30:34, 22:26, 38:42] = 50
    tokens = [
        mini.encode(_scan(hu, affine), _all_body(_scan(hu, affine))).grids[0]
        for hu in (plain, dense)
    ]
    change = np.abs(tokens[1].tokens.astype(float) - tokens[0].tokens).sum(axis=-1)
    peak = change > 0.7 * change.max()
    centre = np.average(np.argwhere(peak), axis=0, weights=change[peak])
    world = transform(tokens[0].affine, centre)
    assert np.abs(world - transform(affine, [31.5, 23.5, 39.5])).max() <= 2.0


@pytest.mark.parametrize("detail", [False, True])
def test_crop_and_whole_agree_where_the_crop_sees_enough(detail: bool):
    torch.manual_seed(0)
    tower = Tower(detail=detail).eval()
    if tower.detail is not None:
        torch.nn.init.normal_(tower.detail[2].weight, std=0.05)
    generator = torch.Generator().manual_seed(1)
    length = 2 * int(REACH_MM / 2) + 32
    hu = torch.randn(1, 1, length, 16, 16, generator=generator) * 300 - 400
    place = torch.randn(1, 4, length // 2, 8, 8, generator=generator)
    with torch.no_grad():
        whole = tower(hu, place)
        middle = tower(hu[:, :, 16:], place[:, :, 8:])
    reach = int(REACH_MM / 4)
    assert torch.allclose(whole[:, :, 8 + reach :], middle[:, :, reach:], atol=1e-4)
    assert torch.allclose(whole.norm(dim=1), torch.tensor(8.0), atol=1e-3)


def test_the_detail_branch_starts_as_no_change():
    plain, fine = Tower().eval(), Tower(detail=True).eval()
    fine.load_state_dict(fine.state_dict() | plain.state_dict())
    hu, place = torch.randn(1, 1, 32, 32, 32) * 300 - 400, torch.randn(1, 4, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain(hu, place), fine(hu, place))


def test_slabs_give_the_same_tokens(
    mini: Mini, chest_scan: Scan, anatomy: AnatomyMap, monkeypatch: pytest.MonkeyPatch
):
    whole = mini.encode(chest_scan, anatomy).grids[0]
    monkeypatch.setattr(mini_module, "ONE_PASS", 200_000)
    assert len(plan_slabs((144, 136, 184))) > 1
    parts = mini.encode(chest_scan, anatomy).grids[0]
    assert np.allclose(whole.tokens, parts.tokens, atol=0.02)


def test_slabs_cover_every_token_once():
    slabs = plan_slabs((904, 256, 256))
    kept = np.concatenate([np.arange(keep.start, keep.stop) for keep, _ in slabs])
    assert np.array_equal(kept, np.arange(904))
    assert all(take.start % 8 == 0 and take.stop % 8 == 0 for _, take in slabs)


def test_encoding_twice_gives_the_same_digest(mini: Mini, chest_scan: Scan, anatomy: AnatomyMap):
    first, again = (mini.encode(chest_scan, anatomy) for _ in range(2))
    assert first.digest == again.digest
    assert first.weights == dict(mini.card.weights)[mini.image]


def test_shapes_and_attention(mini: Mini, chest_scan: Scan, anatomy: AnatomyMap):
    encoding = mini.encode(chest_scan, anatomy)
    grid = encoding.grids[0]
    assert grid.tokens.dtype == np.float16
    assert grid.tokens.shape == (*grid.valid.shape, 64)
    norms = np.linalg.norm(grid.tokens[grid.valid].astype(float), axis=-1)
    assert np.allclose(norms, 8, atol=0.05)
    assert not grid.tokens[~grid.valid].any()
    assert {"lung_left", "lung_right", "mediastinum"} <= set(encoding.organs)
    assert set(encoding.organs) <= set(mini.pool.organs)
    assert set(encoding.attention) == set(encoding.organs)
    for name in encoding.organs:
        assert np.isclose(encoding.attention[name].sum(), 1, atol=1e-4)
        assert np.isclose(np.linalg.norm(encoding.organs[name]), 1, atol=1e-4)


def test_attention_pools_tokens_by_their_weights():
    torch.manual_seed(0)
    pool, tokens = Pool(31), torch.randn(50, 64)
    by_hand = pool.attention(tokens, 1) @ tokens @ pool.project
    assert torch.allclose(pool(tokens, 1), by_hand / by_hand.norm(), atol=1e-5)
    order = torch.randperm(50)
    assert torch.allclose(pool(tokens[order], 1), pool(tokens, 1), atol=1e-5)


def test_a_finding_picks_its_own_tokens():
    logits = torch.tensor([[1.0, 5.0], [3.0, -1.0], [2.0, -1.0]])
    assert torch.allclose(pooled(logits, 0.0), logits.mean(dim=0))
    assert torch.allclose(pooled(logits, 1e4), logits.amax(dim=0))
    between = pooled(logits, torch.tensor([0.5, 2.0]))
    assert (between > logits.mean(dim=0)).all()
    assert (between < logits.amax(dim=0) + 1e-6).all()


def test_the_adapter_says_the_same_in_numpy_and_torch():
    torch.manual_seed(0)
    adapter, vectors = Adapter(), torch.randn(5, 384) / 20
    with torch.no_grad():
        directions, shifts = adapter(vectors)
    by_rows = adapter.each(vectors.numpy())
    assert np.allclose(by_rows[0], directions.numpy(), atol=1e-5)
    assert np.allclose(by_rows[1], shifts.numpy(), atol=1e-5)


def test_cancel_stops_between_layers(mini: Mini, chest_scan: Scan, anatomy: AnatomyMap):
    def stop(share: float, stage: str) -> None:
        if stage == "encoding":
            raise JobCancelled

    with pytest.raises(JobCancelled):
        mini.encode(chest_scan, anatomy, progress=stop)


def test_progress_never_runs_backward(mini: Mini, chest_scan: Scan, anatomy: AnatomyMap):
    shares: list[float] = []
    mini.encode(chest_scan, anatomy, progress=lambda share, stage: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_mass_phrase_is_shared_out_as_the_card_says(mini: Mini):
    vector = mini.embed(["mass"])[0]
    shares = mini.card.settings["unions"]["mass"]
    total = sum(vector.concepts[name] for name in shares)
    assert total > 0.5
    for name, share in shares.items():
        assert np.isclose(vector.concepts[name], total * share, atol=1e-3)
    assert vector.vector @ mini.tower.table.numpy()[mini.concepts.index("mass")] > 0


def test_half_known_words_are_read_as_a_finding_of_some_kind(mini: Mini):
    doubt = mini.card.settings["doubt"]
    mixture = np.zeros(len(mini.concepts), np.float32)
    rows = {name: mini.concepts.index(name) for name in ("mass", "spleen", "lesion", "opacity")}
    mixture[rows["mass"]], mixture[rows["spleen"]] = 0.7, 0.3
    half = mini.generalised(mixture, doubt["half"])
    assert np.isclose(half.sum(), 1, atol=1e-5)
    assert half[rows["spleen"]] == 0
    assert np.isclose(half[rows["lesion"]], doubt["unions"]["lesion"], atol=1e-5)
    for known in (0.0, doubt["strange"], doubt["sure"], 1.0):
        assert np.array_equal(mini.generalised(mixture, known), mixture)
    organ = mixture[::-1].copy()
    organ[rows["spleen"]] = 1.0
    assert np.array_equal(mini.generalised(organ, doubt["half"]), organ)


def test_unknown_words_bring_the_nearest_known_ones(mini: Mini):
    known = mini.embed(["lung nodule"])[0]
    assert known.known > known.least
    assert known.nearest == ()
    strict = {**mini.card.settings, "known": {mini.head.tower: 1.1}}
    card = replace(mini.card, settings=strict)
    parts = (mini.tower, mini.pool, mini.adapter, mini.head, mini.text, mini.compute)
    vector = Mini(card, *parts).embed(["lung nodul"])[0]
    assert len(vector.nearest) == (3 if mini.head.terms else 0)
    assert not mini.head.terms or "nodule" in vector.nearest[0]


def test_nothing_to_embed_is_nothing(mini: Mini):
    assert mini.embed([]) == []


def test_scores_name_every_organ_and_finding(mini: Mini, chest_scan: Scan, anatomy: AnatomyMap):
    table = mini.score(mini.encode(chest_scan, anatomy), anatomy)
    assert len(table.rows) == len(mini.pool.organs) * len(mini.findings)
    for row in table.rows:
        if row.support:
            assert np.isnan(row.margin)
        else:
            assert np.isclose(row.margin, row.present - row.absent, atol=1e-6)
    assert any(row.organ == "lung_left" and not row.support for row in table.rows)


def test_a_scan_without_lungs_is_not_judged(mini: Mini):
    hu = np.full((20, 30, 30), 40, np.int16)
    scan = _scan(hu, ipl_affine((4, 4, 4), (0, 0, 0)))
    everything = _all_body(scan)
    rows = mini.score(mini.encode(scan, everything), everything).rows
    assert all(row.support for row in rows if row.organ.startswith("lung"))


def test_the_field_of_view_is_no_body_surface():
    depth = body_depth(np.ones((6, 6, 6), bool), 4.0)
    assert depth.min() >= 4.0


def test_a_corrupt_file_is_refused(tmp_path: Path):
    path = tmp_path / "mini-image.safetensors"
    path.write_bytes(b"not weights at all")
    with pytest.raises(ModelRefused):
        load_image(path, PLAIN, len(NAMES), FINDINGS)


def test_other_tensors_and_wild_numbers_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    path = tmp_path / "mini-image.safetensors"
    save_file({"tower.bias": torch.zeros(len(NAMES))}, path)
    with pytest.raises(ModelRefused):
        load_image(path, PLAIN, len(NAMES), FINDINGS)
    parts = {"tower": Tower(len(NAMES)), "pool": Pool(len(FINDINGS))}
    whole = torch.nn.ModuleDict(parts).state_dict()
    whole["tower.bias"] = torch.full((len(NAMES),), float("nan"))
    save_file({k: v.contiguous() for k, v in whole.items()}, path)
    with pytest.raises(ModelRefused):
        load_image(path, PLAIN, len(NAMES), FINDINGS)


def test_the_card_and_its_weights_ship(mini: Mini):
    card = mini.card
    folder = store.verify(card)
    assert sum((folder / name).stat().st_size for name, _ in card.weights) < 30_000_000
    assert card.known_failures


@pytest.mark.cuda
def test_cuda_agrees_with_the_cpu(mini: Mini, chest_scan: Scan, anatomy: AnatomyMap):
    there = store.load_encoder("mini", replace(PLAIN, device="cuda"))
    here = mini.encode(chest_scan, anatomy).grids[0].tokens.astype(float)
    away = there.encode(chest_scan, anatomy).grids[0].tokens.astype(float)
    assert np.abs(here - away).max() < 0.1


PRINT_BITS = """
import numpy as np
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.models.encoders.mini_grid import to_grid
from napari_ctvlp.models.encoders.mini_text import ConceptHead
from napari_ctvlp.models.store import card, verify
vectors = np.random.default_rng(0).standard_normal((12, 384), dtype=np.float32)
count = len(card("mini").settings["concepts"])
head = ConceptHead.load(verify(card("mini")) / "mini-text.safetensors", count)
arrays = [to_grid(phantom((4, 400, 401), (3.0, 0.9, 0.9)))[0], *head(vectors / 20)]
print([hash(array.tobytes()) for array in arrays])
"""


def test_the_window_and_the_command_line_get_the_same_bits():
    """They run on different numbers of threads."""
    told = [
        subprocess.run(
            [sys.executable, "-c", PRINT_BITS],
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": "0"},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert told[0] == told[1]
