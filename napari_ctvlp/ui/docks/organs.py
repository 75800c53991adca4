"""The organs dock: a tree by group with check boxes, volumes and densities."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import (
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QTreeWidgetItemIterator,
    QWidget,
)

from napari_ctvlp.core.anatomy import AnatomyMap, Organ
from napari_ctvlp.ui.naming import NamesTable, numbers_only, rename
from napari_ctvlp.ui.palette import organ_colour, organ_group, organ_title
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

_COLUMNS = ("organ", "ml", "HU")
_NAME = Qt.ItemDataRole.UserRole
_BOX = Qt.ItemFlag.ItemIsUserCheckable


class OrgansDock(QWidget):
    """Tree of the organs of the study.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.session, self.editing = room.session, room.editing
        self._filling = False
        self.search = QLineEdit()
        self.search.setPlaceholderText("find an organ")
        self.search.setToolTip("Show only organs whose name holds these letters")
        self.search.setClearButtonEnabled(True)
        self.tree = QTreeWidget()
        self.tree.setColumnCount(len(_COLUMNS))
        self.tree.setHeaderLabels(_COLUMNS)
        self.tree.setIndentation(14)
        self.tree.setToolTip("Space: show or hide. Enter or double click: go there")
        header = self.tree.header()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setStretchLastSection(False)
        self.edit = _push("Edit mask", "Paint the selected organ with napari's labels tools", None)
        self.edit.setCheckable(True)
        self.names = _push("Names ...", "Name the segments of the label map", self._names)
        self.note = QLabel()
        wrap(self.note)
        self._arrange()
        self.search.textChanged.connect(self._filter)
        self.tree.itemChanged.connect(self._checked)
        self.tree.itemActivated.connect(lambda *_: self._go())
        self.edit.toggled.connect(self._edit)
        self.editing.changed.connect(self._editing)
        self.session.study_changed.connect(self._study)
        self.session.shown_organs_changed.connect(self._shown)
        self._study(self.session.study)

    def item_of(self, name: str) -> QTreeWidgetItem | None:
        """Return the row of an organ by its house name."""
        return next((one for one in self._items() if one.data(0, _NAME) == name), None)

    def chosen(self) -> str:
        """Return the house name of the selected organ, or ``""``."""
        item = self.tree.currentItem()
        return str(item.data(0, _NAME) or "") if item is not None else ""

    def _arrange(self) -> None:
        layout = column(self)
        layout.addWidget(self.search)
        layout.addWidget(self.tree, stretch=1)
        self.tree.setMinimumHeight(120)
        show = _push("Show all", "Show every organ", lambda: self._show_all(True))
        hide = _push("Hide all", "Hide every organ", lambda: self._show_all(False))
        only = _push("Show only", "Hide all but the selected organ", self._only)
        go = _push("Go to", "Move the crosshair into the selected organ", self._go)
        layout.addLayout(row(show, hide, only))
        layout.addLayout(row(go, self.names, self.edit))
        layout.addWidget(self.note)

    def _study(self, study: Study | None) -> None:
        if study is not None:
            study.anatomy_changed.connect(self._fill)
        self._fill(study.anatomy if study is not None else None)

    def _fill(self, anatomy: AnatomyMap | None) -> None:
        chosen, self._filling = self.chosen(), True
        self.tree.clear()
        groups: dict[str, QTreeWidgetItem] = {}
        for organ in anatomy.organs if anatomy is not None else ():
            group = organ_group(organ.name)
            if group not in groups:
                groups[group] = QTreeWidgetItem(self.tree, [group])
                groups[group].setFirstColumnSpanned(True)
                groups[group].setFlags(
                    groups[group].flags() | _BOX | Qt.ItemFlag.ItemIsAutoTristate
                )
            _add(groups[group], organ, organ.name in self.session.shown_organs)
        self.tree.expandAll()
        self._filling = False
        again = self.item_of(chosen) if chosen else None
        if again is not None:
            self.tree.setCurrentItem(again)
        self._filter(self.search.text())
        self.edit.setEnabled(anatomy is not None)
        self.names.setEnabled(anatomy is not None)
        self.note.setText(_note(anatomy))

    def _items(self) -> list[QTreeWidgetItem]:
        """Return the rows of organs, groups left out."""
        found, walk = [], QTreeWidgetItemIterator(self.tree)
        while (item := walk.value()) is not None:
            if item.data(0, _NAME):
                found.append(item)
            walk += 1
        return found

    def _filter(self, words: str) -> None:
        wanted = words.strip().lower()
        for item in self._items():
            item.setHidden(wanted not in item.text(0).lower())
        for group in (self.tree.topLevelItem(n) for n in range(self.tree.topLevelItemCount())):
            if group is not None:
                rows = (one for one in self._items() if one.parent() is group)
                group.setHidden(all(one.isHidden() for one in rows))

    def _checked(self, item: QTreeWidgetItem) -> None:
        if not self._filling:
            on = Qt.CheckState.Checked
            names = (one.data(0, _NAME) for one in self._items() if one.checkState(0) == on)
            self.session.show_organs(frozenset(names))

    def _shown(self, names: frozenset[str]) -> None:
        self._filling = True
        for item in self._items():
            item.setCheckState(0, _state(item.data(0, _NAME) in names))
        self._filling = False

    def _show_all(self, shown: bool) -> None:
        names = (str(item.data(0, _NAME)) for item in self._items())
        self.session.show_organs(frozenset(names) if shown else frozenset())

    def _only(self) -> None:
        if self.chosen():
            self.session.show_organs(frozenset({self.chosen()}))

    def _go(self) -> None:
        study = self.session.study
        if study is not None and study.anatomy is not None and self.chosen():
            point = study.anatomy.point_inside(self.chosen())
            if point is not None:
                self.session.look_at(point)

    def _names(self) -> None:
        """Show the table of names and take them over."""
        study = self.session.study
        if study is None or study.anatomy is None:
            return
        self.editing.stop()
        table = NamesTable(study.anatomy, self)
        table.accepted.connect(lambda: rename(self.session, table.wanted()))
        table.finished.connect(lambda _: table.deleteLater())
        table.open()

    def _edit(self, wanted: bool) -> None:
        if wanted:
            self.editing.start(self.chosen())
        else:
            self.editing.stop()

    def _editing(self, active: bool) -> None:
        self.edit.blockSignals(True)
        self.edit.setChecked(active)
        self.edit.setText("Stop editing" if active else "Edit mask")
        self.edit.blockSignals(False)


def _add(group: QTreeWidgetItem, organ: Organ, shown: bool) -> None:
    """Put the row of an organ under its group."""
    title, ml = organ_title(organ.name), f"{organ.ml:,.{0 if organ.ml >= 10 else 1}f}"
    cells = [title, ml if organ.complete else f"≥ {ml}", f"{organ.mean_hu:.0f}"]
    item = QTreeWidgetItem(group, cells if organ.ml > 0 else [title, "-", "-"])
    extent = (
        "not seen" if organ.ml == 0 else "complete" if organ.complete else "cut by the scan's edge"
    )
    item.setToolTip(0, f"{title}: {extent}")
    item.setToolTip(1, "Volume in ml; at least so much (≥) where the scan's edge cuts the organ")
    item.setToolTip(2, "Mean HU")
    item.setData(0, _NAME, organ.name)
    item.setFlags(item.flags() | _BOX)
    item.setCheckState(0, _state(shown))
    swatch = QPixmap(14, 14)
    swatch.fill(QColor.fromRgbF(*organ_colour(organ.name)))
    item.setIcon(0, swatch)
    for number in (1, 2):
        item.setTextAlignment(number, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)


def _note(anatomy: AnatomyMap | None) -> str:
    """What the user must know of the organs that are listed."""
    if anatomy is None:
        return "No anatomy yet: press Run in the reading room."
    if numbers_only(anatomy):
        return f"The segments have numbers only: 'Names ...' names them. {anatomy.reliability}"
    return anatomy.reliability


def _state(shown: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked


def _push(text: str, words: str, act: Callable[[], None] | None) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(words)
    if act is not None:
        button.clicked.connect(lambda _=False: act())
    return button
