"""The demo: the whole path on one CT, with the files a report needs."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import napari

from napari_ctvlp.core.findings import FindingRow
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.engine.export import heatmap_on_scan, heatmap_stats, score_rows
from napari_ctvlp.errors import WorkerFailed
from napari_ctvlp.io.nifti import save_on_source
from napari_ctvlp.ui.arrange import raise_dock
from napari_ctvlp.ui.docks.run import RESEARCH_USE
from napari_ctvlp.ui.session import Study
from napari_ctvlp.ui.window import Window, ct_path, open_window, settle, wait_for
from napari_ctvlp.ui.words import peak_words, verdict_words

TRAINED_ON = "The embedded model was trained on this scan, its nodule aside."
_PACKAGES = ("napari-ctvlp", "napari", "PySide6_Essentials", "torch", "transformers", "numpy",
             "scipy", "nibabel", "safetensors")  # fmt: skip
#: Longest waits in seconds: reading, anatomy, encoding, scores, one phrase.
_PATIENCE = {"scan": 300, "anatomy": 600, "encoding": 1800, "findings": 300, "heatmap": 300}


def demo(out: Path, ct: str, phrase: str, *, trained_on: bool, stay: bool) -> dict[str, Any]:
    """Open a CT, find its organs, encode it, look for a phrase, and write what came out.

    Parameters
    ----------
    out : Path
        Folder for screenshots, NIfTI, CSV and ``manifest.json``; made when missing.
    ct : str
        File or DICOM folder, or ``"sample"``.
    phrase : str
        What to look for.
    trained_on : bool
        Whether the model was trained on this scan, which is then said.
    stay : bool
        Leave the window open afterwards.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    CtvlpError
        In words, whatever failed.
    """
    timings: dict[str, float] = {}
    window = open_window()
    try:
        study = _compute(window, ct, phrase, timings)
        heatmap = study.heatmap
        if heatmap is None:
            raise _missing("a heatmap")
        out.mkdir(parents=True, exist_ok=True)
        _look(window)
        _screenshots(window, out)
        _write_results(out, study, heatmap)
        manifest = _manifest(window, study, heatmap, ct, timings)
        (out / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        print(report(heatmap, out, trained_on=trained_on))
        if stay:
            napari.run()
    finally:
        if not stay:
            window.viewer.close()
        window.room.bridge.close()
    return manifest


def report(heatmap: Heatmap, out: Path, *, trained_on: bool) -> str:
    """Return what the demo prints: where it looked, how sure it is, and what to bear in mind."""
    lines = [
        f'Looked for "{heatmap.phrase.text}". {heatmap.gate.words}',
        peak_words(heatmap),
        verdict_words(heatmap),
        TRAINED_ON if trained_on else "",
        RESEARCH_USE,
        f"Files are in {out}.",
    ]
    return "\n".join(line for line in lines if line)


def _compute(window: Window, ct: str, phrase: str, timings: dict[str, float]) -> Study:
    """Run every job, one after the other, and note how long each took."""
    room = window.room

    def timed(name: str) -> None:
        start = time.monotonic()
        wait_for(room, lambda: _has(room.session.study, name), f"the {name}", _PATIENCE[name])
        timings[name] = round(time.monotonic() - start, 3)
        print(f"{name}: {timings[name]:.1f} s", flush=True)

    room.open_path(ct_path(ct))
    for name in ("scan", "anatomy", "encoding", "findings"):
        timed(name)
    room.session.ground(phrase)
    timed("heatmap")
    if room.session.study is None:
        raise _missing("a study")
    return room.session.study


def _has(study: Study | None, name: str) -> bool:
    return study is not None and getattr(study, name) is not None


def _look(window: Window) -> None:
    """Show lung window and the peak, everything painted."""
    views: Any = window.docks["Views"]
    window.room.desk.set_window("Lung")
    raise_dock(window.docks["Findings"])
    settle(1.0)
    views.fit()
    views.flush()
    settle(1.5)


def _screenshots(window: Window, out: Path) -> None:
    views: Any = window.docks["Views"]
    window.viewer.screenshot(str(out / "axial.png"), canvas_only=True, flash=False)
    for plane, canvas in views.canvases.items():
        canvas.screenshot(str(out / f"{plane}.png"), flash=False)
    window.viewer.screenshot(str(out / "window.png"), canvas_only=False, flash=False)


def _write_results(out: Path, study: Study, heatmap: Heatmap) -> None:
    """Write heatmap and labels on the source's own grid, and the scores."""
    scan = study.scan
    save_on_source(out / "heatmap.nii.gz", heatmap_on_scan(heatmap, scan), scan)
    if study.anatomy is not None:
        save_on_source(out / "anatomy.nii.gz", study.anatomy.labels, scan)
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(FindingRow)])
        writer.writeheader()
        writer.writerows(score_rows(study.findings) if study.findings is not None else ())


def _manifest(
    window: Window, study: Study, heatmap: Heatmap, ct: str, timings: dict[str, float]
) -> dict[str, Any]:
    """Return what ran on what, and what came out: enough to run it again and compare."""
    encoding, anatomy = study.encoding, study.anatomy
    return {
        "versions": {name: _version(name) for name in _PACKAGES},
        "models": {
            "encoder": encoding.model if encoding else "",
            "encoder_weights_sha256": encoding.weights if encoding else "",
            "segmenter": anatomy.source if anatomy else "",
        },
        "input": {
            "ct": ct if ct == "sample" else "a file or folder of the user's",
            "files": len(study.scan.source.files),
            "first_file_sha256": _sha256(study.scan.source.files[:1]),
        },
        "parameters": asdict(window.room.session.run),
        "timings_s": timings,
        **heatmap_stats(heatmap, study.scan),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _sha256(paths: tuple[Path, ...]) -> str:
    """SHA-256 of the first file; its voxels' digest stands beside it."""
    return hashlib.sha256(paths[0].read_bytes()).hexdigest() if paths else ""


def _missing(what: str) -> WorkerFailed:
    return WorkerFailed(
        "no-answer", f"{what} at the end of the demo.", f"There is no {what}.", "Run it again."
    )
