"""Distances and regions drawn on a napari Shapes layer, measured as they are drawn."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Shapes
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QObject, QTimer

from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.measure import RegionStats, distance_mm, region_stats
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.ui.desk import Desk
from napari_ctvlp.ui.layers import OVER, placement
from napari_ctvlp.ui.session import Point

NAME = "Measurements"
#: Shapes whose length is measured; the others have an area.
OPEN = ("line", "path", "polyline")
#: A shape is measured so long after the last change, ms.
SOON_MS = 60
_COLOUR = "#ffd24a"


@dataclass(frozen=True)
class Measured:
    """One drawn shape with its figures.

    Attributes
    ----------
    kind : str
        napari's shape type.
    words : str
        The figures for people.
    mm : float or None
        Length of an open shape.
    region : RegionStats or None
        Of a closed shape that lies in one slice.
    place : tuple of float
        Its middle, RAS mm.
    """

    kind: str
    words: str
    mm: float | None
    region: RegionStats | None
    place: Point


class Measures(QObject):
    """Keeps the figures of the shapes on the study's measuring layer.

    Parameters
    ----------
    viewer : ViewerModel
        Held weakly.
    desk : Desk
    """

    changed = Signal(tuple)

    def __init__(self, viewer: ViewerModel, desk: Desk) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.session = desk.session
        self.rows: tuple[Measured, ...] = ()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.measure)
        desk.measuring.connect(self.draw)
        self.session.study_changed.connect(self._emptied)

    def draw(self, kind: str) -> None:
        """Let the user draw a ``"line"``, ``"ellipse"``, ``"rectangle"`` or ``"polygon"``."""
        viewer = self._viewer()
        layer = self.layer() or self._new_layer()
        if viewer is not None and layer is not None:
            viewer.layers.selection.active = layer
            layer.mode = f"add_{kind}"

    def layer(self) -> Shapes | None:
        """Return the layer that holds the drawn shapes."""
        viewer = self._viewer()
        layers = viewer.layers if viewer is not None else ()
        return next(
            (one for one in layers if OVER in one.metadata and isinstance(one, Shapes)), None
        )

    def remove(self, row: int) -> None:
        """Take a shape away."""
        layer = self.layer()
        if layer is not None and 0 <= row < len(layer.data):
            layer.selected_data = {row}
            layer.remove_selected()

    def measure(self) -> None:
        """Measure every shape again and write the figures beside it."""
        study, layer = self.session.study, self.layer()
        if study is None or layer is None:
            self._emptied()
            return
        pairs = zip(layer.data, layer.shape_type, strict=True)
        self.rows = tuple(_measured(study.scan, np.asarray(data), kind) for data, kind in pairs)
        words = [row.words.replace(", ", "\n").replace(" (", "\n(") for row in self.rows]
        if list(layer.features.get("words", ())) != words:
            layer.features = {"words": words}
        self.changed.emit(self.rows)

    def _new_layer(self) -> Shapes | None:
        viewer, study = self._viewer(), self.session.study
        if viewer is None or study is None:
            return None
        layer = Shapes(
            None,
            ndim=3,
            name=NAME,
            edge_color=_COLOUR,
            face_color="transparent",
            edge_width=0.6,
            opacity=1.0,
            features={"words": np.empty(0, dtype=object)},
            feature_defaults={"words": ""},
            text={"string": "{words}", "color": _COLOUR, "size": 11, "anchor": "upper_left"},
            metadata={OVER: True},
            **placement(study.scan.affine),
        )
        layer.events.data.connect(self._soon)
        viewer.add_layer(layer)
        return layer

    def _soon(self, event: Any = None) -> None:
        self._timer.start(SOON_MS)

    def _emptied(self, study: object = None) -> None:
        if self.rows:
            self.rows = ()
            self.changed.emit(())


def _measured(scan: Scan, corners: NDArray[np.float64], kind: str) -> Measured:
    r, a, s = transform(scan.affine, corners.mean(axis=0)).tolist()
    if kind in OPEN:
        mm = distance_mm(corners, scan.affine)
        return Measured(kind, f"{mm:.1f} mm", mm, None, (r, a, s))
    region = region_stats(scan, corners, ellipse=kind == "ellipse")
    unit = "HU" if scan.meta.unit == "HU" else ""
    return Measured(kind, region_words(region, unit), None, region, (r, a, s))


def region_words(region: RegionStats | None, unit: str = "HU") -> str:
    """Return the figures of a region in one line, for example ``"43 ± 12 HU (...)"``."""
    if region is None:
        return "not in one slice"
    area = f"{region.area_mm2 / 100:.2f} cm²"
    if not region.voxels:
        return f"{area}, no voxel inside"
    spread = f"{region.mean:.0f} ± {region.sd:.0f} {unit}".strip()
    return f"{spread} ({region.low:.0f} to {region.high:.0f}), {area}"
