"""A progress bar that does not hold up the window."""

from __future__ import annotations

from qtpy.QtWidgets import QProgressBar


class JobBar(QProgressBar):
    """Progress of a job, painted with the next picture of the window.

    ``QProgressBar.setValue`` paints at once, and in a window with OpenGL canvases every paint
    composes all of them.
    """

    def show_share(self, share: float, words: str = "") -> None:
        """Show a share of 0..1, with words before the percentage."""
        self.setUpdatesEnabled(False)
        self.setValue(round(100 * share))
        self.setFormat(f"{words} %p%".strip())
        self.setUpdatesEnabled(True)
