"""docs/cohorts.md: its tables are the schema, and its lines for pandas and DuckDB run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_ctvlp.cohort.schema import MARKS, TABLES, VERSION

TEXT = (Path(__file__).parents[2] / "docs" / "cohorts.md").read_text("utf-8")


def test_the_page_lists_every_column_as_the_schema_has_it():
    for name, columns in {**TABLES, "marks": MARKS}.items():
        listed = (
            TEXT.partition(f"### `{name}.parquet`")[2].partition("\n\n|")[2].partition("\n\n")[0]
        )
        rows = [f"| `{c.name}` | {c.kind} | {c.words} |" for c in columns]
        assert listed.splitlines()[2:] == rows, name
    assert f"## Schema, version {VERSION}" in TEXT


def test_pandas_and_duckdb_read_a_store_by_the_three_lines(store, monkeypatch: pytest.MonkeyPatch):
    code = re.findall(r"```python\n(import duckdb.*?)```", TEXT, re.DOTALL)
    assert len(code) == 1
    assert len(code[0].replace("\n\n", "\n").splitlines()) == 3
    monkeypatch.chdir(store.folder.parent)
    names: dict[str, object] = {}
    exec(code[0].replace("STORE", store.folder.name), names)
    assert len(names["findings"]) > 0  # type: ignore[arg-type]
    assert set(names["findings"].columns) == {c.name for c in TABLES["findings"]}  # type: ignore[attr-defined]
    assert list(names["large"].columns) == ["scan", "ml"]  # type: ignore[attr-defined]
