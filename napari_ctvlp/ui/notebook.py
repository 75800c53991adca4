"""What was asked and marked in one window: phrases with their answers, and key images."""

from __future__ import annotations

import weakref
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.report import finding_text
from napari_ctvlp.ui.looks import Shown, show_again, shown_from, shown_now
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study

#: Longest edge of a key image's thumbnail, pixels.
_THUMB = 96


@dataclass(frozen=True)
class KeyImage:
    """A bookmarked look.

    Attributes
    ----------
    caption : str
    shown : Shown
    phrase : str
        Of the heatmap that was shown, or ``""``.
    picture : ndarray, shape (row, column, 4), uint8, or None
        For the list only.
    """

    caption: str
    shown: Shown
    phrase: str = ""
    picture: NDArray[np.uint8] | None = field(default=None, compare=False)


class Notebook(QObject):
    """Keeps phrases and key images of the open study; both go with it.

    Parameters
    ----------
    room : Room
    """

    changed = Signal()

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room = weakref.ref(room)
        self.images: list[KeyImage] = []
        self.asked: dict[str, tuple[Heatmap, bool]] = {}
        self._gates: dict[str, bool] = {}
        room.session.study_changed.connect(self._study)
        room.session.grounding.connect(self._asked)
        self._study(room.session.study)

    def mark(self, caption: str = "") -> KeyImage:
        """Bookmark what the window shows now."""
        room = self._of()
        study = room.session.study
        phrase = study.heatmap.phrase.text if study and study.heatmap else ""
        words = caption or phrase or f"Key image {len(self.images) + 1}"
        made = KeyImage(words, shown_now(room), phrase, _picture(room.viewer))
        self.images.append(made)
        self.changed.emit()
        return made

    def recall(self, number: int) -> None:
        """Go back to a key image, and ask for its phrase again if another one is shown."""
        room, image = self._of(), self.images[number]
        study = room.session.study
        if study is None:
            return
        known = self.asked.get(image.phrase)
        if known is not None and study.heatmap is not known[0]:
            study.put("heatmap", known[0])
        show_again(room, image.shown)

    def name(self, number: int, caption: str) -> None:
        """Change a caption."""
        self.images[number] = replace(self.images[number], caption=caption)

    def remove(self, number: int) -> None:
        """Forget a key image."""
        del self.images[number]
        self.changed.emit()

    def as_values(self) -> list[dict[str, Any]]:
        """Return the key images as JSON can hold them, without their pictures."""
        return [
            {"caption": image.caption, "shown": asdict(image.shown), "phrase": image.phrase}
            for image in self.images
        ]

    def take_values(self, rows: list[dict[str, Any]]) -> None:
        """Undo :meth:`as_values`."""
        self.images = [
            KeyImage(str(row["caption"]), shown_from(row["shown"]), str(row["phrase"]))
            for row in rows
        ]
        self.changed.emit()

    def _of(self) -> Room:
        room = self._room()
        if room is None:
            raise RuntimeError("the window of this notebook is closed")
        return room

    def _study(self, study: Study | None) -> None:
        self.images, self.asked = [], {}
        if study is not None:
            study.heatmap_changed.connect(self._answered)
            self._answered(study.heatmap)
        self.changed.emit()

    def _asked(self, text: str, gate: bool) -> None:
        self._gates[text] = gate

    def _answered(self, heatmap: Heatmap | None) -> None:
        if heatmap is not None and not heatmap.within:  # a session asks its phrases by themselves
            text = heatmap.phrase.text
            self.asked[text] = (heatmap, self._gates.get(text, True))


def _picture(viewer: Any) -> NDArray[np.uint8] | None:
    """Return the main view, small; None where it cannot be painted."""
    if getattr(viewer, "window", None) is None:
        return None
    whole = viewer.screenshot(canvas_only=True, flash=False)
    step = max(1, round(max(whole.shape[:2]) / _THUMB))
    return np.ascontiguousarray(whole[::step, ::step])


def copy_finding(room: Room) -> str:
    """Put the answer to the last phrase on the clipboard; returns it, ``""`` without one."""
    study = room.session.study
    if study is None or study.heatmap is None:
        return ""
    text = finding_text(study.heatmap, study.scan)
    QApplication.clipboard().setText(text)
    return text


_BOOKS: weakref.WeakKeyDictionary[Room, Notebook] = weakref.WeakKeyDictionary()


def notebook_of(room: Room) -> Notebook:
    """Return the notebook of a room, made on first use."""
    if room not in _BOOKS:
        _BOOKS[room] = Notebook(room)
    return _BOOKS[room]
