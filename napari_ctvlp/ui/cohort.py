"""The table of a cohort for Qt, and the opening of its scans in a room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, Signal  # type: ignore[attr-defined]

from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.errors import CtvlpError, JobCancelled
from napari_ctvlp.io.result import Progress
from napari_ctvlp.ui.files import FileWork
from napari_ctvlp.ui.notebook import notebook_of
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

if TYPE_CHECKING:
    from napari_ctvlp.cohort.reading import Opened, Reading

_ROOT = QModelIndex()
_FORMS = {"score": "{:+.3f}", "percentile": "{:.0f}"}


class CohortModel(QAbstractTableModel):
    """The rows of a store that are shown, in the order in which they are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: Reading | None = None
        self.places: list[int] = []
        self._sorted: tuple[str, bool] = ("scan", False)

    def set_reading(self, reading: Reading | None) -> None:
        """Show a store."""
        self.beginResetModel()
        self.reading, self._sorted = reading, ("scan", False)
        self.places = list(range(len(reading.rows))) if reading is not None else []
        self.endResetModel()

    def set_places(self, places: list[int]) -> None:
        """Show just these rows, in the order that was chosen."""
        self.beginResetModel()
        column, falling = self._sorted
        kept = self.reading.ordered(places, column, falling=falling) if self.reading else places
        self.places = kept
        self.endResetModel()

    def order_by(self, column: str, *, falling: bool = False) -> None:
        """Order by a column from now on."""
        self._sorted = (column, falling)
        self.set_places(self.places)

    def changed(self) -> None:
        """Paint every cell anew."""
        last = self.index(self.rowCount() - 1, self.columnCount() - 1)
        self.dataChanged.emit(self.index(0, 0), last)

    def scan_at(self, row: int) -> str:
        """Return the scan of a shown row, ``""`` outside."""
        if self.reading is None or not 0 <= row < len(self.places):
            return ""
        return str(self.reading.rows[self.places[row]]["scan"])

    def row_of(self, scan: str) -> int:
        """Return the shown row of a scan, -1 when it is not shown."""
        return next((n for n in range(len(self.places)) if self.scan_at(n) == scan), -1)

    def rowCount(self, parent: Any = _ROOT) -> int:  # noqa: N802 - Qt's name
        """Return the number of shown scans."""
        return 0 if parent.isValid() else len(self.places)

    def columnCount(self, parent: Any = _ROOT) -> int:  # noqa: N802 - Qt's name
        """Return the number of columns."""
        return 0 if parent.isValid() or self.reading is None else len(self.reading.columns)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        """Return a column's title."""
        wanted = role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal
        if not wanted or self.reading is None:
            return None
        return self.reading.columns[section].replace("_", " ")

    def data(self, index: Any, role: int = 0) -> Any:
        """Return a cell."""
        if self.reading is None:
            return None
        column, row = self.reading.columns[index.column()], self.places[index.row()]
        value = self.reading.rows[row].get(column)
        if role == Qt.ItemDataRole.DisplayRole:
            return _shown(column, value)
        if role == Qt.ItemDataRole.TextAlignmentRole and isinstance(value, int | float):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.reading.rows[row].get("error") or "Double click: open it at its peak"
        return None

    def sort(self, column: int, order: Any = Qt.SortOrder.AscendingOrder) -> None:
        """Order by the column that was clicked."""
        if self.reading is not None and 0 <= column < len(self.reading.columns):
            falling = order == Qt.SortOrder.DescendingOrder
            self.order_by(self.reading.columns[column], falling=falling)


def _shown(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _FORMS.get(column, "{:.1f}").format(value)
    if column == "mark_date":
        return str(value)[:16].replace("T", " ")
    return ", ".join(value) if isinstance(value, list) else str(value)


class Cohort(QObject):
    """A store beside a room: reads it, asks the compute process, opens scans.

    Parameters
    ----------
    room : Room
    """

    read = Signal(object)
    ranked = Signal(object)
    opened = Signal(str)
    said = Signal(str)
    failed = Signal(object)

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.reading: Reading | None = None
        self.scan = ""
        self.phrase = ""
        self.work = FileWork()
        self._asked: dict[int, str] = {}
        self.work.finished.connect(self._finished)
        self.work.failed.connect(self._refused)
        self.work.progressed.connect(lambda share, stage: self.said.emit(f"{stage} ..."))
        room.bridge.finished.connect(self._answered)
        room.bridge.failed.connect(self._unanswered)
        room.session.study_changed.connect(self._study)
        room.session.failed.connect(self._not_adopted)

    def look(self, folder: Path | str) -> None:
        """Read a store in a thread."""

        def job(progress: Progress, show: object) -> Reading:
            from napari_ctvlp.cohort.reading import Reading

            return Reading(Path(folder), progress)

        self.work.start(job)

    def ask(self, text: str) -> None:
        """Rank by a phrase; the compute process reads it."""
        if self.reading is None or not text.strip():
            return
        self.said.emit("Reading the phrase ...")
        model = self.reading.store.info["model"]
        device = self.room.session.run.device
        number = self.room.bridge.submit("embed", phrase=text, model=model, device=device)
        self._asked = {number: text}

    def open(self, scan: str) -> None:
        """Open a scan of the store, with its tokens where they were kept."""
        reading = self.reading
        if reading is None or not scan:
            return

        def job(progress: Progress, show: object) -> tuple[str, Opened]:
            return scan, reading.open(scan, progress)

        self.said.emit(f"Opening scan {scan} ...")
        self.work.start(job)

    def _finished(self, noun: Any) -> None:
        if isinstance(noun, tuple):
            self._show(*noun)
            return
        self.reading, self.phrase = noun, ""
        study = self.room.session.study
        self.scan = noun.scan_of(study.scan.digest) if study is not None else ""
        self.read.emit(noun)
        self._study(study)

    def _show(self, scan: str, opened: Opened) -> None:
        """Show a scan; kept tokens go to the compute process before anything is asked."""
        session, reading = self.room.session, self.reading
        notebook_of(self.room)
        self.scan = scan
        if reading is not None:
            session.run = replace(session.run, model=reading.store.info["model"])
        self.room.add_scan(opened.scan)
        if opened.kept is not None:
            session.adopt(*opened.kept)
        self._question()
        if opened.kept is None:
            self.room.start()
        self.opened.emit(scan)

    def _question(self) -> None:
        """Ask the open scan what the cohort was asked, else what stands out in it."""
        reading = self.reading
        text = self.phrase or (reading.question_for(self.scan) if reading is not None else "")
        if text:
            self.room.session.ground(text)

    def _answered(self, number: int, result: Any) -> None:
        text = self._asked.pop(number, None)
        if text is not None and self.reading is not None:
            self.phrase = text
            self.ranked.emit(self.reading.rank(text, result))

    def _unanswered(self, number: int, error: CtvlpError) -> None:
        if self._asked.pop(number, None) is not None:
            self._refused(error)

    def _not_adopted(self, error: CtvlpError) -> None:
        """Compute what kept tokens could not give."""
        if error.code in ("not-of-this-scan", "store-stale"):
            self._refused(error)
            self._question()
            self.room.start()

    def _refused(self, error: CtvlpError) -> None:
        cancelled = isinstance(error, JobCancelled)
        self.said.emit("Cancelled." if cancelled else str(error))
        self.failed.emit(error)

    def _study(self, study: Study | None) -> None:
        """Follow the study, and put percentiles of the store into its findings."""
        if study is None:
            return
        study.findings_changed.connect(self._judge)
        if study.findings is not None:
            self._judge(study.findings)

    def _judge(self, table: FindingsTable | None) -> None:
        study = self.room.session.study
        if table is None or study is None or self.reading is None or study.findings is not table:
            return
        judged = self.reading.reference.applied(table)
        if judged.reference != table.reference:
            study.put("findings", judged)
