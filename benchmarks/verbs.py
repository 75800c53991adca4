"""Time and memory of the verbs on a CT of 512 x 512 x 133, in this process, with a cold cache.

    python benchmarks/verbs.py [--ct PATH] [--device cpu] [--json FILE]

Prints seconds, CPU seconds and peak memory; the image must be encoded exactly once. Bars (2 CPU
cores, an idle machine): segment under 15 s, encode under 10 s, a phrase under 150 ms (median of
20). Each is printed with what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from common import PHRASES, full_size_scan, line, median, peak_gb, timed

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan

#: Most that a figure of the report may be.
BARS = {"segment_s": 15.0, "encode_s": 10.0, "phrase_ms": 150.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CTVLP_CACHE"] = folder
        report = measure(options.ct, options.device)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def measure(ct: Path | None, device: str) -> dict[str, Any]:
    from napari_ctvlp.engine import verbs

    report: dict[str, Any] = {}
    with timed(report, "open"):
        scan, report["scan"] = full_size_scan(ct)
        scan.digest  # noqa: B018 - worked out once, belongs to opening
    print(f"scan: {report['scan']}, {scan.shape}, {scan.spacing.round(3)} mm")
    with timed(report, "segment"):
        anatomy = verbs.segment(scan, device=device)
    with timed(report, "load model"):
        verbs.warm_up(device=device)
    calls = count_encodings(device)
    with timed(report, "encode"):
        encoding = verbs.encode(scan, anatomy, device=device)
    report["phrase_ms"] = phrases(scan, anatomy, encoding, device)
    with timed(report, "score"):
        verbs.score(scan, anatomy=anatomy, encoding=encoding, device=device)
    report["again_ms"] = kept(scan, device)
    report["times_encoded"] = len(calls)
    report["peak_gb"] = peak_gb()
    line("image encoded", len(calls), "x")
    report["bars"] = {name: bool(report[name] < most) for name, most in BARS.items()}
    for name, passed in report["bars"].items():
        line(f"{'pass' if passed else 'FAIL'}: {name} under {BARS[name]:g}", report[name], "")
    return report


def phrases(scan: Scan, anatomy: AnatomyMap, encoding: Any, device: str) -> float:
    """Return the median of 20 phrases, in ms."""
    from napari_ctvlp.engine import verbs

    taken, worked = [], []
    for phrase in PHRASES:
        start, cpu = time.perf_counter(), time.process_time()
        verbs.ground(scan, phrase, anatomy=anatomy, encoding=encoding, device=device)
        taken.append(1000 * (time.perf_counter() - start))
        worked.append(1000 * (time.process_time() - cpu))
    note = f"worst {max(taken):.0f} ms, median {median(worked):.0f} CPU ms"
    line("phrase to heatmap, median of 20", median(taken), "ms", note)
    return median(taken)


def kept(scan: Scan, device: str) -> float:
    """Return how long a phrase takes when anatomy and encoding come from the cache, in ms."""
    from napari_ctvlp.engine import verbs

    start = time.perf_counter()
    verbs.ground(scan, PHRASES[0], device=device)
    taken = 1000 * (time.perf_counter() - start)
    line("phrase with everything from the cache", taken, "ms")
    return taken


def count_encodings(device: str) -> list[str]:
    """Return a list that grows with every pass of the image through the encoder."""
    from napari_ctvlp.engine import compute, verbs
    from napari_ctvlp.models import store

    calls: list[str] = []
    encoder: Any = verbs._encoder("mini", compute.choose(device, store.card("mini")))
    plain = encoder.encode

    def counted(scan: Scan, *args: Any, **options: Any) -> Any:
        calls.append(scan.digest)
        return plain(scan, *args, **options)

    encoder.encode = counted
    return calls


if __name__ == "__main__":
    main()
