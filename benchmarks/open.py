"""Opening a DICOM series of 512 x 512 x 300 in the window, beside SimpleITK's reader alone.

``python benchmarks/open.py [--rounds N]`` writes the series once (from the sample CT), then
measures, each in a process of its own and in turn: SimpleITK reads the series (file names, then
voxels); the window, already open and at rest, is asked for the folder, and it is noted when the
provisional picture was painted, when the scan was whole, when its picture was painted, and how
much the peak memory grew from before the question. Medians are judged: the first picture, which
is the provisional one, must be there before SimpleITK is done and before all slices are decoded,
and the growth must stay under 2.2 times the int16 volume. The picture of the whole scan is
printed beside it, and the CPU seconds of both, since the clock alone says little on a machine
that does other things.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

SHAPE = (300, 512, 512)
VOLUME_MB = 2 * float(np.prod(SHAPE)) / 1e6
MOST_GROWTH = 2.2


def one_series(
    folder: Path, shape: tuple[int, int, int], person: tuple[str, str], **elements: Any
) -> None:
    """Write the sample CT, resampled to ``shape``, as one axial series of a made-up patient."""
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    from napari_ctvlp.core.geometry import oriented_affine, resample, transform
    from napari_ctvlp.core.resources import sample_folder
    from napari_ctvlp.engine.opening import open_scan

    folder.mkdir(parents=True, exist_ok=True)
    scan = open_scan(sample_folder() / "ct.nii.gz")
    steps = np.array(scan.shape) * scan.spacing / shape
    centre = transform(scan.affine, (np.array(scan.shape) - 1) / 2)
    affine = oriented_affine("IPL", shape, steps, centre)
    hu = resample(scan.hu, scan.affine, shape, affine, fill=-1000)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(shape[0]):
        r, a, s = transform(affine, (k, 0, 0))
        data = _slice(np.clip(hu[k] + 1024, 0, 4095), k, steps)
        data.PatientName, data.PatientID = person
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID = frame
        data.ImagePositionPatient = [round(float(x), 4) for x in (-r, -a, s)]
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword, value in elements.items():
            setattr(data, keyword, value)
        data.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def _slice(stored: np.ndarray, number: int, steps: np.ndarray) -> Any:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SeriesDescription, data.SeriesNumber = "Chest, generated", 1
    data.InstanceNumber, data.AcquisitionNumber = number + 1, 1
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [f"{x:.6f}" for x in steps[1:]], f"{steps[0]:.6f}"
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = stored.astype("<u2").tobytes()
    return data


def by_simpleitk(folder: Path) -> dict[str, float]:
    import SimpleITK as sitk  # noqa: N813

    start, cpu = time.perf_counter(), time.process_time()
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder))
    named = time.perf_counter()
    reader.SetFileNames(names)
    image = reader.Execute()
    end = time.perf_counter()
    assert image.GetSize() == SHAPE[::-1]  # noqa: S101
    spent = time.process_time() - cpu
    return {"names_s": named - start, "voxels_s": end - named, "all_s": end - start, "cpu_s": spent}


def by_window(folder: Path) -> dict[str, float]:
    import psutil
    from qtpy.QtWidgets import QApplication

    from napari_ctvlp.core.phantom import phantom
    from napari_ctvlp.ui.jobs import Bridge
    from napari_ctvlp.ui.room import Room
    from napari_ctvlp.ui.studies import studies_of
    from napari_ctvlp.ui.window import open_window, settle

    # The compute process starts with a window and is long ready when a folder is dropped; it
    # and the jobs that follow are not what is measured.
    Bridge.warm_up = Room.start = lambda self: None  # type: ignore[method-assign]
    window = open_window()
    room = window.room
    room.add_scan(phantom())  # the first layer of a process compiles shaders
    settle(2.0)
    room.viewer.layers.clear()
    come_to_rest()
    process, peak, done = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    before = process.memory_info().rss
    threading.Thread(target=watch, daemon=True).start()
    times: dict[str, float] = {}
    studies = studies_of(room)
    decoded: list[float] = []
    studies.work.progressed.connect(
        lambda share, stage: decoded.append(share) if stage == "reading" else None
    )
    start, cpu = time.perf_counter(), time.process_time()
    studies.surveyed.connect(
        lambda found: times.setdefault("headers_s", time.perf_counter() - start)
    )
    studies.look([folder])
    while "painted_s" not in times:
        # As an idle event loop does, leave Python to the reading thread.
        QApplication.processEvents()
        time.sleep(0.003)
        _note(times, room, start, cpu, decoded)
    done.set()
    times["growth"] = (peak[0] - before) / 1e6 / VOLUME_MB
    window.viewer.close()
    room.bridge.close()
    return times


def come_to_rest(quiet_s: float = 0.02, rounds: int = 40) -> None:
    """Turn the event loop until so many rounds in a row had next to nothing to do."""
    from qtpy.QtWidgets import QApplication

    calm, end = 0, time.perf_counter() + 60
    while calm < rounds and time.perf_counter() < end:
        before = time.thread_time()
        QApplication.processEvents()
        calm = calm + 1 if time.thread_time() - before < quiet_s / 10 else 0
        time.sleep(quiet_s)


def _note(
    times: dict[str, float], room: Any, start: float, cpu: float, decoded: list[float]
) -> None:
    """Write down what has been painted since the last look."""
    layers = list(room.viewer.layers)
    if "provisional_s" not in times and layers:
        _paint()
        times["provisional_s"] = time.perf_counter() - start
        times["provisional_cpu_s"] = time.process_time() - cpu
        times["decoded_by_then"] = max(decoded, default=0.0) / 0.8
    study = room.session.study
    if study is not None and study.scan.shape == SHAPE:
        times.setdefault("whole_s", time.perf_counter() - start)
        _paint()
        times["painted_s"] = time.perf_counter() - start
        times["painted_cpu_s"] = time.process_time() - cpu


def _paint() -> None:
    """Let the window paint what it was just given (canvases wait 30 ms after a new layer)."""
    from napari_ctvlp.ui.window import settle

    settle(0.05)  # counted against the window: the picture is there somewhat earlier


def measure(what: str, folder: Path) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", what, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", choices=("simpleitk", "window"))
    chosen = parser.parse_args()
    if chosen.one:
        run = by_simpleitk if chosen.one == "simpleitk" else by_window
        print(json.dumps(run(chosen.folder)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch) / "series"
        if not folder.is_dir():
            one_series(folder, SHAPE, ("Nobody", "0"))
        rows = [(measure("simpleitk", folder), measure("window", folder))
                for _ in range(chosen.rounds)]  # fmt: skip
    return judge(rows)


def judge(rows: list[tuple[dict[str, float], dict[str, float]]]) -> int:
    """Print medians and verdicts; 1 when a bar is not met."""
    other = {key: float(np.median([a[key] for a, _ in rows])) for key in rows[0][0]}
    ours = {key: float(np.median([b[key] for _, b in rows])) for key in rows[0][1]}
    for title, table in (("SimpleITK", other), ("window", ours)):
        print(title, {key: round(value, 3) for key, value in table.items()})
    bars = {
        "first (provisional) picture before SimpleITK has read the series": ours["provisional_s"]
        <= other["all_s"],
        "provisional before all slices are decoded": ours["decoded_by_then"] < 1,
        f"peak memory grows by less than {MOST_GROWTH} volumes": ours["growth"] < MOST_GROWTH,
    }
    for title, met in bars.items():
        print(f"{'met    ' if met else 'NOT MET'} {title}")
    ratio = {name: ours[f"{name}_s"] / other["all_s"] for name in ("provisional", "painted")}
    spent = {name: ours[f"{name}_cpu_s"] / other["cpu_s"] for name in ("provisional", "painted")}
    for name, words in (("provisional", "first picture, one slice"), ("painted", "whole scan")):
        print(
            f"{words}: {ours[f'{name}_s']:.2f} s, {ratio[name]:.2f} times SimpleITK's time and "
            f"{spent[name]:.2f} times its CPU time"
        )
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
