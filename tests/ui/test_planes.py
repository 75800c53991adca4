"""Radiological sides by pixels, letters, and views that follow one another.

A window costs seconds under software rendering: each test checks several things in one.
"""

from __future__ import annotations

import numpy as np
import pytest

from napari_ctvlp.core.phantom import MARKER_RAS
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.layers import OVER
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.views.labels import letters_of, slice_words
from napari_ctvlp.ui.views.link import CROSS_MS

LIVER_RAS = (60.0, 5.0, -110.0)
HEART_RAS = (-50.0, 30.0, -45.0)


@pytest.fixture
def opened(viewer, chest, wait, paint):
    """Return the room and the three views of a viewer that shows the phantom."""
    room = room_of(viewer)
    layer = room.add_scan(chest)
    views = make_dock("Views", viewer)
    viewer.window.add_dock_widget(views, name="Views", area="right")
    wait(lambda: len(views.canvases) == 2)
    views.fit()
    paint()
    return room, views, layer


def shots(viewer, views):
    """Return a screenshot of each plane, without words and crosshair."""
    for model in views.models.values():
        for name, overlay in model.canvas.overlays.items():
            if name.startswith("ctvlp") or name == "scale_bar":
                overlay.visible = False
        model.scene.overlays["ctvlp crosshair"].visible = False
    images = {"axial": viewer.screenshot(canvas_only=True, flash=False)}
    for plane, canvas in views.canvases.items():
        images[plane] = canvas.screenshot(flash=False)
    return images


def look(room, views, paint, point):
    room.session.look_at(point)
    views.flush()
    paint()


def bright_centre(image):
    """Return where bright pixels lie, (down, right) in 0..1 of the canvas."""
    rows, columns = np.nonzero(image[..., :3].min(axis=-1) > 200)
    assert len(rows) > 20, "nothing bright was drawn"
    return np.median(rows) / image.shape[0], np.median(columns) / image.shape[1]


def brightness_at(image, layer, order, point):
    """Return the mean brightness around a world point, from the place of the scan's silhouette."""
    rows, columns = np.nonzero(image[..., :3].max(axis=-1) > 40)
    low, high = layer.extent.world[0], layer.extent.world[1]
    place = []
    for axis, pixels in ((order[1], rows), (order[2], columns)):
        share = (point[axis] - low[axis]) / (high[axis] - low[axis])
        place.append(round(pixels.min() + share * (pixels.max() - pixels.min())))
    down, right = place
    return float(image[down - 2 : down + 3, right - 2 : right + 3, :3].mean())


def test_sides_are_radiological_in_every_plane(viewer, opened, paint):
    room, views, layer = opened
    layer.contrast_limits = (1500, 2600)
    look(room, views, paint, MARKER_RAS)
    for plane, image in shots(viewer, views).items():
        down, right = bright_centre(image)
        assert down < 0.5, f"{plane}: anterior or superior must be up"
        assert right < 0.5, f"{plane}: the patient's right, or anterior, must be on screen left"

    # air outside is drawn grey so that the frame of the scan can be found
    layer.contrast_limits = (-1600, 100)
    for ras, lung in (
        (LIVER_RAS, False),
        (HEART_RAS, False),
        ((-HEART_RAS[0], *HEART_RAS[1:]), True),
    ):
        look(room, views, paint, ras)
        images = shots(viewer, views)
        for plane, model in views.models.items():
            shown = brightness_at(images[plane], layer, model.dims.order, [-c for c in ras[::-1]])
            assert (shown < 160) == lung, f"{plane} at RAS {ras}: {shown}"


def test_letters_say_what_is_drawn_at_each_edge():
    edges = {
        (0, 1, 2): ("A", "P", "R", "L"),
        (1, 0, 2): ("S", "I", "R", "L"),
        (2, 0, 1): ("S", "I", "A", "P"),
    }
    places = ("top_center", "bottom_center", "middle_left", "middle_right")
    for order, letters in edges.items():
        assert letters_of(order) == dict(zip(places, letters, strict=True))


def test_slice_words_speak_patient_millimetres():
    assert slice_words(0, (120.0, 0.0, 0.0)) == "axial\nI 120.0 mm"
    assert slice_words(2, (0.0, 0.0, 30.5)) == "sagittal\nL 30.5 mm"


def test_one_point_in_three_views(viewer, opened, paint, chest):
    room, views, _ = opened
    sliders = [tuple(step) for step in viewer.dims.range]
    look(room, views, paint, MARKER_RAS)
    wanted = [-c for c in MARKER_RAS[::-1]]
    for plane, top in (("axial", "A"), ("coronal", "S"), ("sagittal", "S")):
        model = views.models[plane]
        axis = model.dims.order[0]
        assert model.dims.point[axis] == pytest.approx(wanted[axis], abs=chest.spacing[axis])
        assert model.scene.overlays["ctvlp crosshair"].position == pytest.approx(wanted)
        assert model.scene.overlays["ctvlp crosshair"].visible
        assert model.canvas.overlays["ctvlp top_center"].text == top
        assert model.canvas.overlays["ctvlp top_center"].visible
    assert [tuple(step) for step in viewer.dims.range] == sliders

    viewer.dims.set_point(0, 30.0)
    paint(CROSS_MS / 1000 + 0.3)
    assert room.session.point[2] == pytest.approx(-30.0, abs=2.0)
    cross = views.models["coronal"].scene.overlays["ctvlp crosshair"]
    assert cross.position[0] == pytest.approx(30.0, abs=2.0)

    over = viewer.add_labels(np.zeros(chest.shape, np.uint8), metadata={OVER: True})
    room.desk.blink()
    assert not over.visible
    room.desk.blink()
    assert over.visible
    viewer.layers.remove(over)

    viewer.dims.order = (1, 2, 0)
    assert tuple(viewer.dims.order) == (1, 0, 2), "a rolled order becomes an upright coronal"


def test_clones_share_voxels_and_the_dock_lets_go(viewer, opened, paint):
    room, views, layer = opened
    room.desk.set_window("Lung")
    layer.opacity = 0.7
    paint()
    for clones in views.clones:
        copy = clones.copies[layer]
        assert np.shares_memory(copy.data, layer.data)
        assert list(copy.contrast_limits) == [-1350.0, 150.0]
        assert copy.opacity == pytest.approx(0.7)
    viewer.layers.remove(layer)
    assert all(not model.layers for model in views.models.values())
    assert room.session.study is None

    viewer.window.remove_dock_widget(views)
    views.close()
    paint()
    room.session.look_at((1.0, 2.0, 3.0))
    assert not viewer.keymap
    assert not [one for one in viewer.mouse_wheel_callbacks if "ctvlp" in one.__module__]


def test_a_stream_of_wishes_is_one_round_of_the_views_to_the_latest(viewer, opened, paint, chest):
    room, views, _ = opened
    look(room, views, paint, LIVER_RAS)
    paint(1.0)  # until the crosshairs rest too
    moves = {plane: [] for plane in views.models}
    for plane, model in views.models.items():
        axis = model.dims.order[0]
        model.dims.events.point.connect(
            lambda event, axis=axis, plane=plane: moves[plane].append(event.source.point[axis])
        )
    wishes = [tuple(c + 4.0 * n for c in LIVER_RAS) for n in range(1, 9)]
    for wish in wishes:
        room.session.look_at(wish)
    assert [len(seen) for seen in moves.values()] == [1, 1, 1], "the first at once, in all views"
    paint(0.4)
    for plane, model in views.models.items():
        axis = model.dims.order[0]
        assert len(moves[plane]) == 2, "then the latest, and none between"
        wanted = -wishes[-1][2 - axis]
        assert model.dims.point[axis] == pytest.approx(wanted, abs=chest.spacing[axis] / 2)
        assert model.scene.overlays["ctvlp crosshair"].position[axis] == pytest.approx(wanted)


def test_words_are_painted_and_a_move_paints_each_view_once(viewer, opened, paint):
    room, views, _ = opened
    look(room, views, paint, LIVER_RAS)
    paint(1.0)
    canvases = [viewer.window._qt_viewer.canvas, *(one.canvas for one in views.canvases.values())]
    painted = [0] * len(canvases)

    def count(place):
        painted[place] += 1

    for place, canvas in enumerate(canvases):
        canvas.events.draw.connect(lambda event, place=place: count(place))
    rows = []
    viewer.window._qt_viewer.layers.model().dataChanged.connect(lambda *row: rows.append(row))
    room.session.look_at(tuple(c + 7.0 for c in LIVER_RAS))
    paint(0.4)
    assert painted == [1, 1, 1]
    assert not rows, "the layer list is left alone"
    viewer.layers[0].name = "another"
    assert rows

    mark = viewer.canvas.overlays["ctvlp bottom_center"]
    assert mark.text == "P"
    yellow = np.array([255, 210, 74])

    def letter():
        image = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
        below = image[-60:, image.shape[1] // 2 - 20 : image.shape[1] // 2 + 20]
        return int((np.abs(below - yellow).max(axis=-1) < 40).sum())

    assert letter() > 15
    mark.visible = False
    paint()
    assert letter() == 0
