"""find: the right organ, exact products, negation, filters, limits."""

import json

import numpy as np
import pytest

from napari_ctvlp.cohort.find import Index, find, organs_of
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.cohort.thresholds import from_labels, from_rarity
from napari_ctvlp.core.parser import parse
from napari_ctvlp.errors import InputRefused

ORGANS = ("", "lung_left", "lung_right", "liver", "kidney_left", "kidney_right")
SCANS, WIDTH = 240, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a store of generated vectors: 240 scans, every third without a liver, labelled."""
    rng = np.random.default_rng(3)
    store = Store.create(tmp_path_factory.mktemp("made") / "s", model="mini", segmenter="anatomy")
    from napari_ctvlp.models import store as models

    digest = models.model_digest(models.card("mini"))
    for number in range(SCANS):
        scan = f"{number + 1:06d}"
        organs = [organ for organ in ORGANS if organ != "liver" or number % 3]
        store.commit(scan, {
            "scans": [{"scan": scan, "state": "done", "model_digest": digest}],
            "organs": [{"scan": scan, "organ": "liver", "ml": 1000.0 + 10 * number}],
            "labels": [{"scan": scan, "name": "nodule", "value": str(number % 2)}],
            "vectors": [
                {"scan": scan, "organ": organ, "vector": rng.normal(size=WIDTH).tolist()}
                for organ in organs
            ],
        })  # fmt: skip
    store.look()
    store.fold()
    return Index(store)


@pytest.mark.parametrize(
    ("text", "organs"),
    [
        ("nodule in the left lung", ["lung_left"]),
        ("lung nodule", ["lung_left", "lung_right"]),
        ("no steatosis", ["liver"]),
        ("cyst of the right kidney", ["kidney_right"]),
        ("something odd", ["lung_left", "lung_right", "liver", "kidney_left", "kidney_right"]),
    ],
)
def test_a_phrase_goes_to_its_organs(text, organs):
    assert organs_of(parse(text), ORGANS, {}) == organs


def test_house_organs_of_a_card_and_a_model_without_organs():
    settings = {"organs": {"lung": ["lung_left", "lung_right"], "liver": ["liver"]}}
    assert organs_of(parse("nodule in the left lung"), ["", "lung", "liver"], settings) == ["lung"]
    assert organs_of(parse("nodule"), [""], {}) == [""]


def test_the_ranking_is_that_of_a_plain_product(made):
    vector = np.random.default_rng(5).normal(size=WIDTH).astype(np.float32)
    ranking = made.rank(parse("lung nodule"), vector, ["lung_left", "lung_right"])
    connection = made.store.connect()
    plain = {}
    for scan, organ, values in connection.execute(
        "SELECT scan, organ, vector FROM vectors WHERE organ LIKE 'lung%'"
    ).fetchall():
        score = float(np.asarray(values, np.float32) @ vector)
        plain[scan] = max(plain.get(scan, (-np.inf, "")), (score, organ))
    expected = sorted(plain, key=lambda scan: -plain[scan][0])
    assert [row.scan for row in ranking.rows] == expected
    assert [row.organ for row in ranking.rows] == [plain[scan][1] for scan in expected]
    assert [row.score for row in ranking.rows] == pytest.approx(
        [plain[scan][0] for scan in expected], abs=1e-5
    )
    assert ranking.rows[0].percentile == pytest.approx(100 * (SCANS - 1) / SCANS)


def test_a_negated_phrase_ranks_the_least_like_it_first_and_scans_without_the_organ_nowhere(made):
    vector = np.random.default_rng(6).normal(size=WIDTH).astype(np.float32)
    plain = made.rank(parse("steatosis of the liver"), vector, ["liver"])
    denied = made.rank(parse("no steatosis of the liver"), vector, ["liver"])
    assert [row.scan for row in denied.rows] == [row.scan for row in plain.rows][::-1]
    assert plain.judged == len(plain.rows) == SCANS - SCANS // 3
    assert denied.rows[0].answer == "absent"
    assert plain.rows[0].answer == "present"


def test_a_condition_leaves_percentiles_as_they_are(made):
    vector = np.random.default_rng(7).normal(size=WIDTH).astype(np.float32)
    every = made.rank(parse("lung nodule"), vector, ["lung_left"])
    some = made.rank(
        parse("lung nodule"), vector, ["lung_left"], top=5,
        where="liver_ml > 2000 AND label_nodule = 1",
    )  # fmt: skip
    allowed = {f"{n + 1:06d}" for n in range(SCANS) if 1000 + 10 * n > 2000 and n % 2}
    kept = [row for row in every.rows if row.scan in allowed][:5]
    assert [(row.scan, row.percentile) for row in some.rows] == [
        (row.scan, row.percentile) for row in kept
    ]
    with pytest.raises(InputRefused, match="DuckDB says"):
        made.rank(parse("x"), vector, ["lung_left"], where="no_such_column > 1")


def test_limits_name_the_store_and_its_size(made):
    vector = np.random.default_rng(8).normal(size=WIDTH).astype(np.float32)
    labelled = made.rank(parse("lung nodule"), vector, ["lung_left"]).limits
    assert "label 'nodule' of s: 120 scans with it, 120 without" in labelled.words
    rare = made.rank(parse("lung mass"), vector, ["lung_left"]).limits
    assert "among 240 scans of s" in rare.words
    scores, _ = made.scores(vector, ["lung_left"])
    assert rare.present == pytest.approx(np.quantile(scores, 0.95))
    assert rare.absent == pytest.approx(np.quantile(scores, 0.5))


def test_limits_of_labels_follow_the_cards_and_never_cross():
    yes, no = np.arange(50, 150, dtype=np.float32), np.arange(100, dtype=np.float32)
    limits = from_labels(yes, no, "x")
    assert (limits.present, limits.absent) == pytest.approx((89.1, 59.9), abs=0.01)
    assert limits.answers([59, 70, 95]) == ["absent", "cannot tell", "present"]
    apart = from_labels(yes + 100, no, "x")
    assert apart.present == apart.absent
    small = from_rarity(no[:20], "tiny")
    assert small.answers([1e9, -1e9]) == ["cannot tell", "cannot tell"]
    assert "tiny has 20 scans" in small.words


def test_find_on_the_command_line(store, tmp_path):
    from typer.testing import CliRunner

    from napari_ctvlp.cli.main import app

    words = ["find", "nodule in the left lung", "--store", str(store.folder), "--json", "-"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "ranking.csv")])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    ranking = find(store, "nodule in the left lung")
    assert [row["scan"] for row in told["rows"]] == [row.scan for row in ranking.rows]
    assert told["organs"] == ["lung_left"]
    assert "ustermann" not in done.stdout + done.stderr
    assert (tmp_path / "ranking.csv").read_text().startswith("rank,scan,organ,score,percentile")
    named = CliRunner().invoke(app, [*words, "--paths"])
    assert "PAT4711X" in named.stdout
