"""A table of segment names, for label maps that only number what they hold."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QComboBox,
    QCompleter,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.anatomy import AnatomyMap, renamed
from napari_ctvlp.core.naming import organ_named
from napari_ctvlp.core.vocabulary import places
from napari_ctvlp.ui.palette import organ_colour, organ_title
from napari_ctvlp.ui.session import Session

_COLUMNS = ("", "now", "organ")
#: Whose numbers can be taken over, and how they are called.
PROGRAMS = {"TotalSegmentator 2": "totalsegmentator", "MONAI whole body": "wholebody"}


class NamesTable(QDialog):
    """Names of the segments of an anatomy, to be typed or taken from a program's table.

    Parameters
    ----------
    anatomy : AnatomyMap
        What is named.
    parent : QWidget, optional
    """

    def __init__(self, anatomy: AnatomyMap, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Names of the segments")
        self.names = [organ.name for organ in anatomy.organs]
        self.program = QComboBox()
        self.program.addItems(["Numbered by ...", *PROGRAMS])
        self.program.setToolTip("Fill in the names that a program gives to these numbers")
        self.table = QTableWidget(len(self.names), len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.setToolTip("Type a name; organs the house knows are offered. Tab: the next one")
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.edits = [self._row(row, name) for row, name in enumerate(self.names)]
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        for kind, words in ((kinds.Ok, "Use these names"), (kinds.Cancel, "Change nothing")):
            buttons.button(kind).setToolTip(words)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.program.currentTextChanged.connect(self._fill)
        layout = QVBoxLayout(self)
        for widget in (self.program, self.table, buttons):
            layout.addWidget(widget)
        self.resize(420, 480)

    def wanted(self) -> dict[str, str]:
        """Return the new house name of every segment by its present one."""
        return dict(zip(self.names, (_house(edit.text()) for edit in self.edits), strict=True))

    def _row(self, row: int, name: str) -> QLineEdit:
        """Fill one row; its colour follows the name."""
        swatch = QTableWidgetItem()
        now = QTableWidgetItem(organ_title(name))
        for place, item in enumerate((swatch, now)):
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
            self.table.setItem(row, place, item)
        edit = QLineEdit()
        edit.setToolTip("Name of this segment")
        offered = QCompleter(sorted(place.title for place in places().values()), edit)
        offered.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        offered.setFilterMode(Qt.MatchFlag.MatchContains)
        edit.setCompleter(offered)
        edit.textChanged.connect(
            lambda text: swatch.setBackground(QColor.fromRgbF(*organ_colour(_house(text))))
        )
        edit.setText(organ_title(name))
        self.table.setCellWidget(row, 2, edit)
        return edit

    def _fill(self, program: str) -> None:
        """Take a program's names for the numbers; what is no number stays."""
        from napari_ctvlp.engine.labelled import numbered

        if program in PROGRAMS:
            known = {
                organ_named(label): name for label, name in numbered(PROGRAMS[program]).items()
            }
            for name, edit in zip(self.names, self.edits, strict=True):
                edit.setText(organ_title(known.get(name, name)))


def _house(text: str) -> str:
    return organ_named(text.strip() or "unnamed")


def numbers_only(anatomy: AnatomyMap) -> bool:
    """Return whether no segment has more of a name than a number."""
    names = [organ.name for organ in anatomy.organs]
    return bool(names) and all(name.startswith("label_") and name[6:].isdecimal() for name in names)


def rename(session: Session, names: Mapping[str, str]) -> None:
    """Give the organs of the study other names; segments of one name become one organ."""
    study = session.study
    if study is None or study.anatomy is None:
        return
    before, shown = study.anatomy, session.shown_organs
    after = renamed(before, names)
    if len(after.organs) == len(before.organs):
        study.put("anatomy", after)
    else:
        session.remeasure(after)
    session.show_organs(frozenset(names.get(name, name) for name in shown))
