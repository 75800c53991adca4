"""Tables of studies as they are written: a CSV manifest, or a folder laid out like CT-RATE.

The folder (Hamamci et al., arXiv 2403.17834): volumes lie nested,
``train_1/train_1_a/train_1_a_1.nii.gz``; one CSV holds the reports (``VolumeName``,
``Findings_EN``, ``Impressions_EN``), another the labels (``VolumeName`` and one 0/1 column per
finding). The layout is known from the paper and its data page; no file of the collection itself
was at hand. Rows of volumes that are not in the folder are left out: few people hold all of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Columns of a manifest; ``finding:NAME`` columns come beside them.
COLUMNS = ("id", "ct", "report", "report_file", "masks", "split", "patient")
LABEL = "finding:"
NAME, FINDINGS, IMPRESSION = "VolumeName", "Findings_EN", "Impressions_EN"
#: First word of a volume's name to our split.
FOLDER_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
Table = dict[str, Mapping[str, str]]


@dataclass(frozen=True)
class Row:
    """One line of a manifest as it was written, not yet believed.

    Attributes
    ----------
    where : str
        How problems name it, for example ``"row 3 (study 12)"``.
    id, report, split, patient : str
    ct : Path
    masks : Path or None
    labels : mapping of str to str
        Cell by finding; empty where the study was not judged.
    report_file : Path or None
        Read in place of ``report``.
    """

    where: str
    id: str
    ct: Path
    report: str = ""
    report_file: Path | None = None
    masks: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    patient: str = ""


def csv_rows(path: Path) -> tuple[list[Row], list[str]]:
    """Read the lines of a CSV manifest; return them and what is wrong with the table itself."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"the table cannot be read as UTF-8 text ({error})."]
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        problems = _header_problems(header)
        lines = list(reader)
    except csv.Error as error:
        return [], [f"the table is no CSV ({error})."]
    rows = []
    for number, line in enumerate(lines, start=2):
        surplus = None in line or None in line.values()
        cells = {k: (v or "").strip() for k, v in line.items() if isinstance(k, str)}
        where = f"row {number} ({cells.get('id') or 'no id'})"
        if surplus:
            problems.append(f"{where}: the number of cells is not that of the header.")
        rows.append(_row(where, cells, path.parent))
    return rows, problems


def _header_problems(header: Sequence[str]) -> list[str]:
    """Say which columns are missing, unknown or written twice."""
    problems = [f"there is no column {name!r}." for name in ("id", "ct") if name not in header]
    known = f"known are {', '.join(COLUMNS)} and {LABEL}NAME"
    for name in dict.fromkeys(header):
        if name not in COLUMNS and not name.startswith(LABEL):
            problems.append(f"unknown column {name!r}: {known}.")
        if name == LABEL:
            problems.append(f"the column {name!r} names no finding.")
        if header.count(name) > 1:
            problems.append(f"the column {name!r} stands there {header.count(name)} times.")
    return problems


def _row(where: str, cells: Mapping[str, str], folder: Path) -> Row:
    def place(name: str) -> Path | None:
        return folder / cells[name] if cells.get(name) else None

    labels = {k.removeprefix(LABEL): v for k, v in cells.items() if k.startswith(LABEL)}
    return Row(
        where,
        cells.get("id", ""),
        folder / cells.get("ct", ""),
        cells.get("report", ""),
        place("report_file"),
        place("masks"),
        labels,
        cells.get("split", ""),
        cells.get("patient", ""),
    )


def folder_rows(folder: Path) -> tuple[list[Row], list[str]]:
    """Return one row per volume of a CT-RATE-like folder, and what is wrong with it.

    Parameters
    ----------
    folder : Path
        Holds the volumes and the CSV files, at any depth.
    """
    reports, labels, problems = _tables(folder)
    volumes: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.nii.gz")):
        if path.name in volumes:
            problems.append(f"duplicate study: {path.name} lies in two folders.")
        volumes.setdefault(path.name, path)
    if not reports and not labels:
        wanted = f"{NAME} and {FINDINGS}, or {NAME} and labels"
        problems.append(f"no CSV in the folder has the columns {wanted}.")
    rows = [_volume_row(name, path, reports, labels) for name, path in volumes.items()]
    return rows, problems


def _tables(folder: Path) -> tuple[Table, Table, list[str]]:
    """Return report rows and label rows by volume name."""
    reports: Table = {}
    labels: Table = {}
    problems: list[str] = []
    for path in sorted(folder.rglob("*.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            problems.append(f"unreadable file: {path.name} ({error}).")
            continue
        if not lines or NAME not in lines[0]:
            continue
        table = reports if FINDINGS in lines[0] else labels
        if table is labels and not _is_labels(lines[0]):
            continue
        for line in lines:
            if line[NAME] in table:
                problems.append(f"duplicate study: {line[NAME]} is twice in {path.name}.")
            table[line[NAME]] = line
    return reports, labels, problems


def _is_labels(line: Mapping[str, str]) -> bool:
    """Return True when every cell beside the name is 0 or 1 (the metadata table is not)."""
    cells = [cell for column, cell in line.items() if column != NAME]
    return bool(cells) and all(cell in ("0", "1", "0.0", "1.0", "") for cell in cells)


def _volume_row(name: str, path: Path, reports: Table, labels: Table) -> Row:
    """Join report and labels; the patient is the first two words of the name."""
    report = reports.get(name, {})
    words = name.removesuffix(".nii.gz").split("_")
    text = " ".join(filter(None, ((report.get(c) or "").strip() for c in (FINDINGS, IMPRESSION))))
    judged = {k: v.strip() for k, v in labels.get(name, {}).items() if k != NAME}
    return Row(
        where=name,
        id=name.removesuffix(".nii.gz"),
        ct=path,
        report=text,
        labels={column.strip().lower().replace(" ", "_"): cell for column, cell in judged.items()},
        split=FOLDER_SPLITS.get(words[0], ""),
        patient="_".join(words[:2]),
    )
