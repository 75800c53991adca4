"""The arithmetic of a heatmap on tokens made by hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from napari_ctvlp.core import grounding
from napari_ctvlp.core.anatomy import AnatomyMap, Organ
from napari_ctvlp.core.encoding import TextVector, TokenGrid
from napari_ctvlp.core.geometry import ipl_affine, ras_to_screen, transform
from napari_ctvlp.core.parser import parse

SHAPE = (16, 20, 30)
AFFINE = ipl_affine((4.0, 4.0, 4.0), ras_to_screen(np.array([58.0, 40.0, 60.0])))
LUNGS = {"lung_left": slice(18, 27), "lung_right": slice(3, 12)}
SETTINGS = {"thresholds": {"present": 0.5, "absent": 0.2}}


@pytest.fixture
def anatomy():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:15, 1:19, 1:29] = 1
    ids = {"soft_tissue": 1}
    for number, (name, columns) in enumerate(LUNGS.items(), 2):
        labels[2:14, 3:17, columns] = number
        ids[name] = number
    organs = tuple(
        Organ(n, name, float((labels == n).sum() * 0.064), 0.0, True) for name, n in ids.items()
    )
    return AnatomyMap(labels, AFFINE, organs, "by hand")


def grid_with(*bumps, valid=None):
    """Tokens of one number: 8 at the bumps, -8 elsewhere."""
    tokens = np.full((*SHAPE, 1), -8.0, dtype=np.float16)
    for place in bumps:
        tokens[tuple(slice(n - 1, n + 2) for n in place)] = 8.0
    looked = np.ones(SHAPE, dtype=bool) if valid is None else valid
    return TokenGrid(tokens, AFFINE, looked)


VECTOR = TextVector(np.ones(1, np.float32), 0.0, 1.0, {"mass": 1.0})
LEFT, RIGHT = (8, 10, 22), (8, 10, 7)


def ground(grid, text, anatomy, vector=VECTOR, **options):
    return grounding.heatmap(
        grid, vector, parse(text), anatomy, model="mini", settings=SETTINGS, **options
    )


def test_the_named_side_is_searched(anatomy):
    grid = grid_with(LEFT, RIGHT)
    for side, place in (("left", LEFT), ("right", RIGHT)):
        heat = ground(grid, f"lung mass in the {side} lung", anatomy)
        assert heat.peak_index == place
        assert heat.gate.side == side
        assert f"patient's {side}" in heat.gate.words
        assert heat.peak_ras == pytest.approx(tuple(transform(AFFINE, place)))
        assert (heat.peak_ras[0] < 0) == (side == "left")


def test_a_finding_on_the_other_side_is_absent(anatomy):
    heat = ground(grid_with(LEFT), "mass in the right lung", anatomy)
    assert heat.verdict == "absent"
    assert heat.margin < 0
    assert np.nanmax(heat.values) > 0.6


def test_both_sides_and_no_gate_search_everything(anatomy):
    outside = (8, 2, 28)
    grid = grid_with(outside)
    assert ground(grid, "bilateral lung masses", anatomy).gate.side == ""
    heat = ground(grid, "lung mass on the right", anatomy, gate_applied=False)
    assert heat.allowed.all()
    assert heat.verdict == "present"
    assert not heat.gate.applied
    assert "off" in heat.gate.words


def test_a_denied_phrase_has_the_same_map_and_the_opposite_margin(anatomy):
    grid = grid_with(LEFT)
    said, denied = (ground(grid, text, anatomy) for text in ("lung mass", "no lung mass"))
    np.testing.assert_array_equal(said.values, denied.values)
    assert said.margin == pytest.approx(-denied.margin)
    assert denied.reason.startswith("Not asserted")
    assert denied.verdict == said.verdict == "present"


def test_smoothing_neither_adds_nor_takes_at_the_edge_of_the_field(anatomy):
    valid = np.zeros(SHAPE, dtype=bool)
    valid[4:12, 4:16, 4:26] = True
    tokens = np.zeros((*SHAPE, 1), dtype=np.float32)
    heat = ground(TokenGrid(tokens, AFFINE, valid), "lung mass", anatomy)
    np.testing.assert_allclose(heat.values[valid], 0.5, atol=1e-5)
    assert np.isnan(heat.values[~valid]).all()
    assert not (heat.allowed & ~valid).any()


def test_similarity_is_the_dot_product_where_the_model_looked(anatomy):
    rng = np.random.default_rng(0)
    valid = rng.random(SHAPE) > 0.3
    grid = TokenGrid(rng.standard_normal((*SHAPE, 5), dtype=np.float32), AFFINE, valid)
    vector = TextVector(rng.standard_normal(5).astype(np.float32), -1.5)
    expected = grid.tokens @ vector.vector - 1.5
    found = grounding.similarity(grid, vector)
    np.testing.assert_allclose(found[valid], expected[valid], rtol=1e-4, atol=1e-5)
    assert np.isnan(found[~valid]).all()


def test_shares_tell_where_the_heat_is(anatomy):
    heat = ground(grid_with(LEFT), "lung mass", anatomy)
    assert max(heat.shares, key=heat.shares.get) == "lung_left"
    assert sum(heat.shares.values()) == pytest.approx(1)
    assert ground(grid_with(), "lung mass", anatomy).shares == {}


@pytest.mark.parametrize(
    ("text", "vector", "words"),
    [
        ("lung mass", TextVector(np.ones(1, np.float32), 0.0, 0.1), "does not know these words"),
        ("lung mass", replace(VECTOR, known=0.5, least=0.6), "does not know these words"),
        ("lung mass", replace(VECTOR, known=0.1, nearest=("nodule",)), "it knows: “nodule”."),
        ("brain tumour", VECTOR, "does not know these words"),
        ("aortic dissection", VECTOR, "was not taught"),
        ("nodule in the spleen", VECTOR, "elsewhere only: left lung and right lung"),
    ],
)
def test_what_the_model_cannot_judge(anatomy, text, vector, words):
    heat = ground(grid_with(LEFT), text, anatomy, vector)
    assert heat.verdict == "cannot tell"
    assert words in heat.reason


def test_an_organ_outside_the_scan_is_no_absence(anatomy):
    organs = tuple(
        Organ(o.id, o.name, 0.0 if o.name == "lung_left" else o.ml, 0.0, True)
        for o in anatomy.organs
    )
    labels = np.where(anatomy.labels == 2, 1, anatomy.labels).astype(np.uint8)
    cut = AnatomyMap(labels, AFFINE, organs, "by hand")
    heat = ground(grid_with(), "mass in the left lung", cut)
    assert heat.verdict == "cannot tell"
    assert "left lung is not in this scan" in heat.reason


def test_nothing_to_search_has_no_peak(anatomy):
    grid = grid_with(LEFT, valid=np.zeros(SHAPE, dtype=bool))
    heat = ground(grid, "lung mass", anatomy)
    assert heat.peak_ras is None
    assert heat.verdict == "cannot tell"


def test_neutral_phrases_that_reach_as_high_take_the_answer_back(anatomy):
    grid = grid_with(LEFT)
    quiet = [TextVector(np.zeros(1, np.float32), -9.0) for _ in range(19)]
    loud = [TextVector(np.ones(1, np.float32), 1.0) for _ in range(19)]
    sure = ground(grid, "lung mass", anatomy, background=quiet)
    assert sure.background.p_value == pytest.approx(1 / 20)
    assert sure.verdict == "present"
    unsure = ground(grid, "lung mass", anatomy, background=loud)
    assert unsure.background.p_value == 1
    assert unsure.verdict == "cannot tell"


def test_between_the_thresholds_nobody_knows(anatomy):
    vector = TextVector(np.zeros(1, np.float32), float(np.log(0.35 / 0.65)))
    heat = ground(grid_with(), "lung mass", anatomy, vector)
    assert heat.verdict == "cannot tell"
    assert heat.peak == pytest.approx(0.35, abs=1e-3)


def test_a_finding_may_have_thresholds_of_its_own():
    card = {"thresholds": {"present": 0.5, "findings": {"nodule": {"present": 0.7}}}}
    assert grounding.Settings.of(card, "nodule").present == 0.7
    assert grounding.Settings.of(card, "mass").present == 0.5
    assert grounding.Settings.of({}, "mass") == grounding.Settings()


def test_the_mirror_takes_away_what_both_sides_share(anatomy):
    card = {**SETTINGS, "heatmap": {"mirror": 1.0, "mirror_sigma_mm": 0.0}}
    place = (8, 10, 22)
    twin = (8, 10, SHAPE[2] - 1 - 22)
    lonely = (4, 6, 20)
    heat = grounding.heatmap(
        grid_with(place, twin, lonely),
        VECTOR,
        parse("lung mass"),
        anatomy,
        model="mini",
        settings=card,
    )
    assert heat.peak_index == lonely
    assert heat.values[place] < 0.1
    assert heat.values[twin] < 0.1


def test_the_pleura_is_searched_around_the_lungs(anatomy):
    inside = ground(grid_with(), "lung mass", anatomy).allowed
    around = ground(grid_with(), "pleural effusion", anatomy).allowed
    assert (around | ~inside).all()
    assert around.sum() > inside.sum()


def test_what_phrases_share_on_a_grid_gives_each_the_same_bits(anatomy):
    rng = np.random.default_rng(0)
    valid = rng.random(SHAPE) > 0.2
    grid = TokenGrid(rng.standard_normal((*SHAPE, 5)).astype(np.float16), AFFINE, valid)
    one, other, *neutral = (
        TextVector(rng.standard_normal(5).astype(np.float32), -1.0, 1.0, {"mass": 1.0})
        for _ in range(5)
    )
    within = rng.random(SHAPE) > 0.5
    shifted = replace(anatomy, labels=np.roll(anatomy.labels, 3, 2))
    asked = [
        ("mass in the left lung", one, None), ("mass in the right lung", one, within),
        ("mass in the left lung", other, None), ("mass in the left lung", one, within),
        ("lung mass", other, None), ("no mass in the right lung", one, None),
    ]  # fmt: skip
    for mirror in (0.0, 0.5):
        settings = {**SETTINGS, "heatmap": {"mirror": mirror}}
        for (text, vector, where), body in product(asked, (anatomy, shifted)):
            shared, alone = (
                grounding.heatmap(
                    tokens, vector, parse(text), organs, model="mini", settings=settings,
                    background=tuple(neutral), within=where,
                )
                for tokens, organs in ((grid, body), (replace(grid), replace(body)))
            )  # fmt: skip
            np.testing.assert_array_equal(shared.values, alone.values)
            np.testing.assert_array_equal(shared.allowed, alone.allowed)
            for name in ("background", "shares", "verdict", "reason", "margin", "peak_index"):
                assert getattr(shared, name) == getattr(alone, name)
