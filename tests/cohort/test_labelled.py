"""The three answers set by a store's labelled scans name it and its size."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app
from napari_ctvlp.cohort.inputs import find_inputs
from napari_ctvlp.cohort.schema import TABLES
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.cohort.tokens import kept_tokens, tokens_path
from napari_ctvlp.engine import calibrations, verbs

COPIES = 11


@pytest.fixture
def many(store, tmp_path):
    """Return a store in which two scans with kept tokens stand eleven times each."""
    connection = store.connect()
    made = Store.create(tmp_path / "clinic", model="mini", segmenter="anatomy")
    for number in range(2 * COPIES):
        old, new = f"{number % 2 + 1:06d}", f"{number + 1:06d}"
        rows = {
            name: connection.sql(f"FROM {name} WHERE scan = '{old}'").to_arrow_table()
            for name in TABLES
        }
        rows = {name: [{**row, "scan": new} for row in t.to_pylist()] for name, t in rows.items()}
        made.commit(new, rows)
        shutil.copy(tokens_path(store, old), tokens_path(made, new))
    made.look()
    made.fold()
    return made


def test_too_few_labels_set_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))
    told = CliRunner().invoke(app, ["evaluate", str(store.folder)])
    assert told.exit_code == 0, told.stderr
    assert "1 labelled as there" in told.stderr
    refused = CliRunner().invoke(app, ["evaluate", str(store.folder), "--calibrate"])
    assert refused.exit_code != 0
    assert "1 there and 3 not there" in refused.stderr
    assert not calibrations.own("mini").exists()


def test_a_phrase_is_answered_by_the_store_and_names_it(many, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))
    scan = verbs.open_scan(find_inputs(archive)[0][0].path)
    anatomy, encoding = kept_tokens(many, "000001")
    before = verbs.ground(scan, "nodule", anatomy=anatomy, encoding=encoding)
    assert "clinic" not in before.reason
    done = CliRunner().invoke(app, ["evaluate", str(many.folder), "--calibrate"])
    assert done.exit_code == 0, done.stderr
    assert "own store clinic, 22 labelled answers" in done.stderr
    after = verbs.ground(scan, "nodule", anatomy=anatomy, encoding=encoding)
    assert "own store clinic, 22 labelled answers" in after.reason
    assert after.verdict == "present"
