"""Words to choose from while typing: what was asked, favourites, and the vocabulary by organ."""

from __future__ import annotations

from qtpy.QtCore import QStringListModel, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCompleter,
    QDialog,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.vocabulary import findings, places
from napari_ctvlp.ui.choices import keep, kept

#: How many phrases are remembered.
REMEMBERED = 30


def asked_before() -> list[str]:
    """Return the phrases that were asked, the last first."""
    return [text for text in kept("asked", []) if isinstance(text, str)]


def favourites() -> list[str]:
    """Return the phrases that were starred."""
    return [text for text in kept("favourites", []) if isinstance(text, str)]


def remember(text: str) -> None:
    """Put a phrase at the head of those that were asked."""
    others = [other for other in asked_before() if other != text]
    keep("asked", [text, *others][:REMEMBERED])


def star(text: str, starred: bool) -> None:
    """Make a phrase a favourite, or no longer one."""
    others = [other for other in favourites() if other != text]
    keep("favourites", [text, *others] if starred else others)


class Suggestions(QCompleter):
    """Completes a phrase: favourites, then what was asked, then every word of every finding."""

    def __init__(self, edit: QLineEdit) -> None:
        super().__init__(edit)
        self.words = QStringListModel(self)
        self.setModel(self.words)
        self.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setFilterMode(Qt.MatchFlag.MatchContains)
        self.refresh()
        edit.setCompleter(self)

    def refresh(self) -> None:
        """Read favourites and history again."""
        listed = [word for finding in findings().values() for word in finding.words]
        found = dict.fromkeys([*favourites(), *asked_before(), *sorted(listed)])
        self.words.setStringList(list(found))


class Vocabulary(QDialog):
    """Findings by organ with their synonyms, searchable.

    Signals
    -------
    chosen : str
        A finding's words.
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Vocabulary")
        self.resize(520, 560)
        self.search = QLineEdit()
        self.search.setPlaceholderText("search findings and synonyms")
        self.search.setToolTip("Shows the findings whose name or synonyms hold these letters")
        self.heads: dict[str, tuple[QTreeWidgetItem, list[QTreeWidgetItem]]] = {}
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(["Finding", "Also called"])
        self.tree.setToolTip("Double-click: ask for it. Not taught: the answer is 'cannot tell'")
        layout = QVBoxLayout(self)
        layout.addWidget(self.search)
        layout.addWidget(self.tree)
        self._fill()
        self.search.textChanged.connect(self._filter)
        self.tree.itemActivated.connect(self._take)

    def _fill(self) -> None:
        for finding in findings().values():
            if finding.generic:
                continue
            place = places()[finding.organs[0]]
            pairs = (pair for pair in places().values() if pair.sided)
            title = next((pair for pair in pairs if place.name in pair.members), place).title
            if title not in self.heads:
                self.heads[title] = QTreeWidgetItem(self.tree, [title]), []
            head = self.heads[title]
            taught = "" if finding.concept else " (not taught)"
            words = [finding.title + taught, ", ".join(finding.words)]
            item = QTreeWidgetItem(head[0], words)
            item.setData(0, Qt.ItemDataRole.UserRole, finding.words[0])
            item.setToolTip(1, ", ".join((*finding.words, *finding.also)))
            head[1].append(item)
        self.tree.expandAll()
        self.tree.setColumnWidth(0, 260)

    def _filter(self, text: str) -> None:
        """Hide what does not hold the letters."""
        for head, items in self.heads.values():
            for item in items:
                words = f"{item.text(0)} {item.toolTip(1)}".lower()
                item.setHidden(text.lower() not in words)
            head.setHidden(all(item.isHidden() for item in items))

    def _take(self, item: QTreeWidgetItem) -> None:
        words = item.data(0, Qt.ItemDataRole.UserRole)
        if words:
            self.chosen.emit(words)
            self.accept()
