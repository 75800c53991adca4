"""A progress bar that does not hold up the window."""

from __future__ import annotations

from qtpy.QtWidgets import QProgressBar

#: What is told of a job, by its verb.
_VERBS = {
    "segment": "Finding organs",
    "encode": "Encoding the scan",
    "adopt": "Taking up kept tokens",
    "ground": "Looking for the phrase",
    "score": "Scoring findings",
    "verdicts": "Answering findings",
    "finding": "Looking for the finding",
    "attention": "Reading the attention",
    "surfaces": "Drawing organ surfaces",
    "remeasure": "Measuring edited masks",
    "cut": "Cutting the map",
    "alike": "Comparing places",
    "report": "Checking the report",
    "draft": "Writing the draft",
}


def job_words(verb: str) -> str:
    """Return what is told of a job while it runs."""
    return _VERBS.get(verb, verb)


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
