"""What the local cluster and the store cost over a plain loop of the verbs, in CPU seconds.

    python benchmarks/cohort.py [--counts 20 300] [--repeats 1] [--workers 2]

The studies are pieces of the phantom, half a second of work each, whole and broken ones. Two counts
tell the start (imports, models, processes) from what each further scan costs. CPU seconds of all
processes are compared, so that other programs on the machine do not count.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "cohort")]

from common import median  # noqa: E402
from studies import write_archive  # noqa: E402

PHRASES = ("nodule in the left lung", "no pleural effusion")
#: Edges of the pieces against those of the tests.
SCALE = 1.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs=2, default=(20, 300))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.plain:
        plain(chosen.plain)
        return
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), chosen.counts, chosen.repeats, chosen.workers)


def plain(manifest: Path) -> None:
    """Call the verbs on one study after the other, and keep nothing."""
    from napari_ctvlp.cohort.inputs import find_inputs
    from napari_ctvlp.engine import verbs
    from napari_ctvlp.errors import CtvlpError

    for one in find_inputs(manifest)[0]:
        try:
            scan = verbs.open_scan(one.path)
            anatomy = verbs.segment(scan)
            encoding = verbs.encode(scan, anatomy)
            verbs.score(scan, anatomy=anatomy, encoding=encoding)
            for phrase in PHRASES:
                verbs.ground(scan, phrase, anatomy=anatomy, encoding=encoding)
        except CtvlpError:
            continue


def compare(folder: Path, counts: tuple[int, int], repeats: int, workers: int) -> None:
    """Run loop and cluster in turn, and print medians and ratios."""
    phrases = folder / "phrases.txt"
    phrases.write_text("\n".join(PHRASES))
    took: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for count in counts:
        manifest = write_archive(folder / str(count), count, min(10, count // 5), scale=SCALE)
        for turn in range(repeats):
            batch = ["-m", "napari_ctvlp.cli.main", "batch", manifest, "--phrases", phrases]
            batch += ["--out", folder / f"store-{count}-{turn}", "--workers", workers]
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
