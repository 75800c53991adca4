"""The reading room of one viewer: binds its layers to its session."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject
from superqt.utils import create_worker

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import AttentionMaps
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import CtvlpError, InputRefused
from napari_ctvlp.ui._compat import calm_list, main_canvas, plain_viewer, seldom_thumbnail
from napari_ctvlp.ui.calm import paint_later
from napari_ctvlp.ui.desk import Desk
from napari_ctvlp.ui.editing import Editing
from napari_ctvlp.ui.jobs import Bridge, shared_bridge
from napari_ctvlp.ui.layers import (
    NOUN,
    OVER,
    anatomy_layer,
    attention_layer,
    ct_layer,
    dress,
    heat_arguments,
    loud_organs,
    noun_of,
    scan_of,
    set_looks,
)
from napari_ctvlp.ui.measures import Measures
from napari_ctvlp.ui.palette import organ_colormap
from napari_ctvlp.ui.session import Look, Session, Study


class Room(QObject):
    """Shows the session's nouns as layers of one viewer, and opens scans for it.

    Parameters
    ----------
    viewer : ViewerModel
        Held weakly: closing the window ends the room.
    bridge : Bridge
        Runs the jobs.
    """

    def __init__(self, viewer: ViewerModel, bridge: Bridge) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.bridge = bridge
        calm_list(viewer)
        self._attended = ""
        self.session = Session(bridge)
        self.desk = Desk(viewer, self.session)
        self.measures = Measures(viewer, self.desk)
        self.editing = Editing(viewer, self.session)
        bridge.progressed.connect(self._progressed)
        bridge.finished.connect(self._finished)
        bridge.failed.connect(self._failed)
        self.session.study_changed.connect(self._show_study)
        self.session.shown_organs_changed.connect(self._show_organs)
        self.session.look_changed.connect(self._show_look)
        self.session.attention_wanted.connect(self._attend)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        for layer in reversed(viewer.layers):
            if isinstance(noun_of(layer), Scan):
                self.session.open(scan_of(layer))
                break

    @property
    def viewer(self) -> ViewerModel:
        """The viewer; only asked for while its window is open."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("the window of this reading room is closed")
        return viewer

    def start(self) -> None:
        """Warm the compute process up and compute what the study still lacks."""
        self.bridge.warm_up()
        self.session.prepare()

    def use(self, layer: Layer) -> None:
        """Make a layer the CT of the session; one of another reader is checked first.

        Raises
        ------
        InputRefused
            If it is not known where the layer's voxels are; nothing changes.
        """
        self.session.open(scan_of(layer))

    def add_scan(self, scan: Scan) -> Layer:
        """Show a scan; it becomes the study."""
        for message in (*scan.meta.warnings, *scan.meta.notices):
            show_info(message.message)
        layer: Layer = self.viewer.add_layer(ct_layer(scan))
        return layer

    def open_path(self, path: str | Path) -> None:
        """Read a file or folder in a thread, show it and start the jobs on it."""
        worker: Any = create_worker(_read, Path(path), _ignore_errors=True)
        worker.returned.connect(self._read)
        worker.errored.connect(self._refused)
        worker.start()

    def layer_of(self, noun: object) -> Layer | None:
        """Return the layer that shows a noun."""
        return next((layer for layer in self.viewer.layers if noun_of(layer) is noun), None)

    def _read(self, scan: Scan) -> None:
        if self._viewer() is not None:
            self.add_scan(scan)
            self.start()

    def _refused(self, error: Exception) -> None:
        if not isinstance(error, CtvlpError):
            raise error
        self.session.failed.emit(error)

    def _progressed(self, number: int, share: float, stage: str) -> None:
        self.session.on_progress(number, share, stage)

    def _finished(self, number: int, result: object) -> None:
        self.session.on_done(number, result)

    def _failed(self, number: int, error: object) -> None:
        if isinstance(error, CtvlpError):
            self.session.on_failed(number, error)

    def _inserted(self, event: Any) -> None:
        """Take a scan that some reader of ours has just shown as the study; calm its thumbnail."""
        noun = noun_of(event.value)
        if noun is not None:
            seldom_thumbnail(event.value)
        study = self.session.study
        if isinstance(noun, Scan) and (study is None or study.scan is not noun):
            self.session.open(noun)

    def _removed(self, event: Any) -> None:
        """End the study when its scan is taken out of the viewer."""
        study = self.session.study
        if study is not None and noun_of(event.value) is study.scan:
            self.session.open(None)

    def _show_study(self, study: Study | None) -> None:
        """Take away what described the scan before, and follow the new study."""
        for layer in [one for one in self.viewer.layers if OVER in one.metadata]:
            self.viewer.layers.remove(layer)
        if study is not None:
            study.anatomy_changed.connect(self._show_anatomy)
            study.heatmap_changed.connect(self._show_heatmap)
            study.attention_changed.connect(self._show_attention)
            r, a, s = _centre(study.scan)
            self.session.look_at((r, a, s))

    def _add(self, layer: Layer, place: int | None = None) -> None:
        """Show a layer that goes when its study goes; the selection stays on the CT."""
        layer.metadata[OVER] = True
        paint_later(main_canvas(self.viewer))
        selected = set(self.viewer.layers.selection)
        self.viewer.layers.insert(len(self.viewer.layers) if place is None else place, layer)
        self.viewer.layers.selection = selected

    def _show_anatomy(self, anatomy: AnatomyMap) -> None:
        if self.editing.accept(anatomy):
            return
        self._remove(AnatomyMap)
        self.session.show_organs(frozenset(loud_organs(anatomy)))
        scan = self.session.study.scan if self.session.study else None
        below = self.layer_of(scan)
        place = self.viewer.layers.index(below) + 1 if below is not None else None
        self._add(anatomy_layer(anatomy, self.session.shown_organs), place)

    def _show_organs(self, names: frozenset[str]) -> None:
        layer = self._layer(AnatomyMap)
        if isinstance(layer, Labels):
            layer.colormap = organ_colormap(layer.metadata[NOUN], names)

    def _show_heatmap(self, heatmap: Heatmap | None) -> None:
        """Show a heatmap: into the layer of the one before when its grid is the same."""
        if heatmap is None:
            self._remove(Heatmap)
            return
        look = self.session.look
        arguments = heat_arguments(heatmap, look.colormap)
        layer = self._layer(Heatmap)
        if isinstance(layer, Image) and _same_grid(layer, arguments):
            layer.metadata = {**layer.metadata, **arguments["metadata"]}
            layer.data = arguments["data"]
            set_looks(layer, name=arguments["name"], visible=not self.session.together)
        else:
            self._remove(Heatmap)
            self._add(Image(**arguments, visible=not self.session.together))
        self._show_look(look)
        if look.jump and heatmap.peak_ras is not None:
            self.session.look_at(heatmap.peak_ras)

    def _show_look(self, look: Look) -> None:
        layer = self._layer(Heatmap)
        if isinstance(layer, Image):
            dress(layer, look)

    def _attend(self, organ: str) -> None:
        """Show the attention of an organ as soon as it is known; none for ``""``."""
        self._attended = organ
        study = self.session.study
        self._show_attention(study.attention if study is not None else None)

    def _show_attention(self, attention: AttentionMaps | None) -> None:
        self._remove(AttentionMaps)
        if attention is not None and self._attended in attention.maps:
            self._add(attention_layer(attention, self._attended))

    def _layer(self, kind: type) -> Layer | None:
        """Return the layer that shows a noun of this kind."""
        return next((one for one in self.viewer.layers if isinstance(noun_of(one), kind)), None)

    def _remove(self, kind: type) -> None:
        layer = self._layer(kind)
        if layer is not None:
            self.viewer.layers.remove(layer)


def _centre(scan: Scan) -> list[float]:
    """RAS mm of the middle voxel."""
    middle = (np.array(scan.shape) - 1) // 2
    return [float(value) for value in transform(scan.affine, middle)]


def _same_grid(layer: Image, arguments: dict[str, Any]) -> bool:
    return (
        layer.data.shape == arguments["data"].shape
        and np.allclose(layer.scale, arguments["scale"])
        and np.allclose(layer.translate, arguments["translate"])
    )


def _read(path: Path) -> Scan:
    """Read a CT, in a thread."""
    from napari_ctvlp.engine.verbs import open_scan

    scan: Scan = open_scan(path)
    if scan.meta.unit == "label":
        raise InputRefused(
            "looks-like-labels",
            "a CT in HU.",
            f"{path.name} holds labels.",
            "Open it with File > Open to see it over a CT.",
        )
    return scan


_ROOMS: weakref.WeakKeyDictionary[ViewerModel, Room] = weakref.WeakKeyDictionary()


def room_of(viewer: Any) -> Room:
    """Return the one reading room of a viewer, made on first use."""
    bare = plain_viewer(viewer)
    if bare not in _ROOMS:
        _ROOMS[bare] = Room(bare, shared_bridge())
    return _ROOMS[bare]
