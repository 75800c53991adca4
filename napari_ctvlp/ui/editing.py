"""Organ masks under napari's own labels tools; what was painted flows back into the study."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QObject, QTimer

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.ui.layers import NOUN, noun_of
from napari_ctvlp.ui.session import Session

#: Masks are measured again so long after the last stroke, ms.
SOON_MS = 800


class Editing(QObject):
    """Lets the user paint the anatomy layer.

    The voxels are copied once when editing begins; the anatomy of the study is replaced by a
    new one after each pause, measured by the compute process.

    Parameters
    ----------
    viewer : ViewerModel
        Held weakly.
    session : Session
    """

    changed = Signal(bool)

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.session = session
        self.layer: Labels | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hand_in)
        session.study_changed.connect(self._ended)

    def start(self, organ: str) -> None:
        """Make the masks paintable and take up the brush with an organ's label."""
        viewer, study = self._viewer(), self.session.study
        anatomy = study.anatomy if study is not None else None
        if viewer is None or anatomy is None:
            return
        if self.layer is None:
            self.layer = next((one for one in viewer.layers if noun_of(one) is anatomy), None)
            if self.layer is None:
                return
            self.layer.data = np.array(anatomy.labels)
            self.layer.editable = True
            self.layer.events.paint.connect(self._painted)
        if organ in anatomy.by_name:
            self.layer.selected_label = anatomy.by_name[organ].id
        viewer.layers.selection.active = self.layer
        self.layer.mode = "paint"
        self.changed.emit(True)

    def stop(self) -> None:
        """Hand in what was painted, and lock the masks again."""
        layer = self.layer
        if layer is None:
            return
        self._timer.stop()
        self.hand_in()
        layer.mode = "pan_zoom"
        layer.editable = False
        self._ended()

    def hand_in(self) -> None:
        """Ask for the figures of the masks as they are now painted."""
        study = self.session.study
        if self.layer is None or study is None or study.anatomy is None:
            return
        labels = np.array(self.layer.data)
        if not np.array_equal(labels, study.anatomy.labels):
            self.session.remeasure(replace(study.anatomy, labels=labels))

    def accept(self, anatomy: AnatomyMap) -> bool:
        """Take a measured map as what its layer shows; False when the voxels are others."""
        viewer = self._viewer()
        for layer in viewer.layers if viewer is not None else ():
            ours = isinstance(noun_of(layer), AnatomyMap) and isinstance(layer, Labels)
            if ours and (layer is self.layer or np.array_equal(layer.data, anatomy.labels)):
                layer.metadata = {**layer.metadata, NOUN: anatomy}
                return True
        return False

    def _painted(self, event: Any = None) -> None:
        self._timer.start(SOON_MS)

    def _ended(self, study: object = None) -> None:
        layer, self.layer = self.layer, None
        if layer is not None:
            layer.events.paint.disconnect(self._painted)
            self.changed.emit(False)
