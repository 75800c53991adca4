"""The 3D view: organs as surfaces, the heatmap as a volume, the CT on request."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Surface
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QCloseEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from napari_ctvlp.core.geometry import ras_to_screen
from napari_ctvlp.core.surface import Surfaces
from napari_ctvlp.ui.layers import AXES, UNITS, ct_arguments, heat_arguments
from napari_ctvlp.ui.palette import organ_colour
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Study
from napari_ctvlp.ui.views.closing import put_away

#: Where one looks to, and what is up, for each side one looks from (world I, P, L).
SIDES = {
    "A": ((0, 1, 0), (-1, 0, 0), "from the front"),
    "P": ((0, -1, 0), (-1, 0, 0), "from behind"),
    "R": ((0, 0, 1), (-1, 0, 0), "from the patient's right"),
    "L": ((0, 0, -1), (-1, 0, 0), "from the patient's left"),
    "S": ((1, 0, 0), (0, -1, 0), "from above"),
    "I": ((-1, 0, 0), (0, -1, 0), "from the feet"),
}
#: Changes within this time are drawn together, ms.
SOON_MS = 80
#: The CT is drawn from about so many voxels.
_CT_VOXELS = 4e6


class Solid(QWidget):
    """A view in 3D beside the flat ones.

    The canvas is made in a later turn of the event loop; surfaces are asked from the compute
    process the first time they are needed.

    Parameters
    ----------
    room : Room
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room, self.session = room, room.session
        self.model: ViewerModel | None = None
        self.canvas: QtViewer | None = None
        self._drawn: Surfaces | None = None
        self._zoom = float("nan")
        self.note = QLabel("Opening 3D ...")
        self.note.setWordWrap(True)
        self.ct = QCheckBox("CT")
        self.ct.setToolTip("Draw the CT too, as a maximum intensity projection")
        self.ct.toggled.connect(lambda _: self._soon())
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.refresh)
        self._arrange()
        self.session.study_changed.connect(self._study)
        self.session.shown_organs_changed.connect(self._soon)
        self.session.look_changed.connect(self._soon)
        room.desk.blinked.connect(self._blink)
        self._study(self.session.study)

    def look_from(self, side: str) -> None:
        """Turn the camera to one of ``SIDES`` and fit the view."""
        if self.model is not None:
            toward, up, _ = SIDES[side]
            self.model.scene.camera.set_view_direction(toward, up)
            self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the view to its new size, unless somebody has zoomed."""
        super().resizeEvent(event)
        QTimer.singleShot(0, self._follow)

    def _follow(self) -> None:
        if self.model is not None and self.model.scene.camera.zoom == self._zoom:
            self._fit()

    def _fit(self) -> None:
        if self.model is not None:
            self.model.fit_to_view()
            self._zoom = self.model.scene.camera.zoom

    def refresh(self) -> None:
        """Bring surfaces, heatmap and CT up to date; nothing while the view is not shown."""
        if not self.isVisible():
            return
        if self.model is None:
            self._build()
        model, study = self.model, self.session.study
        assert model is not None  # noqa: S101 - just built
        first = not len(model.layers)
        self._organs(model, study)
        self._volume(model, "Heat", _heat(study, self.session.look))
        self._volume(model, "CT", _ct(study) if self.ct.isChecked() else None)
        if first and len(model.layers):
            self.look_from("A")

    def shut(self) -> None:
        """Close the canvas."""
        self._timer.stop()
        canvas, self.canvas, self.model = self.canvas, None, None
        self._drawn = None
        if canvas is not None:
            put_away(canvas)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Close the canvas with the dock."""
        self.shut()
        super().closeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in, and draw what was missed."""
        super().showEvent(event)
        self.window().installEventFilter(self)
        self._soon()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Close the canvas when its window closes (which hides it)."""
        if event.type() == QEvent.Type.Hide and not event.spontaneous():
            self.shut()
        return super().eventFilter(watched, event)

    def _arrange(self) -> None:
        row = QHBoxLayout()
        for side, (_, _, words) in SIDES.items():
            button = QToolButton()
            button.setText(side)
            button.setToolTip(f"Look {words}")
            button.clicked.connect(lambda _=False, chosen=side: self.look_from(chosen))
            row.addWidget(button)
        row.addWidget(self.ct)
        row.addStretch(1)
        self._place = QVBoxLayout(self)
        self._place.setContentsMargins(2, 2, 2, 2)
        self._place.addLayout(row)
        self._place.addWidget(self.note)

    def _build(self) -> None:
        self.model = ViewerModel(title="3D", ndisplay=3)
        self.model.scene.camera.orientation = ("towards", "down", "right")
        self.canvas = QtViewer(self.model)
        self.canvas.setAcceptDrops(False)
        self.canvas.setMinimumHeight(120)
        self._place.addWidget(self.canvas, stretch=1)

    def _study(self, study: Study | None) -> None:
        if study is not None:
            for signal in (study.anatomy_changed, study.surfaces_changed, study.heatmap_changed):
                signal.connect(self._soon)
        self._soon()

    def _soon(self, _: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start(SOON_MS)

    def _blink(self, shown: bool) -> None:
        for layer in self.model.layers if self.model is not None else ():
            layer.visible = shown or layer.name == "CT"

    def _organs(self, model: ViewerModel, study: Study | None) -> None:
        """Draw the surfaces of the organs that are shown, or ask for them."""
        self.session.shape()
        found = study.surfaces if study is not None else None
        waiting = study is not None and found is None
        self.note.setText("Organ surfaces follow when the organs are found." if waiting else "")
        self.note.setVisible(study is None or waiting)
        if study is None:
            self.note.setText("No CT is open.")
        if found is not self._drawn:
            self._drawn = found
            _remove(model, "Organs")
        if found is None or not len(found.faces):
            return
        faces = found.faces_of(self.session.shown_organs)
        layer = next((one for one in model.layers if one.name == "Organs"), None)
        if layer is None:
            model.layers.insert(0, _surface_layer(found))
            layer = model.layers["Organs"]
        if len(faces) and not np.array_equal(layer.faces, faces):
            layer.data = (layer.vertices, faces)  # its setter of faces alone never ends (0.9.2)
        layer.visible = bool(len(faces))

    def _volume(self, model: ViewerModel, name: str, arguments: dict[str, Any] | None) -> None:
        old = next((one for one in model.layers if one.name == name), None)
        key = arguments.pop("key") if arguments is not None else None
        if old is not None and old.metadata.get("key") == key:
            return
        _remove(model, name)
        if arguments is not None:
            model.add_layer(Image(**{**arguments, "name": name, "metadata": {"key": key}}))


def _surface_layer(found: Surfaces) -> Surface:
    colours = np.array([organ_colour(name) for name in found.names], dtype=np.float32)
    return Surface(
        (ras_to_screen(found.vertices).astype(np.float32), found.faces),
        vertex_colors=colours[found.owner()],
        name="Organs",
        opacity=0.6,
        shading="smooth",
        units=UNITS,
        axis_labels=AXES,
    )


def _heat(study: Study | None, look: Any) -> dict[str, Any] | None:
    if study is None or study.heatmap is None:
        return None
    arguments = heat_arguments(study.heatmap, look.colormap)
    arguments |= {
        "contrast_limits": (look.threshold, 1.0),
        "opacity": 1.0,
        "blending": "translucent_no_depth",
        "rendering": "mip",
        "key": (id(study.heatmap), look.threshold, look.colormap),
    }
    return arguments


def _ct(study: Study | None) -> dict[str, Any] | None:
    """Return a coarse view of the CT's voxels; none is copied."""
    if study is None:
        return None
    arguments = ct_arguments(study.scan)
    step = max(1, round((study.scan.hu.size / _CT_VOXELS) ** (1 / 3)))
    arguments |= {
        "data": study.scan.hu[::step, ::step, ::step],
        "scale": tuple(step * mm for mm in arguments["scale"]),
        "contrast_limits": (100.0, 1200.0),
        "blending": "translucent_no_depth",
        "opacity": 0.5,
        "rendering": "mip",
        "key": id(study.scan),
    }
    return arguments


def _remove(model: ViewerModel, name: str) -> None:
    for layer in [one for one in model.layers if one.name == name]:
        model.layers.remove(layer)
