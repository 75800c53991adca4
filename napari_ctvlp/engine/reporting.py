"""A report checked against a scan, and a draft written from one: many phrases, one encoding."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import fields
from functools import partial

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.checking import ReportRow, ReportTable, answered, statements
from napari_ctvlp.core.drafting import Draft, asked, line
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.export import plain
from napari_ctvlp.engine.jobs import part
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.protocol import Progress, silent

#: Grounds a phrase on the scan at hand.
Ask = Callable[[str], Heatmap]
#: Characters of a report that are read, and statements that are asked.
MOST_TEXT, MOST_ROWS = 100_000, 500
COLUMNS = tuple(field.name for field in fields(ReportRow))


def report(
    scan: Scan,
    text: str,
    *,
    anatomy: AnatomyMap | None = None,
    encoding: Encoding | None = None,
    model: str = "mini",
    gate: bool = True,
    device: str = "auto",
    progress: Progress = silent,
) -> ReportTable:
    """Check a report against a scan: one row per statement, and where the two disagree.

    Parameters
    ----------
    scan, anatomy, encoding, model, gate, device, progress
        As in :func:`napari_ctvlp.engine.verbs.ground`.
    text : str
        Of one report; headings (Findings, Impression, Comparison, Technique) are understood.

    Returns
    -------
    ReportTable

    Raises
    ------
    InputRefused
        If the text is no report: empty, or far too long.
    ModelRefused, OutOfResources
        As :func:`napari_ctvlp.engine.verbs.segment` does.

    Examples
    --------
    >>> from napari_ctvlp import open_scan, report
    >>> report(open_scan("chest.nii.gz"), "No effusion.").rows[0].agreement  # doctest: +SKIP
    'agree'
    """
    _one_report(text)
    ask = _asking(scan, anatomy, encoding, model, gate, device, part(progress, 0.0, 0.5))
    return check(text, ask, model, scan.digest, part(progress, 0.5, 1.0))


def draft(
    scan: Scan,
    *,
    anatomy: AnatomyMap | None = None,
    encoding: Encoding | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> Draft:
    """Write a draft report: what the model finds, by organ, and what it cannot tell.

    Parameters
    ----------
    scan, anatomy, encoding, model, device, progress
        As in :func:`napari_ctvlp.engine.verbs.ground`.

    Returns
    -------
    Draft
        :func:`~napari_ctvlp.core.drafting.draft_text` makes text of it.

    Raises
    ------
    ModelRefused, OutOfResources
        As :func:`napari_ctvlp.engine.verbs.segment` does.

    Examples
    --------
    >>> from napari_ctvlp import draft, open_scan
    >>> draft(open_scan("chest.nii.gz")).lines[0].verdict  # doctest: +SKIP
    'cannot tell'
    """
    anatomy = anatomy or verbs.segment(scan, device=device, progress=part(progress, 0.0, 0.2))
    table = verbs.score(
        scan, anatomy=anatomy, encoding=encoding, model=model, device=device,
        progress=part(progress, 0.2, 0.5),
    )  # fmt: skip
    ask = _asking(scan, anatomy, encoding, model, True, device, silent)
    return write(table, ask, part(progress, 0.5, 1.0))


def check(text: str, ask: Ask, model: str, scan: str, progress: Progress) -> ReportTable:
    """Ask a model for every statement of a report; the same question is asked once.

    Raises
    ------
    InputRefused
        If the text is empty or too long to be one report.
    """
    rows = statements(_one_report(text))
    questions = list(dict.fromkeys(row.phrase for row in rows if row.phrase))
    if len(questions) > MOST_ROWS:
        raise _refused(f"It makes {len(questions)} different statements.")
    answers = {}
    for number, phrase in enumerate(questions):
        progress(number / len(questions), f"sentence {number + 1} of {len(questions)}")
        answers[phrase] = ask(phrase)
    done = (answered(row, answers[row.phrase]) if row.phrase else row for row in rows)
    return ReportTable(tuple(done), model, scan)


def write(table: FindingsTable, ask: Ask, progress: Progress) -> Draft:
    """Ask a model for every row of a findings table that it can judge."""
    questions = list(asked(table))
    lines = []
    for number, (row, phrase) in enumerate(questions):
        progress(number / len(questions), f"{phrase} ({number + 1} of {len(questions)})")
        lines.append(line(row, phrase, ask(phrase)))
    unsupported = tuple(row for row in table.rows if row.support)
    return Draft(tuple(lines), unsupported, table.model, table.scan)


def report_csv(table: ReportTable) -> str:
    """Return the rows of a checked report as CSV; a number that does not exist is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(row) for row in table.rows)
    return out.getvalue()


def _asking(
    scan: Scan,
    anatomy: AnatomyMap | None,
    encoding: Encoding | None,
    model: str,
    gate: bool,
    device: str,
    progress: Progress,
) -> Ask:
    """Return ``ground`` on a scan that is segmented and encoded once."""
    found = anatomy or verbs.segment(scan, device=device, progress=part(progress, 0.0, 0.4))
    tokens = encoding or verbs.encode(
        scan, found, model, device=device, progress=part(progress, 0.4, 1.0)
    )
    return partial(
        verbs.ground, scan, anatomy=found, encoding=tokens, model=model, gate=gate, device=device
    )


def _one_report(text: str) -> str:
    if not text.strip():
        raise _refused("The text is empty.")
    if len(text) > MOST_TEXT:
        raise _refused(f"The text has {len(text)} characters.")
    return text


def _refused(found: str) -> InputRefused:
    return InputRefused(
        "not-a-report",
        f"the text of one report: some sentences, at most {MOST_TEXT} characters and "
        f"{MOST_ROWS} statements.",
        found,
        "Paste one report in plain text.",
    )
