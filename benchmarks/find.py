"""``ctvlp find`` over a generated store of 100,000 scans x 15 organ vectors.

    python benchmarks/find.py [--scans 100000] [--out FOLDER]

Prints the time to open the index, the time of each answer (median and worst of the phrases, with
and without a condition in SQL), the peak memory of the process that searches, and whether the
ranking is that of a plain numpy product. The store is made first, by another process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

from common import line, peak_gb  # noqa: E402

from napari_ctvlp.cohort.find import Index, organs_of  # noqa: E402
from napari_ctvlp.cohort.schema import TABLES, arrow_schema  # noqa: E402
from napari_ctvlp.cohort.store import Store  # noqa: E402
from napari_ctvlp.core.parser import parse  # noqa: E402

ORGANS = (
    "lung_left", "lung_right", "mediastinum", "heart", "aorta", "oesophagus", "liver",
    "gallbladder", "spleen", "pancreas", "stomach", "kidney_left", "kidney_right", "abdomen",
    "bones",
)  # fmt: skip
WIDTH = 64
PHRASES = ("nodule in the left lung", "no pleural effusion", "liver cyst", "something odd")
WHERE = "liver_ml > 2000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", type=int, default=100_000)
    parser.add_argument("--out", type=Path, help="keep the store here, or use the one there")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        search(options.search)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = options.out or Path(folder) / "store"
        if not store.exists():
            make(store, options.scans)
        subprocess.run([sys.executable, __file__, "--search", str(store)], check=True)


def make(folder: Path, scans: int) -> None:
    """Write the tables of a store as folding writes them, ordered by scan."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    store = Store.create(folder, model="mini", segmenter="anatomy")
    rng = np.random.default_rng(0)
    names = [f"{number + 1:06d}" for number in range(scans)]
    tables = {name: [] for name in TABLES}
    writers = {
        name: pq.ParquetWriter(store.table_path(name), arrow_schema(columns), compression="zstd")
        for name, columns in TABLES.items()
    }
    for start in range(0, scans, 5000):
        some = names[start : start + 5000]
        each, organs = np.repeat(some, len(ORGANS)), np.tile(ORGANS, len(some))
        vectors = rng.normal(size=(len(each), WIDTH)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tables = {
            "scans": {"scan": some, "state": ["done"] * len(some)},
            "organs": {"scan": each, "organ": organs, "ml": rng.uniform(10, 3000, len(each))},
            "vectors": {"scan": each, "organ": organs, "vector": list(vectors)},
            "findings": {}, "phrases": {}, "labels": {},
        }  # fmt: skip
        for name, columns in tables.items():
            schema = arrow_schema(TABLES[name])
            rows = len(columns.get("scan", ()))
            arrays = [
                pa.array(columns[field.name], field.type)
                if field.name in columns
                else pa.nulls(rows, field.type)
                for field in schema
            ]
            writers[name].write_table(pa.table(arrays, schema=schema))
    for writer in writers.values():
        writer.close()


def search(folder: Path) -> None:
    """Open the index, answer each phrase, compare with a plain product."""
    start = time.perf_counter()
    index = Index(Store(folder))
    index.prepare()
    line("open", time.perf_counter() - start, "s", f"{len(index.scans)} scans")
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {"": [], WHERE: []}
    worked: dict[str, list[float]] = {"": [], WHERE: []}
    same = True
    for text in PHRASES:
        phrase, vector = parse(text), rng.normal(size=WIDTH).astype(np.float32)
        organs = organs_of(phrase, list(index.vectors), {})
        for where, took in times.items():
            start, cpu = time.perf_counter(), time.process_time()
            ranking = index.rank(phrase, vector, organs, where=where)
            took.append(time.perf_counter() - start)
            worked[where].append(time.process_time() - cpu)
            if not where:
                same &= [row.scan for row in ranking.rows] == plain(index, vector, organs, phrase)
    for where, took in times.items():
        name = f"answer, whole ranking{' where ' + where if where else ''}"
        note = (
            f"worst {1000 * max(took):.0f} ms; {1000 * float(np.median(worked[where])):.0f} CPU ms"
        )
        line(name, 1000 * float(np.median(took)), "ms", note)
    print("ranking as a plain product:", same)
    print(json.dumps({"peak_gb": round(peak_gb(), 2), "same": same,
                      "worst_ms": round(1000 * max(map(max, times.values())))}))  # fmt: skip


def plain(index: Index, vector: np.ndarray, organs: list[str], phrase: object) -> list[str]:
    """Rank by one product over all vectors of the organs, put together scan by scan."""
    cube = np.full((len(index.scans), len(organs), len(vector)), np.nan, np.float32)
    for place, organ in enumerate(organs):
        cube[index.rows[organ], place] = index.vectors[organ]
    scores = np.nanmax(np.stack([cube[:, n] @ vector for n in range(len(organs))], 1), axis=1)
    order = np.argsort(scores if phrase.negated else -scores, kind="stable")
    return [index.scans[n] for n in order]


if __name__ == "__main__":
    main()
