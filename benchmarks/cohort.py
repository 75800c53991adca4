"""What the local cluster and the store cost over a plain loop, in CPU seconds.

    python benchmarks/cohort.py [--counts 20 300] [--repeats 1] [--workers 2] [--scale 1.4]

The loop calls the same verbs and writes the same rows, once at its end. The studies are pieces of
the phantom, a third of a second of work each unless --scale makes them larger, whole and broken
ones. Two counts tell the start (imports, models, processes) from what each further scan costs. CPU
seconds of all processes are compared, so that other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "cohort")]

from common import median  # noqa: E402
from studies import write_archive  # noqa: E402

PHRASES = ("nodule in the left lung", "no pleural effusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs=2, default=(20, 300))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.4, help="edges against the tests' pieces")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.plain:
        plain(chosen.plain)
        return
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), chosen)


def plain(manifest: Path) -> None:
    """Call the verbs on one study after the other, and write the rows at the end, all at once."""
    import pyarrow
    from pyarrow import parquet

    from napari_ctvlp.cohort import rows, work
    from napari_ctvlp.cohort.inputs import find_inputs
    from napari_ctvlp.cohort.schema import TABLES, arrow_schema

    kept: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for number, one in enumerate(find_inputs(manifest)[0], 1):
        try:
            found = answers(one.path)
        except Exception as error:
            found = {"scans": [rows.failed_row(work.as_own(error), str(error))]}
        found["labels"] = [{"name": key, "value": one.labels[key]} for key in one.labels]
        for name, some in rows.numbered(f"{number:06d}", found).items():
            kept[name] += some
    for name, some in kept.items():
        table = pyarrow.Table.from_pylist(some, schema=arrow_schema(TABLES[name]))
        parquet.write_table(table, manifest.with_name(f"{name}.parquet"), compression="zstd")


def answers(path: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one scan."""
    from napari_ctvlp.cohort import rows
    from napari_ctvlp.engine import verbs

    scan = verbs.open_scan(path)
    if scan.meta.unit != "HU":
        raise ValueError("not a CT")
    anatomy = verbs.segment(scan)
    encoding = verbs.encode(scan, anatomy)
    table = verbs.score(scan, anatomy=anatomy, encoding=encoding)
    heatmaps = {
        phrase: verbs.ground(scan, phrase, anatomy=anatomy, encoding=encoding) for phrase in PHRASES
    }
    row = {"state": "done", **rows.scan_row(scan), "encoding": encoding.digest}
    return {"scans": [row], **rows.rows_of(anatomy, encoding, table, heatmaps, scan)}


def compare(folder: Path, chosen: argparse.Namespace) -> None:
    """Run loop and cluster in turn, and print medians and ratios."""
    phrases = folder / "phrases.txt"
    phrases.write_text("\n".join(PHRASES))
    took: dict[tuple[str, int], list[tuple[float, float]]] = {}
    counts = chosen.counts
    for count in counts:
        broken = min(10, count // 5)
        manifest = write_archive(folder / str(count), count, broken, scale=chosen.scale)
        for turn in range(chosen.repeats):
            batch = ["-m", "napari_ctvlp.cli.main", "batch", manifest, "--phrases", phrases]
            batch += ["--out", folder / f"store-{count}-{turn}", "--workers", chosen.workers]
            for kind, words in (("loop", [__file__, "--plain", manifest]), ("cluster", batch)):
                took.setdefault((kind, count), []).append(seconds(folder, words))
    for (kind, count), pairs in took.items():
        cpu, wall = (median(values) for values in zip(*pairs, strict=True))
        print(f"{kind:<8} {count:>4} studies: {cpu:7.1f} CPU s, {wall:7.1f} s", flush=True)
    few, many = counts
    each, start = {}, {}
    for kind in ("loop", "cluster"):
        low, high = (median([cpu for cpu, _ in took[kind, count]]) for count in counts)
        each[kind] = (high - low) / (many - few)
        start[kind] = low - few * each[kind]
        print(f"{kind:<8} start {start[kind]:.1f} CPU s, then {1000 * each[kind]:.0f} ms each")
    total = {kind: start[kind] + 300 * each[kind] for kind in each}
    print(f"overhead of each further scan: {each['cluster'] / each['loop'] - 1:+.1%}")
    print(f"overhead at 300 studies, starts included: {total['cluster'] / total['loop'] - 1:+.1%}")


def seconds(folder: Path, words: list[object]) -> tuple[float, float]:
    """Run Python with words; return CPU seconds of it and what it started, and wall seconds."""
    cache = tempfile.mkdtemp(dir=folder)
    environment = {**os.environ, "CTVLP_CACHE": cache, "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *map(str, words)], check=True, env=environment, cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start


if __name__ == "__main__":
    main()
