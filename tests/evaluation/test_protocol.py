"""The frozen protocol: what it holds, and that nothing of it leaked into training."""

import re

import numpy as np
import pytest

from napari_ctvlp.core.geometry import ipl_affine, resample, spacing
from napari_ctvlp.core.phantom import NODULE_RAS, phantom
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import concepts, findings
from napari_ctvlp.evaluation import baselines, metrics, region
from napari_ctvlp.evaluation.cases import field_of, raised
from napari_ctvlp.evaluation.protocol import protocol
from napari_ctvlp.models import store
from napari_ctvlp.training.text_head import glossary, split_terms, wordings


@pytest.fixture(scope="module")
def chest():
    return phantom()


def test_held_out_words_are_in_no_glossary():
    rules = protocol()
    terms = {term for listed in glossary().values() for term in listed}
    terms |= {word for finding in findings().values() for word in finding.words}
    kept_out = set(rules.kept_out)
    listed = [*rules.lists.values(), *rules.catalogue.values()]
    held_out = {text.lower() for item in listed for text in item.held_out}
    assert not {t for t in terms if kept_out & set(re.findall(r"[a-z-]+", t.lower()))}
    assert not {t for t in terms if t.lower() in held_out}


def test_trained_phrases_are_made_of_glossary_words():
    rules = protocol()
    words = {w for listed in glossary().values() for t in listed for w in t.lower().split()}
    for listed in rules.lists.values():
        for phrase in listed.trained:
            assert set(phrase.lower().split()) <= words, phrase


def test_every_case_has_phrases_and_a_side():
    rules = protocol()
    assert {case.finding for case in rules.cases} <= set(rules.lists)
    assert all(case.side in ("left", "right") for case in rules.cases)
    assert len(rules.lists["mass"].trained) == 10
    assert len(rules.lists["mass"].held_out) == 16
    assert len(rules.lists["nodule"].held_out) == 15


def test_the_catalogue_holds_every_finding_and_what_is_compared():
    rules = protocol()
    assert list(rules.catalogue) == [c.name for c in concepts() if c.kind == "finding"]
    assert all(set(item.above) <= set(rules.catalogue) for item in rules.seen)
    assert len(set(rules.neutral)) >= 12
    assert not set(rules.neutral) & set(store.card("mini").settings["neutral"])


def test_terms_are_held_out_by_term():
    kept, left = split_terms(glossary(), 1)
    assert all(left.values())
    assert not {t for ts in kept.values() for t in ts} & {t for ts in left.values() for t in ts}
    made = wordings({"mass": ["lung mass"]}, "train")
    assert made.texts[0] == "lung mass"
    assert 0 < made.negated.mean() < 1


def test_the_frozen_region_has_not_moved(chest):
    mask, affine = region.lung_region(chest)
    assert region.VERSION == "1"
    np.testing.assert_allclose(spacing(affine), 4.0)
    assert int(mask.sum()) == pytest.approx(REGION_CELLS, rel=1e-3)
    inside = region.on_grid(mask, affine, chest.shape, chest.affine)
    nodule = np.rint(np.linalg.inv(chest.affine) @ (*NODULE_RAS, 1))[:3].astype(int)
    assert inside[tuple(nodule)]


#: Cells of the phantom's region when it was frozen; a change needs a new VERSION.
REGION_CELLS = 106905


def test_a_scan_without_lungs_has_no_region(chest):
    water = Scan(np.zeros((20, 20, 20), np.int16), chest.affine, chest.source)
    assert not region.lung_region(water)[0].any()


def test_baselines_say_what_they_claim(chest):
    mask, affine = region.lung_region(chest)
    centre = baselines.centre_prior(mask)
    best = np.unravel_index(centre.argmax(), centre.shape)
    assert np.abs(np.array(best) - np.argwhere(mask).mean(axis=0)).max() <= 1
    drawn = [baselines.random_map(mask.shape, affine, seed, 8.0) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    thick, grid = baselines.hu_heuristic(chest, mask, affine)
    assert thick.max() >= 20
    outside = region.on_grid(mask, affine, thick.shape, grid)
    assert not thick[~outside].max() > baselines.RADII_MM[-1]


def test_the_blob_rule_prefers_a_ball_to_a_tube_and_to_a_wall():
    hu = np.full((40, 40, 60), -850, np.int16)
    at = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), axis=-1)
    ball = ((at - [20, 20, 15]) ** 2).sum(axis=-1) <= 4**2
    tube = ((at - [20, 20, 40]) ** 2)[..., 1:].sum(axis=-1) <= 3**2
    wall = np.broadcast_to(at[..., 1] < 4, hu.shape)
    hu[ball | tube | wall] = 40
    scan = Scan(hu, ipl_affine((3.0, 3.0, 3.0), (0.0, 0.0, 0.0)), phantom((4, 4, 4)).source)
    blobs, _ = baselines.blobness(scan, np.ones(hu.shape, dtype=bool), scan.affine)
    inner = np.zeros(hu.shape, dtype=bool)
    inner[8:-8] = True
    best = [float(blobs[part & inner].max()) for part in (ball, tube, wall)]
    assert best[0] > 3 * max(best[1:])
    top = baselines.largest_blob(blobs, inner)
    assert ball[np.unravel_index(top.argmax(), top.shape)]
    assert (blobs[hu < -300] == 0).all()


def test_raising_a_map_is_linear_interpolation(chest):
    coarse = ipl_affine((7.0, 5.0, 6.0), (80.0, -60.0, 40.0))
    values = np.random.default_rng(1).random((20, 22, 18), dtype=np.float32)
    found = raised(values, coarse, chest.shape, chest.affine)
    expected = resample(values, coarse, chest.shape, chest.affine)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_token_map_of_the_nodule_scores_well_on_the_scans_voxels(chest):
    axes = np.stack(np.meshgrid(*map(np.arange, chest.shape), indexing="ij"), axis=-1)
    world = axes @ chest.affine[:3, :3].T + chest.affine[:3, 3]
    reference = np.linalg.norm(world - np.array(NODULE_RAS), axis=-1) <= 12
    field = field_of(chest, reference)
    assert field.covered > 0.9
    mask, affine = field.coarse, field.coarse_affine
    cells = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1)
    away = np.linalg.norm(cells @ affine[:3, :3].T + affine[:3, 3] - np.array(NODULE_RAS), axis=-1)
    raised = field.bring((-away).astype(np.float32), affine)
    assert metrics.auroc(raised, field.reference, field.region) > 0.99
    peak = metrics.peak_ras((-away).astype(np.float32), affine, mask)
    assert metrics.distance_to_reference(peak, field.whole, field.whole_affine) <= 2
