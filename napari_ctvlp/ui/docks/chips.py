"""What was understood of a phrase: its words marked, and chips that change them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QGridLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.vocabulary import findings, places
from napari_ctvlp.ui.panel import wrap
from napari_ctvlp.ui.words import chip_words, marked_words

Choice = tuple[str, object]
#: The parts that have a chip, with what a chip says to hover.
PARTS = {
    "finding": "What is looked for",
    "anatomy": "Where the phrase says it is",
    "side": "The patient's side",
    "negated": "Whether the phrase denies it",
    "uncertain": "Whether the phrase leaves it open",
    "size_mm": "The size that the phrase names",
}
PER_ROW = 2


class Chips(QWidget):
    """Chips of one phrase.

    Signals
    -------
    changed : str
        The phrase in words after a chip was changed.
    """

    changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.phrase: Phrase | None = None
        self.said = QLabel()
        wrap(self.said)
        self.said.setTextFormat(Qt.TextFormat.RichText)
        self.said.setToolTip("Bold: the words that decide. Underlined: what they act on")
        self.buttons = {part: _chip(tip) for part, tip in PARTS.items()}
        layout, grid = QVBoxLayout(self), QGridLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.said)
        layout.addLayout(grid)
        for place, (part, button) in enumerate(self.buttons.items()):
            grid.addWidget(button, place // PER_ROW, place % PER_ROW)
            menu = QMenu(button)
            menu.aboutToShow.connect(partial(self._fill, menu, part))
            button.setMenu(menu)
        self.show_phrase(None)

    def show_phrase(self, phrase: Phrase | None) -> None:
        """Show a phrase; None hides everything."""
        self.phrase = phrase
        self.setVisible(phrase is not None)
        if phrase is None:
            return
        self.said.setText(marked_words(phrase))
        for part, button in self.buttons.items():
            button.setText(chip_words(phrase, part))

    def change(self, part: str, value: object) -> None:
        """Change a part of the phrase and say how it reads then."""
        from napari_ctvlp.core.wording import changed

        if self.phrase is not None and getattr(self.phrase, part) != value:
            self.changed.emit(changed(self.phrase, **{part: value}))

    def _fill(self, menu: QMenu, part: str) -> None:
        menu.clear()
        if part == "size_mm":
            menu.addAction("other size ...", self._ask_size)
        for words, value in choices(part):
            menu.addAction(words, partial(self.change, part, value))

    def _ask_size(self) -> None:
        now = self.phrase.size_mm if self.phrase is not None else None
        size, taken = QInputDialog.getDouble(self, "Size", "Size in mm", now or 10.0, 0.1, 500.0, 1)
        if taken:
            self.change("size_mm", size)


def choices(part: str) -> Iterator[Choice]:
    """Yield what a chip may become: words and value."""
    if part == "finding":
        known = [f for f in findings().values() if not f.generic]
        yield from sorted((finding.title, finding.name) for finding in known)
    elif part == "anatomy":
        yield "anywhere", ""
        yield from sorted(
            (place.title, place.name) for place in places().values() if _named(place.name)
        )
    elif part == "side":
        yield from (("either side", ""), ("left", "left"), ("right", "right"), ("both", "both"))
    elif part == "size_mm":
        yield "any size", None
    else:
        words = {"negated": ("asserted", "denied"), "uncertain": ("certain", "left open")}[part]
        yield from zip(words, (False, True), strict=True)


def _named(name: str) -> bool:
    """Say whether users have words for a place."""
    whole = {organ for place in places().values() if place.sided for organ in place.members}
    return bool(places()[name].words) or name in whole


def _chip(tip: str) -> QPushButton:
    button = QPushButton()
    button.setToolTip(f"{tip}; click to change it and ask again")
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return button
