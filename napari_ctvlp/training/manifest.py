"""The user's own studies: a table of CTs, reports, masks and labels, checked before any training.

``docs/training.md`` documents the columns. Everything wrong with a table is found in one pass
over all rows and told in one error, so that nobody repairs a manifest one line a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.jobs import part
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.errors import CtvlpError, InputRefused
from napari_ctvlp.io.read import read_path
from napari_ctvlp.io.result import Volume
from napari_ctvlp.models.protocol import Progress, silent
from napari_ctvlp.training.tables import LABEL, Row, csv_rows, folder_rows

SPLITS = ("train", "validation", "test")
#: What the studies are for: sentences to contrast with, or labels to fit heads to.
Need = Literal["report", "labels"]
#: Words that stand in a report's cell where there is none.
NOTHING = ("", "-", ".", "n/a", "na", "nan", "none", "null")
#: Corners of a mask's grid may lie this far from those of the CT's, in mm.
SAME_MM = 0.05


@dataclass(frozen=True)
class Study:
    """A checked study.

    Attributes
    ----------
    id, patient : str
        ``patient`` is ``id`` where the manifest does not tell.
    ct : Path
    report : str
        Empty where only labels were asked for.
    masks : Path or None
        Label map on the CT's own grid.
    labels : mapping of str to float
        0 or 1 by finding; a finding that was not judged is absent.
    split : str
        ``"train"``, ``"validation"``, ``"test"`` or ``""``.
    digest : str
        Of the scan's content.
    """

    id: str
    patient: str
    ct: Path
    report: str
    masks: Path | None
    labels: Mapping[str, float]
    split: str
    digest: str


def read_manifest(path: Path, need: Need = "report", *, progress: Progress = silent) -> list[Study]:
    """Read and check a manifest or a CT-RATE-like folder.

    Parameters
    ----------
    path : Path
        A CSV file, or a folder (see :mod:`napari_ctvlp.training.tables`).
    need : {"report", "labels"}
        What every study must have.
    progress : callable
        Every CT is opened once; this is told after each.

    Returns
    -------
    list of Study
        In the order of the table.

    Raises
    ------
    InputRefused
        ``bad-manifest``: with every problem found, one a line.
    """
    path = Path(path)
    rows, problems = folder_rows(path) if path.is_dir() else csv_rows(path)
    if not rows and not problems:
        problems = ["there is no row."]
    problems += _across(rows)
    studies = []
    for number, row in enumerate(rows):
        told = part(progress, number / len(rows), (number + 1) / len(rows))
        study, found = _checked(row, need, told)
        problems += [f"{row.where}: {words}" for words in found]
        studies += [study] if study else []
    problems += _same_content(studies)
    if problems:
        raise _refused(path, problems)
    return studies


def _across(rows: Sequence[Row]) -> list[str]:
    """Find studies listed twice and patients on more than one side of the split."""
    problems = []
    for name in dict.fromkeys(row.id for row in rows if row.id):
        same = [row.where for row in rows if row.id == name]
        if len(same) > 1:
            problems.append(f"duplicate study: the id {name!r} is in {' and '.join(same)}.")
    for patient in dict.fromkeys(row.patient for row in rows if row.patient):
        sides = sorted({row.split for row in rows if row.patient == patient and row.split})
        if len(sides) > 1:
            problems.append(f"patient {patient!r} is on both sides of the split: {sides}.")
    return problems


def _same_content(studies: Sequence[Study]) -> list[str]:
    """Find one CT under two ids."""
    by_digest: dict[str, list[str]] = {}
    for study in studies:
        by_digest.setdefault(study.digest, []).append(study.id)
    twice = [ids for ids in by_digest.values() if len(set(ids)) > 1]
    return [f"duplicate study: {' and '.join(ids)} hold the same CT." for ids in twice]


def _checked(row: Row, need: Need, progress: Progress) -> tuple[Study | None, list[str]]:
    """Return the study where its CT can be read, and everything wrong with the row."""
    problems = [] if row.id else ["the id is empty."]
    if row.split not in ("", *SPLITS):
        problems.append(f"the split {row.split!r} is none of {', '.join(SPLITS)}.")
    report = "" if need == "labels" else _report(row, problems)
    labels = _labels(row, problems)
    if need == "labels" and not labels:
        problems.append(f"no label: every {LABEL}NAME cell is empty.")
    scan = _scan(row.ct, problems, progress)
    if row.masks is not None:
        _check_masks(row.masks, scan, problems)
    if scan is None:
        return None, problems
    patient = row.patient or row.id
    kept = Study(row.id, patient, row.ct, report, row.masks, labels, row.split, scan.digest)
    return kept, problems


def _report(row: Row, problems: list[str]) -> str:
    text = row.report
    if row.report_file is not None:
        if text:
            problems.append("it has both a report and a report_file.")
        try:
            text = row.report_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"missing file: the report {row.report_file} cannot be read ({error}).")
            return ""
    if text.strip().lower() in NOTHING:
        problems.append("empty report.")
    return text.strip()


def _labels(row: Row, problems: list[str]) -> dict[str, float]:
    """Return the judged findings; anything but 0, 1 and nothing is a problem."""
    values = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}
    odd = {k: v for k, v in row.labels.items() if v and v not in values}
    problems += [f"the label {name} is {cell!r}, not 0, 1 or empty." for name, cell in odd.items()]
    return {name: values[cell] for name, cell in row.labels.items() if cell in values}


def _scan(path: Path, problems: list[str], progress: Progress) -> Scan | None:
    """Open a CT; a path that is none, a file that is broken and values without HU are problems."""
    if not path.exists():
        problems.append(f"missing file: there is no CT {path}.")
        return None
    try:
        scan = open_scan(path, progress=progress)
    except CtvlpError as error:
        problems.append(f"unreadable file: {error.found}")
        return None
    if scan.meta.unit != "HU":
        problems.append(f"the CT has no HU: its numbers are {scan.meta.unit!r}.")
    return scan


def _check_masks(path: Path, scan: Scan | None, problems: list[str]) -> None:
    if not path.exists():
        problems.append(f"missing file: there is no mask {path}.")
        return
    try:
        volume = read_path(path).volumes[0]
    except (CtvlpError, IndexError) as error:
        words = error.found if isinstance(error, CtvlpError) else "it holds no volume."
        problems.append(f"unreadable file: the mask {path.name}: {words}")
        return
    values = np.asarray(volume.data)
    if not values.any() or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        problems.append(f"the mask {path.name} is no label map: whole numbers, not all 0.")
    if scan is not None and not _same_grid(volume, scan):
        shapes = f"{volume.data.shape} against {scan.source.shape}"
        problems.append(f"the mask {path.name} is on another grid than the CT ({shapes} voxels).")


def _same_grid(volume: Volume, scan: Scan) -> bool:
    """Compare shape and the places of the grids' corners."""
    if volume.data.shape != scan.source.shape:
        return False
    ends = np.array([*_corners(volume.data.shape)], dtype=np.float64)
    gap = ends @ (volume.affine - scan.source.affine)[:3].T
    return bool(np.abs(gap).max() <= SAME_MM)


def _corners(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the corner voxels of a volume in homogeneous coordinates."""
    for flat in range(8):
        i, j, k = ((n - 1) * (flat >> axis & 1) for axis, n in enumerate(shape))
        yield i, j, k, 1


def _refused(path: Path, problems: Sequence[str]) -> InputRefused:
    many = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return InputRefused(
        "bad-manifest",
        "a table of studies whose files, reports, masks and labels can all be used.",
        f"{path.name} has {many}:\n- " + "\n- ".join(problems) + "\n",
        "Mend them and start again (docs/training.md lists the columns); nothing was trained.",
    )
