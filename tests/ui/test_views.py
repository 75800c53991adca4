"""Hands on the views: mouse, slab, layouts, 3D, measures, edited masks. One window each."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Labels

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import ras_to_screen, transform
from napari_ctvlp.engine.masks import surfaces
from napari_ctvlp.ui._compat import Mark, main_canvas
from napari_ctvlp.ui.arrange import dock_name, lay_out, set_layout
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.measures import region_words
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.views.labels import bar_mm
from napari_ctvlp.ui.views.mouse import Hands
from napari_ctvlp.ui.views.readout import describe


@pytest.fixture
def room(make_napari_viewer, bridge, chest):
    """Return the room of a hidden viewer with the phantom in it."""
    made = room_of(make_napari_viewer())
    made.layer = made.add_scan(chest)
    return made


def ball(scan, number=1, radius=20.0, centre=None):
    """Label a ball of some mm around a voxel."""
    middle = np.array(centre if centre is not None else np.array(scan.shape) // 2)
    away = np.linalg.norm((np.indices(scan.shape).T - middle) * scan.spacing, axis=-1).T
    return (away < radius).astype(np.uint8) * number


def anatomy_of(scan, labels):
    names = [(1, "liver"), (2, "spleen")]
    return anatomy_from_labels(labels, scan, names, source="test")


class Event(SimpleNamespace):
    """A mouse event as napari gives it."""

    def __init__(self, kind, pos, position=(0.0, 0.0, 0.0), button=1, modifiers=(), delta=(0, 0)):
        super().__init__(
            type=kind, pos=np.array(pos), position=position, button=button,
            modifiers=modifiers, delta=delta, handled=False,
        )  # fmt: skip


def drag(hands, model, *events):
    """Send a press and what follows to the drag callback, as napari does."""
    steps = hands._drag(model, events[0])
    next(steps, None)
    event = events[0]
    for later in events[1:]:
        event.__dict__.update(type=later.type, pos=later.pos, position=later.position)
        next(steps, None)
    return event


def test_the_mouse(room):
    model, session, desk = room.viewer, room.session, room.desk
    desk.models.append(model)
    hands = Hands(model, desk, lambda point: None)
    model.dims.set_current_step(0, 10)
    for delta in (0.4, 0.4, 0.4):
        hands._wheel(model, Event("wheel", (0, 0), delta=(0, delta)))
    assert model.dims.current_step[0] == 9, "small steps of a touchpad add up; up is superior"
    zoom = model.scene.camera.zoom
    hands._wheel(model, Event("wheel", (0, 0), delta=(0, 1.0), modifiers=("Shift",)))
    assert model.scene.camera.zoom == pytest.approx(1.1 * zoom)
    ctrl = Event("wheel", (0, 0), delta=(0, 1.0), modifiers=("Control",))
    hands._wheel(model, ctrl)
    assert not ctrl.handled, "with Ctrl the wheel is napari's"

    room.layer.contrast_limits = (0.0, 500.0)
    drag(hands, model, Event("mouse_press", (50, 50), button=2), Event("mouse_move", (60, 40)))
    low, high = room.layer.contrast_limits
    assert high - low == pytest.approx(520.0), "to the right is wider"
    assert (low + high) / 2 == pytest.approx(230.0), "up is brighter: a lower level"

    away = (40.0, 30.0, 20.0)
    before = session.point
    drag(hands, model, Event("mouse_press", (5, 5), away), Event("mouse_move", (25, 5), away))
    assert session.point == before, "a drag pans"
    drag(hands, model, Event("mouse_press", (5, 5), away), Event("mouse_release", (6, 5), away))
    assert session.point == pytest.approx((-20.0, -30.0, -40.0)), "a click looks"
    there = (40.0, 0.0, 0.0)
    held = drag(
        hands, model, Event("mouse_press", (5, 5), away), Event("mouse_move", (90, 5), there)
    )
    assert held.handled
    assert session.point == pytest.approx((0.0, 0.0, -40.0)), "the crosshair was taken along"
    room.measures.draw("line")
    drag(hands, model, Event("mouse_press", (5, 5), away), Event("mouse_release", (5, 5), away))
    assert session.point == pytest.approx((0.0, 0.0, -40.0)), "a drawing tool has the mouse"
    hands.close()


def test_windows_and_slabs_belong_to_the_ct(room, chest):
    desk, model = room.desk, room.viewer
    desk.models.append(model)
    anatomy = anatomy_of(chest, ball(chest))
    room.session.study.put("anatomy", anatomy)
    labels = room.layer_of(anatomy)
    model.layers.selection.active = labels
    desk.run("window_bone")
    assert tuple(room.layer.contrast_limits) == (-500.0, 1300.0)
    desk.run("window_auto")
    low, high = room.layer.contrast_limits
    assert -1000 < low < high < 3000

    model.dims.set_current_step(0, 30)
    thin = np.asarray(room.layer._data_view).copy()
    desk.set_slab("max", 5 * chest.spacing[0])
    thick = np.asarray(room.layer._data_view)
    around = chest.hu[28:33]
    assert np.array_equal(thick, around.max(axis=0))
    assert not np.array_equal(thick, thin)
    desk.set_slab("min", 5 * chest.spacing[0])
    assert np.array_equal(np.asarray(room.layer._data_view), around.min(axis=0))
    desk.set_slab("mean", 5 * chest.spacing[0])
    mean = np.asarray(room.layer._data_view)
    assert mean == pytest.approx(around.mean(axis=0), abs=0.01)
    for mode in ("max", "min", "none"):
        desk.run("slab_mode")
        assert desk.slab[0] == mode
    assert np.array_equal(np.asarray(room.layer._data_view), thin)
    desk.run("slab_thicker")
    assert desk.slab[1] == 20.0


def test_the_readout_names_everything_under_the_cursor(room, chest):
    from napari_ctvlp.core.heatmap import Heatmap
    from napari_ctvlp.core.parser import parse

    study = room.session.study
    study.put("anatomy", anatomy_of(chest, ball(chest)))
    values = np.linspace(0, 1, chest.hu.size, dtype=np.float32).reshape(chest.shape)
    allowed = np.ones(chest.shape, bool)
    study.put("heatmap", Heatmap(values, chest.affine, allowed, parse("nodule"), "mini"))
    index = np.array(chest.shape) // 2
    words = describe(study, tuple(transform(chest.affine, index).tolist()))
    left, back, up = transform(chest.affine, index) * (-1, -1, 1)
    assert f"LPS {left:.1f} {back:.1f} {up:.1f} mm" in words
    assert "voxel " + " ".join(str(n) for n in index) in words
    assert f"{chest.hu[tuple(index)]} HU" in words
    assert "liver" in words
    share = float((values < values[tuple(index)]).mean())
    assert f"percentile {100 * share:.1f}" in words


def test_shapes_are_measured_as_they_are_drawn(room, chest, wait):
    told = []
    room.measures.changed.connect(told.append)
    room.desk.run("distance")
    layer = room.measures.layer()
    assert layer.mode == "add_line"
    sliders = tuple(room.viewer.dims.nsteps)
    layer.add([[20, 20, 20], [20, 20, 50]], shape_type="line")
    layer.add([[20, 30, 30], [20, 30, 50], [20, 45, 50], [20, 45, 30]], shape_type="ellipse")
    wait(lambda: bool(told) and len(told[-1]) == 2, 10)
    line, region = room.measures.rows
    assert line.mm == pytest.approx(30 * chest.spacing[2])
    area = np.pi * 10 * 7.5 * chest.spacing[1] * chest.spacing[2]
    assert region.region.area_mm2 == pytest.approx(area)
    assert region.words == region_words(region.region)
    assert layer.features["words"].iloc[0] == "90.0 mm" == line.words
    assert tuple(room.viewer.dims.nsteps) == sliders, "drawing does not change the slices"
    room.measures.remove(0)
    wait(lambda: len(room.measures.rows) == 1, 10)
    assert room.measures.rows[0].kind == "ellipse"
    room.viewer.layers.remove(room.layer)
    assert not room.measures.rows


def test_edited_masks_flow_back_into_the_study(room, chest, wait, qtbot):
    from napari_ctvlp.ui.docks.organs import OrgansDock

    dock = OrgansDock(room)
    qtbot.addWidget(dock)
    study = room.session.study
    before = anatomy_of(chest, ball(chest))
    study.put("anatomy", before)
    layer = room.layer_of(before)
    assert isinstance(layer, Labels)
    dock.tree.setCurrentItem(dock.item_of("spleen"))
    dock.edit.setChecked(True)
    assert (layer.mode, layer.selected_label, layer.editable) == ("paint", 2, True)
    layer.brush_size = 8
    layer.paint((10, 20, 20), 2)
    wait(lambda: study.anatomy is not before, 60)
    after = study.anatomy
    assert after.by_name["spleen"].ml == pytest.approx((layer.data == 2).sum() * chest.voxel_ml)
    assert after.by_name["spleen"].ml > 0
    assert before.by_name["spleen"].ml == 0, "the map of before is as it was"
    assert room.layer_of(after) is layer, "the layer under the brush stays"
    assert dock.item_of("spleen").text(1) != "-"
    dock.edit.setChecked(False)
    assert (layer.mode, layer.editable) == ("pan_zoom", False)

    dock.search.setText("spl")
    assert dock.item_of("liver").isHidden()
    assert not dock.item_of("spleen").isHidden()
    dock._only()
    assert room.session.shown_organs == {"spleen"}
    assert layer.get_color(1)[3] == 0
    dock._show_all(False)
    assert room.session.shown_organs == frozenset()


def test_layouts_planes_and_3d(viewer, chest, wait, paint):
    room = room_of(viewer)
    widgets = lay_out(viewer)
    views = widgets["Views"]
    room.add_scan(chest)
    wait(lambda: len(views.canvases) == 2)
    anatomy = anatomy_of(chest, np.maximum(ball(chest), ball(chest, 2, 12.0, (20, 30, 30))))
    room.session.study.put("anatomy", anatomy)
    room.session.study.put("surfaces", surfaces(chest, anatomy))
    room.session.cancel()
    room.desk.set_layout("one")
    paint(0.1)
    assert not views.isVisible()
    set_layout(room, "four")
    solid = viewer.window.dock_widgets[dock_name("3D")]
    wait(lambda: solid.model is not None and len(solid.model.layers) > 0, 60)
    assert views.isVisible()
    drawn = solid.model.layers["Organs"]
    assert len(drawn.faces) == len(room.session.study.surfaces.faces)
    middle = ras_to_screen(transform(chest.affine, np.array(chest.shape) // 2))
    liver = drawn.vertices[: room.session.study.surfaces.vertex_ends[0]]
    assert liver.mean(axis=0) == pytest.approx(middle, abs=1.5)
    camera, width, height = solid.model.scene.camera, solid.width(), solid.height()
    wait(lambda: solid._zoom == camera.zoom, 30)
    fitted = camera.zoom
    solid.resize(width // 2, height // 2)
    wait(lambda: camera.zoom < fitted, 30)
    camera.zoom = 7.0
    solid.resize(width, height)
    paint(0.1)
    assert camera.zoom == 7.0, "the user's zoom is kept"
    room.session.show_organs(frozenset({"spleen"}))
    wait(lambda: len(drawn.faces) == len(room.session.study.surfaces.faces_of({"spleen"})), 30)
    solid.ct.setChecked(True)
    wait(lambda: "CT" in solid.model.layers, 30)
    assert np.shares_memory(solid.model.layers["CT"].data, chest.hu)

    room.desk.set_plane("coronal")
    assert tuple(viewer.dims.order) == (1, 0, 2)
    assert tuple(views.models["coronal"].dims.order) == (0, 1, 2), "the planes changed places"
    assert [noun_of(one) for one in viewer.layers if isinstance(noun_of(one), AnatomyMap)]
    assert viewer.canvas.overlays.scale_bar.length == bar_mm(viewer.scene.camera.zoom)
    room.desk.show_crosshair(False)
    assert not views.models["sagittal"].scene.overlays["ctvlp crosshair"].visible


def test_the_scale_bar_is_a_round_length_that_leaves_room():
    assert [bar_mm(zoom) for zoom in (0.5, 1.0, 4.0, 80.0, 500.0)] == [100.0, 50.0, 20.0, 1.0, 1.0]


def test_words_are_written_on_a_view_that_has_no_width_yet(viewer):
    canvas = main_canvas(viewer)
    canvas.resize(0, canvas.height())
    viewer.canvas.overlays["words"] = Mark(text="R", visible=True)
    assert main_canvas(viewer).width() == 0
    assert viewer.canvas.overlays["words"] in (
        viewer.window._qt_viewer.canvas._viewer_overlay_to_visual
    )
