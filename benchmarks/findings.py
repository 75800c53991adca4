"""What the whole findings table costs beside one finding, after encoding, on the sample CT.

    python benchmarks/findings.py [--model mini] [--device cpu]

One finding is the job of one click: its map inside the organ, judged, of a row that was not asked
before. The table is every finding over every anatomy; "answered" adds the judged map of each row
that can be judged. Medians of five, in ms of CPU and of wall time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from common import line, median

from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.resources import sample_folder
from napari_ctvlp.engine import by_organ, verbs

TIMES, MOST = 5, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    where = {"model": asked.model, "device": asked.device}
    scan = verbs.open_scan(sample_folder() / "ct.nii.gz")
    anatomy = verbs.segment(scan, device=asked.device)
    encoding = verbs.encode(scan, anatomy, **where)
    where |= {"anatomy": anatomy, "encoding": encoding}
    table = verbs.score(scan, **where)
    judged = [row for row in table.rows if not row.support]
    by_organ.finding(scan, judged[0], **where)  # what every later phrase finds kept
    one = timed([lambda row=row: by_organ.finding(scan, row, **where) for row in judged[1:]])
    every = timed([lambda: verbs.score(scan, **where)] * TIMES)
    tell("one finding in one organ", one)
    tell(told(table), every)
    whole = timed([lambda: by_organ.verdicts(scan, judged, **where)] * TIMES)
    tell(f"the same table with {len(judged)} rows answered", whole)
    for name, times in (("table", every), ("answered table", whole)):
        cpu, wall = (times[n] / one[n] for n in (0, 1))
        verdict = f"bar: at most {MOST:g}" if name == "table" else "no bar"
        print(f"{name} / one finding: {cpu:.2f} in CPU time, {wall:.2f} in wall time ({verdict})")


def timed(jobs: list[Callable[[], Any]]) -> tuple[float, float]:
    """Return median CPU and wall time of the first few jobs in ms."""
    cpu, wall = [], []
    for job in jobs[:TIMES]:
        start = time.process_time(), time.perf_counter()
        job()
        cpu.append(1000 * (time.process_time() - start[0]))
        wall.append(1000 * (time.perf_counter() - start[1]))
    return median(cpu), median(wall)


def told(table: FindingsTable) -> str:
    findings, organs = {row.finding for row in table.rows}, {row.organ for row in table.rows}
    return f"{len(findings)} findings over {len(organs)} organs"


def tell(what: str, times: tuple[float, float]) -> None:
    line(what, times[0], "ms", f"CPU, {times[1]:.0f} ms wall")


if __name__ == "__main__":
    main()
