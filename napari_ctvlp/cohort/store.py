"""The store: five Parquet tables and what has been committed since they were folded.

::

    STORE/
      store.json              format, version of the schema, model, segmenter
      scans.parquet ...       one file for each table of schema.TABLES
      commits/000017.parquet  one finished scan that is not folded into the tables yet
      tokens/000017.zip       its tokens and labels (zarr), where they were asked for
      marks.parquet           what a reader accepted or rejected
      log.jsonl               a line when a scan is begun, and one when it is done
      store.lock, scans.lock  held while somebody writes
      identity/ids.csv        which file each scan was: the one place with names

A commit is one file that appears whole. Folding writes new tables beside the old ones and makes
them count by the renaming of one folder; broken off anywhere, it is finished or begun again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_ctvlp.cohort.schema import (
    FORMAT,
    MARKS,
    ORDER,
    SQL_TYPES,
    TABLES,
    VERSION,
    Column,
    arrow_schema,
    commit_schema,
    need,
)
from napari_ctvlp.errors import InputRefused

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
#: Scans a percentile needs, and per cent from which on, and up to which, it is an answer.
LEAST_SCANS, PRESENT_FROM, ABSENT_UP_TO = 100, 95.0, 50.0
#: No file takes longer to be written, in seconds.
_HALF_S = 600.0


class Store:
    """An open store.

    Parameters
    ----------
    folder : Path
    look : bool
        False leaves the files unseen: enough to commit, and quick.

    Attributes
    ----------
    info : dict
        What ``store.json`` says.
    damaged : dict of str to str
        Files that cannot be read, with the reason; the rest is usable.

    Raises
    ------
    InputRefused
        ``no-store`` when there is none, ``store-schema`` when it is of another version.
    """

    def __init__(self, folder: Path | str, *, look: bool = True) -> None:
        self.folder = Path(folder)
        self.info = _info(self.folder)
        self.damaged: dict[str, str] = {}
        if look:
            self.look()

    @classmethod
    def create(cls, folder: Path | str, **info: str) -> Store:
        """Open a store, made when there is none; ``info`` goes into ``store.json``."""
        folder = Path(folder)
        if not (folder / "store.json").exists():
            _refuse_foreign(folder)
            for name in ("commits", "tokens", "identity"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / "identity").chmod(0o700)
            text = json.dumps({"format": FORMAT, "schema": VERSION, **info}, indent=2)
            write_whole(folder / "store.json", (text + "\n").encode())
        return cls(folder)

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.resolve().name

    def look(self) -> None:
        """See which files are there and whole."""
        self.damaged = {}
        self._tables = {name: self._whole(self.table_path(name)) for name in TABLES}
        commits = sorted((self.folder / "commits").glob("[!.]*.parquet"))
        self._commits = [path for path in commits if self._whole(path)]
        self._marks = self._whole(self.folder / "marks.parquet")

    def table_path(self, name: str) -> Path:
        """Return the file of a table that counts."""
        fresh = self.folder / "fold" / f"{name}.parquet"
        return fresh if fresh.exists() else self.folder / f"{name}.parquet"

    def commit_path(self, scan: str) -> Path:
        """Return where the commit of a scan lies until it is folded."""
        return self.folder / "commits" / f"{scan}.parquet"

    def connect(self) -> Any:
        """Return a DuckDB connection with one view for each table, and ``marks``."""
        duckdb = need("duckdb")
        connection = duckdb.connect()
        connection.execute("SET enable_progress_bar = false")
        files = ", ".join(f"'{_quoted(path)}'" for path in self._commits)
        commits = f"read_parquet([{files}])" if files else ""
        done = f"SELECT scans[1].scan AS scan FROM {commits}" if files else "SELECT '' AS scan"
        connection.execute(f"CREATE TEMP TABLE committed AS {done}")
        for name, columns in TABLES.items():
            query = self._query(name, columns, commits)
            connection.execute(f"CREATE VIEW {name} AS {query}")
        source = f"read_parquet('{_quoted(self.folder / 'marks.parquet')}')"
        marks = f"SELECT * FROM {source}" if self._marks else _nothing(MARKS)
        connection.execute(f"CREATE VIEW marks AS {marks}")
        return connection

    def commit(self, scan: str, rows: Rows) -> None:
        """Add the rows of one scan, all of them or none; they replace older ones."""
        pa, pq = need("pyarrow"), need("pyarrow.parquet")
        one = {name: [list(rows.get(name, ()))] for name in TABLES}
        table = pa.table(one, schema=commit_schema())
        path = self.commit_path(scan)
        half = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            pq.write_table(table, half, compression="zstd")
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)

    def recipe_of(self, scan: str) -> str:
        """Return the recipe of a scan's rows, committed or folded, ``""`` without any."""
        pq, path = need("pyarrow.parquet"), self.commit_path(scan)
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            return str(pq.read_table(path, columns=["scans"])["scans"][0].as_py()[0]["recipe"])
        for folder in (self.folder / "fold", self.folder):
            with contextlib.suppress(OSError, ValueError, IndexError):
                table, own = folder / "scans.parquet", [("scan", "=", scan)]
                return str(pq.read_table(table, columns=["recipe"], filters=own)[0][0].as_py())
        return ""

    def mark(self, scan: str, mark: str) -> str:
        """Accept or reject a scan, or take that back with ``""``; returns the date."""
        pa, pq = need("pyarrow"), need("pyarrow.parquet")
        path, date = self.folder / "marks.parquet", datetime.now(UTC).isoformat(timespec="seconds")
        if path.exists() and not self._whole(path):
            raise damage(path.name, "It holds what was accepted and rejected.")
        known = pq.read_table(path).to_pylist() if path.exists() else []
        rows = [row for row in known if row["scan"] != scan]
        if mark:
            rows.append({"scan": scan, "mark": mark, "date": date})
        half = path.with_name(f".marks.{os.getpid()}.part")
        pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(MARKS)), half)
        half.replace(path)
        self._marks = True
        return date

    def fold(self) -> None:
        """Put every commit into the tables; for the one writer of the store only.

        Percentiles and verdicts of findings are worked out here, over all scans.
        """
        self._finish()
        self.look()
        if not self._commits and all(self._tables.values()):
            return
        folded = list(self._commits)
        part = self.folder / "fold.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        connection = self.connect()
        for name in TABLES:
            columns = _judged() if name == "findings" else "*"
            connection.execute(
                f"COPY (SELECT {columns} FROM {name} ORDER BY {', '.join(ORDER[name])}) "
                f"TO '{_quoted(part / (name + '.parquet'))}' (FORMAT parquet, COMPRESSION zstd, "
                f"KV_METADATA {{ctvlp_schema: '{VERSION}'}})"
            )
        connection.close()
        part.rename(self.folder / "fold")
        self._finish()
        for path in folded:
            path.unlink()
        self.look()

    def set_aside(self) -> list[str]:
        """Rename files that cannot be read, so that their scans are computed anew."""
        names = list(self.damaged)
        for name in names:
            path = self.folder / name
            path.replace(path.with_name(f"{path.name}.damaged"))
        self.look()
        return names

    def sweep(self) -> None:
        """Delete halves of files that a killed process left, once they are surely nobody's."""
        long_ago = time.time() - _HALF_S
        for half in self.folder.rglob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if half.stat().st_mtime < long_ago:
                    half.unlink()

    def _finish(self) -> None:
        """Put tables that count, after a run was broken off, where they belong."""
        fold = self.folder / "fold"
        for path in sorted(fold.glob("*.parquet")) if fold.exists() else ():
            path.replace(self.folder / path.name)
        with contextlib.suppress(FileNotFoundError):
            fold.rmdir()

    def _query(self, name: str, columns: tuple[Column, ...], commits: str) -> str:
        """Return the rows of a table: committed ones before those of the same scan in the file."""
        parts = []
        names = ", ".join(column.name for column in columns)
        if self._tables[name]:
            source = f"read_parquet('{_quoted(self.table_path(name))}')"
            parts.append(
                f"SELECT {names} FROM {source} WHERE scan NOT IN (SELECT scan FROM committed)"
            )
        if commits:
            parts.append(
                f"SELECT {names} FROM (SELECT unnest({name}, max_depth := 2) FROM {commits})"
            )
        return " UNION ALL ".join(parts) or _nothing(columns)

    def _whole(self, path: Path) -> bool:
        """Return whether a Parquet file is there and whole; damage is noted by its name."""
        pq = need("pyarrow.parquet")
        if not path.exists():
            return False
        name = path.relative_to(self.folder).as_posix()
        try:
            metadata = pq.ParquetFile(path).metadata.metadata or {}
        except (OSError, ValueError) as error:
            self.damaged[name] = f"It cannot be read ({type(error).__name__}): truncated, perhaps."
            return False
        version = metadata.get(b"ctvlp_schema", b"0").decode()
        if version != str(VERSION):
            raise _other_schema(name, version)
        return True


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is there whole or not at all."""
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        half.write_bytes(content)
        half.chmod(mode)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def damage(name: str, words: str) -> InputRefused:
    """Return the refusal of a file of a store that cannot be read."""
    return InputRefused(
        "store-damaged",
        "whole Parquet files.",
        f"{name} of the store cannot be read. {words}",
        "Put a copy in its place, or delete it and run ctvlp batch again.",
    )


def check_usable(store: Store, tables: Iterable[str]) -> None:
    """Refuse a store whose tables of these names are damaged."""
    for name in tables:
        if f"{name}.parquet" in store.damaged:
            raise damage(f"{name}.parquet", store.damaged[f"{name}.parquet"])


def _info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        if info["format"] != FORMAT:
            raise ValueError("another format")
        version = info["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputRefused(
            "no-store",
            "a folder that ctvlp batch has written.",
            f"{folder.name} has no store.json of the form '{FORMAT}'.",
            "Choose another folder, or make a store: ctvlp batch INPUT --out STORE.",
        ) from None
    if version != VERSION:
        raise _other_schema(folder.name, version)
    return dict(info)


def _other_schema(name: str, version: object) -> InputRefused:
    return InputRefused(
        "store-schema",
        f"a store of schema {VERSION}.",
        f"{name} is of schema {version}; nothing of it was read.",
        "Make it anew with ctvlp batch, or read it with the version that wrote it.",
    )


def _refuse_foreign(folder: Path) -> None:
    """Refuse to make a store among files of another kind."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputRefused(
            "would-overwrite",
            "a new or empty folder, or a store.",
            f"{folder.name} holds something else.",
            "Choose another folder.",
        )


def _judged() -> str:
    """Return the columns of findings, percentile and verdict among the judged rows."""
    window = "PARTITION BY organ, finding, margin IS NULL"
    rank = f"100 * percent_rank() OVER ({window} ORDER BY margin)"
    many = f"count(*) OVER ({window}) >= {LEAST_SCANS}"
    percentile = f"CASE WHEN margin IS NOT NULL THEN {rank} END"
    verdict = (
        f"CASE WHEN margin IS NULL OR NOT ({many}) THEN 'cannot tell' "
        f"WHEN {rank} >= {PRESENT_FROM} THEN 'present' "
        f"WHEN {rank} <= {ABSENT_UP_TO} THEN 'absent' ELSE 'cannot tell' END"
    )
    return f"* REPLACE ({percentile} AS percentile, {verdict} AS verdict)"


def _nothing(columns: tuple[Column, ...]) -> str:
    """Return a query without a row."""
    empty = ", ".join(f"NULL::{SQL_TYPES[c.kind]} AS {c.name}" for c in columns)
    return f"SELECT {empty} WHERE false"


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
