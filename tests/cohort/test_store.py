"""The store: older schemas, damage, breaking off while folding, marks, other readers."""

import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest

from napari_ctvlp.cohort.batch import batch
from napari_ctvlp.cohort.lock import only_writer
from napari_ctvlp.cohort.schema import MARKS, TABLES, VERSION
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.errors import InputRefused


@pytest.fixture
def copy(store, tmp_path):
    shutil.copytree(store.folder, tmp_path / "store")
    return tmp_path / "store"


def done(scan, organ="liver", ml=1.0):
    return {
        "scans": [{"scan": scan, "state": "done", "recipe": "r"}],
        "organs": [{"scan": scan, "organ": organ, "ml": ml}],
    }


def test_columns_are_those_of_the_schema(store):
    for name, columns in TABLES.items():
        assert pq.read_schema(store.table_path(name)).names == [column.name for column in columns]


def test_a_commit_replaces_the_rows_of_its_scan_before_and_after_folding(tmp_path, rows):
    store = Store.create(tmp_path / "s", model="mini", segmenter="anatomy")
    store.commit("000001", done("000001"))
    store.commit("000002", done("000002"))
    store.fold()
    assert not list((store.folder / "commits").iterdir())
    store.commit("000001", done("000001", "spleen", 2.0))
    store.look()
    before = rows(store.folder)
    assert [row[:3] for row in before["organs"]] == [
        ("000001", "spleen", 2.0), ("000002", "liver", 1.0),
    ]  # fmt: skip
    store.fold()
    assert rows(store.folder) == before


def test_folding_that_broke_off_is_finished(copy, rows):
    before = rows(copy)
    (copy / "fold").mkdir()
    for name in ("organs", "vectors"):
        (copy / f"{name}.parquet").rename(copy / "fold" / f"{name}.parquet")
    (copy / "organs.parquet").write_bytes(b"older")
    (copy / "fold.part").mkdir()
    assert rows(copy) == before, "read while it is unfinished"
    Store(copy).fold()
    assert not (copy / "fold").exists()
    assert rows(copy) == before


def test_a_truncated_table_is_named_and_the_rest_is_usable(copy, archive, rows):
    before, path = rows(copy), copy / "organs.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    store = Store(copy)
    assert list(store.damaged) == ["organs.parquet"]
    now = rows(copy)
    assert now["organs"] == []
    assert now["findings"] == before["findings"]
    report = batch(archive, copy, workers=0)
    assert any("organs.parquet" in note for note in report.notes)
    assert report.done == 8
    assert rows(copy) == before
    assert (copy / "organs.parquet.damaged").exists()


def test_a_truncated_commit_is_named_and_done_again(copy, archive, rows):
    before = rows(copy)
    (copy / "commits" / "000001.parquet").write_bytes(b"PAR1 half")
    assert list(Store(copy).damaged) == ["commits/000001.parquet"]
    report = batch(archive, copy, workers=0)
    assert "commits/000001.parquet" in report.notes[0]
    assert rows(copy) == before


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_another_schema_is_refused_with_words(copy, version):
    info = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps({**info, "schema": version}))
    with pytest.raises(InputRefused, match=f"of schema {version}; nothing of it was read"):
        Store(copy)


def test_a_table_of_another_schema_is_refused_with_words(copy):
    pd.DataFrame({"scan": ["000001"], "organ": ["liver"]}).to_parquet(copy / "organs.parquet")
    with pytest.raises(InputRefused, match=r"organs\.parquet is of schema 0"):
        Store(copy)


def test_no_store_and_another_folder_are_refused(tmp_path, archive, copy):
    with pytest.raises(InputRefused, match=r"no store\.json"):
        Store(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(InputRefused, match="holds something else"):
        batch(archive, tmp_path / "mine", workers=0)
    with pytest.raises(InputRefused, match="for 'fvlm'"):
        batch(archive, copy, model="fvlm", workers=0)
    with only_writer(copy), pytest.raises(InputRefused, match="Another process"):
        batch(archive, copy, workers=0)


def test_marks_are_a_column_with_a_date(copy):
    store = Store(copy)
    store.mark("000001", "accept")
    date = store.mark("000002", "reject")
    store.mark("000001", "")
    marks = pq.read_table(copy / "marks.parquet").to_pylist()
    assert marks == [{"scan": "000002", "mark": "reject", "date": date}]
    assert [column.name for column in MARKS] == ["scan", "mark", "date"]
    (row,) = store.connect().execute("FROM marks").fetchall()
    assert row == ("000002", "reject", date)


def test_percentiles_and_verdicts_come_with_enough_scans(tmp_path):
    store = Store.create(tmp_path / "s", model="mini", segmenter="anatomy")
    for number in range(101):
        scan = f"{number:06d}"
        finding = {"scan": scan, "organ": "liver", "finding": "cyst", "margin": float(number)}
        store.commit(scan, {"scans": [{"scan": scan, "state": "done"}], "findings": [finding]})
    store.commit("000500", {"findings": [{**finding, "scan": "000500", "margin": None}],
                            "scans": [{"scan": "000500", "state": "done"}]})  # fmt: skip
    store.look()
    store.fold()
    query = "SELECT margin, percentile, verdict FROM findings ORDER BY margin NULLS LAST"
    rows = store.connect().execute(query).fetchall()
    assert [row[1] for row in rows[:101]] == pytest.approx(list(range(101)))
    assert [rows[n][2] for n in (0, 50, 51, 94, 95, 100)] == [
        "absent", "absent", "cannot tell", "cannot tell", "present", "present",
    ]  # fmt: skip
    assert rows[101][1:] == (None, "cannot tell")
