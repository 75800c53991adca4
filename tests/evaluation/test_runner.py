"""A small chest and a small encoder of the protocol: what is measured, judged and printed."""

import dataclasses
import math

import numpy as np
import pytest

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.geometry import bounding_ipl_grid, resample, transform
from napari_ctvlp.core.phantom import NODULE_RAS, phantom
from napari_ctvlp.errors import InputRefused, ModelRefused
from napari_ctvlp.evaluation import lesions, tables, words
from napari_ctvlp.evaluation.bars import at_most, bar, bars
from napari_ctvlp.evaluation.cases import field_of
from napari_ctvlp.evaluation.lesions import Lesion
from napari_ctvlp.evaluation.protocol import Case, Seen, protocol
from napari_ctvlp.evaluation.reader import Model, Reader
from napari_ctvlp.evaluation.runner import measure_digest, plain, run
from napari_ctvlp.evaluation.synthetic import Sample, presence, summary, synthetic_bars, trial
from napari_ctvlp.models import store


class Near:
    """Knows where the phantom's nodule is: tumour words light it, all others do not."""

    def __init__(self, card):
        self.card = card

    def encode(self, scan, anatomy, *, progress=None):
        shape, affine = bounding_ipl_grid(scan.shape, scan.affine, (6.0,) * 3)
        away = np.linalg.norm(transform(affine, grid_of(shape)) - np.array(NODULE_RAS), axis=-1)
        body = resample(anatomy.labels, scan.affine, shape, affine, order=0) > 0
        tokens = np.stack([6 - away / 4, np.ones(shape)], axis=-1).astype(np.float32)
        return Encoding((TokenGrid(tokens, affine, body),), {}, "near", "", scan.digest)

    def embed(self, phrases):
        return [self.vector(phrase) for phrase in phrases]

    def vector(self, phrase):
        meant = any(word in phrase for word in ("nodule", "mass", "tumour"))
        denied = phrase.startswith(("no ", "without", "there is no"))
        lit = meant and not denied and "calcified" not in phrase
        weight = 1.0 if lit else 0.01
        return TextVector(np.array([weight, -4.0 - len(phrase) / 100 * (not lit)], np.float32))


def grid_of(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


@pytest.fixture(scope="module")
def chest():
    return phantom((52, 44, 62), (6.0, 6.4, 6.0))


@pytest.fixture(scope="module")
def anatomy(chest):
    across = transform(chest.affine, grid_of(chest.shape))[..., 0]
    lung = (chest.hu < -600) & (chest.hu > -950)
    labels = np.where(lung, np.where(across < 0, 2, 3), chest.hu > -300).astype(np.uint8)
    names = [(1, "soft_tissue"), (2, "lung_left"), (3, "lung_right")]
    return anatomy_from_labels(labels, chest, names, source="by hand")


@pytest.fixture(scope="module")
def lesion(chest, anatomy):
    away = np.linalg.norm(
        transform(chest.affine, grid_of(chest.shape)) - np.array(NODULE_RAS), axis=-1
    )
    case = Case("phantom", "nodule", "lung nodule", "left", "", (1,), "by hand", bar=True)
    return Lesion.of(case, field_of(chest, away <= 12), anatomy, protocol())


@pytest.fixture(scope="module")
def reader(chest, anatomy):
    return Reader(chest, anatomy, Model("near", store.card("mini"), Near(store.card("mini"))))


@pytest.fixture(scope="module")
def report(lesion, reader, chest):
    seen = [
        Seen("phantom", "lung nodule", "left", box=((-90.0, -50.0, -40.0), (-66.0, -26.0, -20.0))),
        Seen("phantom", "lung nodule", "", above=("emphysema",)),
    ]
    row = {"name": "phantom", **lesions.measure(lesion, reader), **words.at_lesion(lesion, reader)}
    model = {
        "name": "near",
        "role": "measured",
        "weights": {},
        "encode_s": {"phantom": reader.seconds},
        "cases": [row],
        "seen": [words.seen(item, reader, protocol()) for item in seen],
    }
    facts = {"phantom": lesions.facts(lesion, chest)}
    model["bars"] = bars(model["cases"], model["seen"], facts, protocol())
    return plain(
        {
            "protocol": "2",
            "region": "1",
            "measure": measure_digest(),
            "missing": ["LUNG1-002"],
            "facts": facts,
            "models": [model, {**model, "name": "again", "role": "previous"}],
            "anatomy_bars": [bar("phantom: Dice of lung_left", 0.92, 0.93)],
        }
    )


def test_a_map_that_knows_the_nodule_hits_it_without_false_blobs(report):
    row = report["models"][0]["cases"][0]
    assert row["main"]["peak_hit"]
    assert row["main"]["raw_peak_hit"]
    assert row["main"]["blobs"] == row["main"]["raw_blobs"] == 0
    assert row["main"]["auroc"] > 0.99
    assert row["main"]["cnr"] > 1
    assert row["means"]["held_out"]["phrases"] == 15


def test_words_are_measured_without_parser_and_gate(report):
    row = report["models"][0]["cases"][0]
    assert row["negation"]["asserted"] > row["negation"]["negated"]
    assert row["negation"]["sds"] > 2
    assert row["ranking"]["called"] == row["ranking"]["should"] == "nodule"
    assert row["ranking"]["margin"] > 0
    assert row["sides"]["gate_on"] == 1
    assert row["sides"]["gate_off"] == 1
    assert row["sides"]["side_swap"]["true"] == 1
    assert row["sides"]["side_swap"]["swapped"] == 0  # it does not read sides
    assert row["suppression"]["emphysema"] > row["suppression"]["lung nodule"]
    assert row["stability"]["trained"]["least"] == pytest.approx(1, abs=1e-3)


def test_findings_seen_by_eye_have_a_box_and_a_rank(report):
    boxed, ranked = report["models"][0]["seen"]
    assert boxed["box"]["plain"]
    assert boxed["on_side"]
    assert 0 < boxed["box"]["chance"] < 0.1
    assert ranked["whole_scan"]["leads"]["emphysema"] > 0


def test_baselines_stand_in_the_same_field(report):
    found = report["facts"]["phantom"]["baselines"]
    assert set(found) == {"random", "centre", "hu", "blob"}
    assert found["random"]["auroc"] == pytest.approx(0.5, abs=0.25)
    assert found["blob"]["auroc"] > 0.5


def test_every_bar_is_judged_and_a_model_that_falls_short_fails(report):
    judged = {item["bar"]: item for item in report["models"][0]["bars"]}
    for words_of in ("AUROC, trained", "raw peaks", "above the blob rule", "signed CNR", "box"):
        assert any(words_of in name for name in judged), words_of
    assert not bar("x", 0.84, 0.85)["passed"]
    assert not bar("x", 0.85, 0.85, strict=True)["passed"]
    assert not bar("x", math.nan, 0.85)["passed"]
    assert not at_most("x", 1, 0)["passed"]
    assert not at_most("x", math.nan, 0)["passed"]


def test_tables_show_models_baselines_and_bars_in_both_formats(report):
    laid_out = tables.tables(report)
    for text in (tables.text(laid_out), tables.markdown(laid_out)):
        for part in ("near", "again", "previous", "largest blob", "held-out", "FAIL", "pass"):
            assert part in text, part
        assert "Not found, so not measured: LUNG1-002" in text
    lines = tables.markdown(laid_out).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_seeds_are_summed_up_by_mean_and_sd():
    models = [
        {"name": name, "role": "seed", "bars": [bar("AUROC", value, 0.9)]}
        for name, value in (("a", 0.9), ("b", 0.8), ("c", 1.0))
    ]
    table = tables.bars_table(models)
    assert table.rows == [
        ["AUROC", "0.900", "0.900 pass", "0.800 FAIL", "1.000 pass", "0.900 (0.100)"]
    ]


@pytest.fixture(scope="module")
def painted(chest, anatomy, lesion, reader):
    truth = lesion.field.whole
    sample = Sample(chest, anatomy, "phantom", "nodule", "lung_left", "left", 24.0, truth)
    nothing = dataclasses.replace(
        sample, finding="", organ="", side="", size_mm=math.nan, truth=truth & False
    )
    return [trial(item, reader, protocol()) for item in (sample, nothing)]


def test_a_painted_finding_is_pointed_at_and_asked_for_in_words_kept_from_training(painted):
    row, nothing = painted
    assert len(row["hits"]) == len(protocol().catalogue["nodule"].held_out)
    assert "means" not in nothing
    assert set(nothing["peaks"]) == set(protocol().catalogue)
    assert row["peaks"]["nodule"]["left"] > row["peaks"]["nodule"]["right"]


def test_painted_findings_are_summed_up_and_judged(painted):
    found = plain(summary(painted, protocol()))
    assert found["scans"] == 2
    assert found["pointing"]["large"]["scans"] == 1
    assert len(found["not_painted"]) == len(protocol().catalogue) - 1
    assert found["pointing"]["abdomen"]["hits"] is None
    judged = synthetic_bars(summary(painted, protocol()), protocol())
    assert {item["bar"] for item in judged} >= {"painted, pointing, small"}


def test_presence_counts_the_other_side_and_leaves_kin_out():
    def row(finding, organ, side, left, right):
        peaks = {"nodule": {"left": left, "right": right, "": max(left, right)}}
        return {"finding": finding, "organ": organ, "side": side, "peaks": peaks}

    trials = [
        row("nodule", "lung_left", "left", 0.9, 0.1),
        row("nodule", "lung_right", "right", 0.3, 0.8),
        row("", "", "", 0.2, 0.2),
        row("mass", "lung_left", "left", 0.95, 0.1),
        row("calcified_nodule", "lung_left", "left", 0.99, 0.1),
    ]
    # on the left: 0.9 against 0.3, 0.2 and the mass at 0.95
    assert presence("nodule", "lung_left", trials) == pytest.approx(2 / 3)
    assert presence("nodule", "lung_right", trials) == pytest.approx(1)


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(InputRefused, match="holds none of them"):
        run(tmp_path, [])


def test_older_weights_without_a_card_are_refused(tmp_path):
    with pytest.raises(ModelRefused, match="cannot be read"):
        Model.load("mini", "cpu", tmp_path)
    (tmp_path / "other.toml").write_text('id = "other"')
    with pytest.raises(ModelRefused, match=r"other\.toml lacks"):
        Model.load("mini", "cpu", tmp_path)
