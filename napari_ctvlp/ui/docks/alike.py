"""The places alike dock: what a model takes for the same as the place under the crosshair."""

from __future__ import annotations

import math

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QWidget

from napari_ctvlp.core.locality import Likeness
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.docks.attention_parts import Shown, laid, lay
from napari_ctvlp.ui.layers import fine_grid
from napari_ctvlp.ui.panel import column, row, wrap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Point, Study

NAME = "Places alike"
#: A crosshair at rest for so long is asked about, ms.
REST_MS = 250
_HINT = (
    "How much every place resembles the one under the crosshair to the model: cosine of tokens, "
    "no words. Drawn from 0.3 to 1, whatever the place."
)


class AlikeDock(QWidget):
    """Draws the self-similarity of a model's tokens.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.session = room, room.session
        self.show_button, self.hide_button = QPushButton("&Show places alike"), QPushButton("&Hide")
        self.follow = QCheckBox("&Follow the crosshair")
        self.state = QLabel(_HINT)
        self._wanted = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self.ask)
        self._arrange()
        self.show_button.clicked.connect(lambda _=False: self.ask())
        self.hide_button.clicked.connect(lambda _=False: self.hide_it())
        self.session.point_changed.connect(self._moved)
        self.session.failed.connect(self._failed)
        self.session.study_changed.connect(self._study)

    def ask(self) -> None:
        """Ask the model for the place under the crosshair."""
        study, point = self.session.study, self.session.point
        if study is None or point is None:
            self.state.setText("Open a CT first.")
        elif study.encoding is None:
            self.state.setText("The scan is not encoded yet: 'Run' in the reading room.")
        else:
            self._wanted = True
            self.session.compute("alike", self._show, point=point)

    def hide_it(self) -> None:
        """Take the map away."""
        self.follow.setChecked(False)
        self._wanted = False
        layer = laid(self.room.viewer, NAME)
        if layer is not None:
            self.room.viewer.layers.remove(layer)
        self.state.setText(_HINT)

    def _show(self, found: Likeness) -> None:
        if not self._wanted:
            return
        if not np.isfinite(found.values).any():
            self.state.setText("The model did not look at this place.")
            return
        data, affine = fine_grid(np.nan_to_num(found.values), found.affine)
        lay(
            self.room.viewer, Shown(data, affine, NAME), "viridis", (0.3, 1.0), NAME,
            interpolation2d="linear",
        )  # fmt: skip
        r, a, s = found.point
        self.state.setText(
            f"Like the place at RAS ({r:.0f}, {a:.0f}, {s:.0f}) mm to {found.model}: "
            f"{found.ml_above(0.8):.0f} ml have a cosine above 0.8. Drawn from 0.3 to 1."
        )

    def _moved(self, point: Point) -> None:
        if self.follow.isChecked() and not any(math.isnan(mm) for mm in point):
            self._rest.start()

    def _failed(self, error: CtvlpError) -> None:
        self.state.setText(f"{error.found} {error.advice}")

    def _study(self, study: Study | None) -> None:
        self._rest.stop()
        self.state.setText(_HINT)

    def _arrange(self) -> None:
        self.show_button.setToolTip("Map what resembles the place under the crosshair (Alt-S)")
        self.hide_button.setToolTip("Take the map away (Alt-H)")
        self.follow.setToolTip("Ask again wherever the crosshair comes to rest (Alt-F)")
        wrap(self.state)
        layout = column(self)
        layout.addLayout(row(self.show_button, self.hide_button, stretch=0))
        layout.addWidget(self.follow)
        layout.addWidget(self.state)
        layout.addStretch(1)
