"""The table of a user's folder: ``labels.csv``, and where something was drawn.

::

    labels.csv    ct,patient,nodule,effusion       a file or folder, who, 1, 0 or nothing
    boxes.csv     ct,finding,r0,a0,s0,r1,a1,s1     boxes in RAS mm, as many as there are
    masks/        CT_FINDING.nii.gz                on the CT's own grid, CT without its suffix

Findings are house names (``ctvlp evaluate`` lists them when one is unknown).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation.cases import read_labels

LABELS, BOXES, MASKS = "labels.csv", "boxes.csv", "masks"
Corners = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Case:
    """One row of ``labels.csv``.

    Attributes
    ----------
    ct : Path
    patient : str
        The CT's name where the table does not tell.
    labels : mapping of str to bool
        By finding; what was not judged is missing.
    boxes : mapping of str to list of (corner, corner)
        RAS mm.
    masks : mapping of str to Path
    """

    ct: Path
    patient: str
    labels: Mapping[str, bool]
    boxes: Mapping[str, list[Corners]] = field(default_factory=dict)
    masks: Mapping[str, Path] = field(default_factory=dict)

    def reference(self, finding: str, scan: Scan) -> NDArray[np.bool_] | None:
        """Return what was drawn of a finding, on the scan's grid; None without anything."""
        drawn: NDArray[np.bool_] | None = None
        if finding in self.masks:
            drawn = read_labels(self.masks[finding], scan) > 0
        for box in self.boxes.get(finding, ()):
            inside = _inside(box, scan)
            drawn = inside if drawn is None else drawn | inside
        return drawn


def read(folder: Path) -> list[Case]:
    """Read and check a folder's table.

    Raises
    ------
    InputRefused
        With every problem found, one a line.
    """
    rows, problems = _rows(folder / LABELS), []
    known = findings()
    columns = [name for name in (rows[0] if rows else {}) if name not in ("ct", "patient")]
    problems += [f"no finding is called {name!r}" for name in columns if name not in known]
    boxes = _boxes(folder / BOXES)
    cases = []
    for number, row in enumerate(rows, 2):
        ct = folder / row.get("ct", "")
        if not row.get("ct") or not ct.exists():
            problems.append(f"line {number}: there is no CT {row.get('ct', '')!r}")
            continue
        values = {name: row[name].strip() for name in columns if row[name].strip()}
        problems += [
            f"line {number}: {name} is {value!r}, not 1 or 0"
            for name, value in values.items()
            if value not in ("0", "1")
        ]
        labels = {name: value == "1" for name, value in values.items()}
        cases.append(Case(ct, row.get("patient") or _stem(ct), labels, boxes.get(row["ct"], {}),
                          _masks(folder / MASKS, _stem(ct))))  # fmt: skip
    if problems or not cases:
        raise InputRefused(
            "bad-labels", f"{LABELS} with a column 'ct' and findings such as nodule, effusion.",
            "; ".join(problems[:20]) or "There is no row.",
            "Known findings: " + ", ".join(known) + ".",
        )  # fmt: skip
    return cases


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [{key: value or "" for key, value in row.items() if key}
                    for row in csv.DictReader(file)]  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(
            "bad-labels", f"a table {path.name} in the folder.", f"It cannot be read ({error}).",
            "See 'docs/evaluation.md' for its columns.",
        ) from error  # fmt: skip


def _boxes(path: Path) -> dict[str, dict[str, list[Corners]]]:
    found: dict[str, dict[str, list[Corners]]] = {}
    for row in _rows(path) if path.is_file() else ():
        try:
            r0, a0, s0, r1, a1, s1 = (float(row[n]) for n in ("r0", "a0", "s0", "r1", "a1", "s1"))
            found.setdefault(row["ct"], {}).setdefault(row["finding"], []).append(
                ((r0, a0, s0), (r1, a1, s1))
            )
        except (KeyError, ValueError) as error:
            raise InputRefused(
                "bad-boxes", "ct, finding, r0, a0, s0, r1, a1, s1 in every row of boxes.csv.",
                f"A row is not so ({error}).", "Corners are RAS mm.",
            ) from error  # fmt: skip
    return found


def _masks(folder: Path, stem: str) -> dict[str, Path]:
    paths = sorted(folder.glob(f"{stem}_*.nii*")) if folder.is_dir() else []
    return {_stem(path).removeprefix(f"{stem}_"): path for path in paths}


def _inside(box: Corners, scan: Scan) -> NDArray[np.bool_]:
    """Return the voxels whose centres lie in a box; the grid is axis-aligned."""
    low, high = np.min(box, axis=0), np.max(box, axis=0)
    out = np.ones(scan.shape, np.bool_)
    for axis, count in enumerate(scan.shape):
        index = np.zeros((count, 3))
        index[:, axis] = np.arange(count)
        points = transform(scan.affine, index)
        row = int(np.argmax(np.abs(scan.affine[:3, axis])))
        good = (points[:, row] >= low[row]) & (points[:, row] <= high[row])
        out &= good.reshape([-1 if n == axis else 1 for n in range(3)])
    return out


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
