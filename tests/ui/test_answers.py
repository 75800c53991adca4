"""Several phrases at once in a real window: listed, drawn together, subtracted."""

import time

import nibabel
import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_ctvlp.core.geometry import coarse_affine, ras_to_screen, to_ipl
from napari_ctvlp.core.heatmap import Heatmap, Wording
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.ui._compat import Fill, Strokes
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.docks.answers import AnswersDock
from napari_ctvlp.ui.gallery import COLOURS, colour_of
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.session import Look
from napari_ctvlp.ui.words import verdict_words, wording_words


@pytest.fixture
def room(viewer, chest):
    found = room_of(viewer)
    found.add_scan(chest)
    return found


@pytest.fixture
def dock(room, qtbot):
    made = AnswersDock(room)
    qtbot.addWidget(made)
    made.show()
    return made


def heat(chest, text, place, verdict="present", model="mini", factor=2, **more):
    shape = tuple(n // factor for n in chest.shape)
    values = np.zeros(shape, np.float32)
    values[tuple(slice(n, n + 12 // factor) for n in place)] = 0.9
    affine = coarse_affine(chest.affine, factor)
    return Heatmap(
        values, affine, np.ones(shape, bool), Phrase(text, text), model, verdict=verdict,
        shares={"lung_left": 1.0}, support=0.8, **more,
    )  # fmt: skip


def layer(room, begins):
    return next((one for one in room.viewer.layers if one.name.startswith(begins)), None)


def test_every_answer_is_listed_with_its_numbers(room, dock, chest):
    study = room.session.study
    study.put("heatmap", heat(chest, "nodule", (5, 5, 5), flips=True))
    study.put("heatmap", heat(chest, "effusion", (20, 20, 30), verdict="absent"))
    study.put("heatmap", heat(chest, "nodule", (6, 5, 5)))
    assert dock.table.rowCount() == 2
    told = [dock.table.item(0, n).text() for n in range(dock.table.columnCount())]
    assert told[:2] == ["present 80%\nnodule", "0.90"]
    assert float(told[2]) == pytest.approx(216 * 0.2304, rel=0.02)
    dock.table.selectRow(0)
    assert "left lung 100%" in dock.told.text()
    dock.level.setValue(0.95)
    assert float(dock.table.item(0, 2).text()) == 0


def test_ticked_phrases_are_drawn_together_in_their_colours(room, dock, chest, paint):
    study = room.session.study
    study.put("heatmap", heat(chest, "nodule", (5, 5, 5)))
    study.put("heatmap", heat(chest, "mass", (20, 20, 30)))
    study.put("heatmap", heat(chest, "cyst", (30, 20, 10), verdict="absent"))
    dock.together.setChecked(True)
    paint()
    picture = layer(room, "All phrases")
    assert isinstance(picture, Image)
    np.testing.assert_allclose(picture.data[7, 7, 7, :3] / 255, COLOURS[0], atol=0.01)
    np.testing.assert_allclose(picture.data[22, 22, 32, :3] / 255, COLOURS[1], atol=0.01)
    assert picture.data[32, 22, 12, 3] == 0
    dock.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert layer(room, "All phrases").data[7, 7, 7, 3] == 0
    assert not layer(room, "Heat: ").visible
    dock.table.item(1, 3).setCheckState(Qt.CheckState.Checked)
    assert layer(room, "All phrases").data[22, 22, 32, 3] == 0, "it has a layer of its own"
    own = layer(room, "Phrase: mass")
    np.testing.assert_allclose(own.colormap.colors[-1, :3], COLOURS[1], atol=0.01)
    assert list(own.contrast_limits) == [room.session.look.threshold, 1.0]
    dock.together.setChecked(False)
    assert layer(room, "All phrases") is None
    assert layer(room, "Heat: ").visible
    dock.table.selectRow(1)
    dock.forget.click()
    assert layer(room, "Phrase: mass") is None


def test_the_21st_phrase_comes_within_200_ms(room, dock, chest, paint):
    study = room.session.study
    dock.together.setChecked(True)
    for number in range(20):
        study.put("heatmap", heat(chest, f"phrase {number}", (number, 5, 5)))
    paint()
    start = time.process_time()
    study.put("heatmap", heat(chest, "the 21st", (40, 30, 30)))
    spent = time.process_time() - start
    assert dock.table.rowCount() == 21
    assert layer(room, "All phrases").data[42, 32, 32, 3] > 200
    print(f"21st phrase: {1000 * spent:.0f} ms")
    assert spent < 0.2


def test_two_phrases_are_subtracted_and_a_double_click_shows_one(room, dock, chest):
    study = room.session.study
    study.put("heatmap", heat(chest, "nodule", (5, 5, 5)))
    study.put("heatmap", heat(chest, "mass", (20, 20, 30)))
    dock.subtract()
    assert "Select two" in dock.state.text()
    dock.table.selectAll()
    dock.subtract()
    made = layer(room, "Difference: nodule minus mass")
    assert made.data[7, 7, 7] == pytest.approx(0.9)
    assert made.data[22, 22, 32] == pytest.approx(-0.9)
    assert made.colormap.map(np.array([0.5]))[0, 3] < 0.05, "agreement leaves the CT as it is"
    dock.table.itemDoubleClicked.emit(dock.table.item(0, 0))
    assert study.heatmap.phrase.text == "nodule"
    dock.table.selectAll()
    dock.forget.click()
    assert dock.table.rowCount() == 0


def test_another_scan_begins_an_empty_list(room, dock, chest):
    room.session.study.put("heatmap", heat(chest, "nodule", (5, 5, 5)))
    room.session.open(chest)
    assert dock.table.rowCount() == 0


def test_the_wordings_of_an_answer_are_told(chest):
    said = (Wording("nodule", 0.4), Wording("there is nodule", 0.8))
    assert "0.40 to 0.80; the answer depends" in verdict_words(
        heat(chest, "nodule", (5, 5, 5), wordings=said, flips=True)
    )
    assert wording_words(heat(chest, "nodule", (5, 5, 5), wordings=said[:1])) == []


def test_two_encoders_are_told_apart_and_subtracted_on_one_grid(room, dock, chest):
    room.session.study.put("heatmap", heat(chest, "nodule", (6, 6, 6)))
    dock.gallery.add(heat(chest, "nodule", (3, 3, 3), model="fvlm", factor=4))
    told = [dock.table.item(n, 0).text().split("\n")[1] for n in range(2)]
    assert told == ["nodule (mini)", "nodule (fvlm)"]
    dock.table.selectAll()
    dock.subtract()
    made = layer(room, "Difference: nodule (mini) minus nodule (fvlm)")
    assert made.data.shape == tuple(n // 2 for n in chest.shape)
    assert np.abs(made.data[8:10, 8:10, 8:10]).max() == pytest.approx(0, abs=1e-6)


def test_twenty_one_phrases_have_colours_of_their_own():
    assert len({tuple(round(part, 2) for part in colour_of(n)) for n in range(21)}) == 21


@pytest.fixture
def views(room, viewer, wait):
    made = make_dock("Views", viewer)
    viewer.window.add_dock_widget(made, name="Views")
    wait(lambda: len(made.canvases) == 2)
    return made


def strokes(model):
    found = [one for one in model.scene.overlays.values() if isinstance(one, Strokes)]
    return found[0].on([1, 2])[0]


def test_without_support_a_map_is_outlined_and_never_filled(
    room, views, chest, viewer, wait, paint
):
    study = room.session.study
    study.put("heatmap", heat(chest, "nodule", (10, 10, 10)))
    paint()
    assert layer(room, "Heat: ").colormap.colors[-1, 3] == 1
    assert not strokes(viewer).any()
    study.put("heatmap", heat(chest, "effusion", (10, 10, 10), verdict="absent"))
    assert layer(room, "Heat: ").colormap.colors[:, 3].max() == 0
    for model in views.models.values():
        wait(lambda model=model: len(strokes(model)) > 20)
        said = model.canvas.overlays["ctvlp support"]
        assert said.visible
        assert said.text == "no support:\neffusion"
    middle = ras_to_screen(study.heatmap.peak_ras)
    drawn = strokes(viewer)
    assert np.abs(drawn - middle[1:]).max() < 50, "around the peak"
    room.session.look_at((study.heatmap.peak_ras[0], 0.0, 100.0))
    wait(lambda: not strokes(viewer).any())  # this slice holds none of it
    room.session.set_look(Look(cells=True, hatch=True, lines=True))
    wait(lambda: len(strokes(viewer)) > 100)  # the model's grid


def sheets(model):
    found = [one for one in model.scene.overlays.values() if isinstance(one, Fill)]
    return found[0].sheets


def test_every_view_is_filled_where_the_phrases_are(room, views, dock, chest, viewer, wait, paint):
    study = room.session.study
    study.put("heatmap", heat(chest, "nodule", (12, 12, 12)))
    study.put("heatmap", heat(chest, "mass", (6, 6, 6), factor=4))
    middle = ras_to_screen(study.heatmap.peak_ras)
    room.session.look_at(study.heatmap.peak_ras)
    dock.together.setChecked(True)
    for own in (False, True):
        dock.gallery.tick(dock.gallery.answers["nodule", "mini"], shown=True, own=own)
        for model in views.models.values():
            wait(lambda model=model, own=own: len(sheets(model)) == 1 + own, 20)
            down, right = model.dims.displayed
            for sheet in sheets(model):
                x, y = middle[right], middle[down]
                assert sheet.low[0] < x < sheet.high[0] < x + 60
                assert sheet.low[1] < y < sheet.high[1] < y + 60
                cell = (np.array([x, y]) - sheet.low) / (sheet.high - sheet.low)
                places = (cell * sheet.picture.shape[1::-1]).astype(int)
                assert sheet.picture[places[1], places[0], 3] > 80
    picture, mine = layer(room, "All phrases"), layer(room, "Phrase: nodule")
    views.fit()
    before = viewer.screenshot(flash=False)
    picture.visible = mine.visible = False
    wait(lambda: not any(sheets(model) for model in views.models.values()))
    assert np.abs(viewer.screenshot(flash=False)[..., :3].astype(int) - before[..., :3]).max() > 50
    mine.visible, mine.opacity = True, 0.25
    wait(lambda: [sheet.picture[..., 3].max() for sheet in sheets(viewer)] == [64])
    viewer.dims.ndisplay = 3
    assert not sheets(viewer)
    viewer.dims.ndisplay = 2
    assert sheets(viewer)
    room.session.look_at((study.heatmap.peak_ras[0], 0.0, 100.0))
    wait(lambda: not sheets(viewer))  # this slice holds none of it


def test_an_answer_is_shown_beside_on_the_same_scale(
    room, dock, views, chest, viewer, qtbot, paint
):
    compare, phrases = (make_dock(title, viewer) for title in ("Compare", "Phrases"))
    qtbot.addWidget(phrases)
    viewer.window.add_dock_widget(compare, name="Compare")
    study = room.session.study
    study.put("heatmap", heat(chest, "nodule", (10, 10, 10)))
    study.put("heatmap", heat(chest, "mass", (20, 20, 30)))
    dock.show_beside()
    assert "Select two" in dock.state.text()
    dock.table.selectAll()
    dock.show_beside()
    assert study.heatmap.phrase.text == phrases.edit.text() == "nodule"
    assert len(dock.table.selectedItems()) == 2 * dock.table.columnCount(), "still selected"
    beside = compare.model.layers[-1]
    assert beside.name == "Heat: mass"
    room.session.set_look(Look(threshold=0.3))
    assert list(beside.contrast_limits) == list(layer(room, "Heat: ").contrast_limits) == [0.3, 1.0]
    compare.close_it()
    assert compare.model is None


def test_a_map_is_cut_into_pieces_edited_and_saved(room, chest, viewer, wait, tmp_path):
    made = make_dock("Pieces", viewer)
    viewer.window.add_dock_widget(made, name="Pieces")
    made.cut()
    assert made.state.text() == "Ask for a phrase first."
    for text, place in (("nodule", (10, 10, 10)), ("mass", (12, 10, 10))):
        room.session.study.put("heatmap", heat(chest, text, place))
        made.cut()
        wait(lambda text=text: text in made.masks)
    assert made.table.rowCount() == 1
    one, two = (made.masks[text].layer for text in ("nodule", "mass"))
    assert ((one.data > 0) & (two.data > 0)).any(), "masks overlap"
    first = made.masks["mass"].cut.pieces[0]
    assert first.peak == pytest.approx(0.9, abs=1e-3)
    assert first.ml == pytest.approx(two.data.sum() * 0.0288, rel=1e-3)
    assert first.mean_hu == pytest.approx(chest.hu[two.data > 0].mean(), abs=0.01)
    two.data[80:84, 40:44, 40:44] = 9
    made.measure()
    wait(lambda: made.table.rowCount() == 2)
    assert made.masks["mass"].cut.pieces[1].ml == pytest.approx(64 * 0.0288, rel=1e-3)
    made.save_to(tmp_path / "mass.nii.gz")
    wait(lambda: made.state.text() == "Saved mass.nii.gz.")
    image = nibabel.load(tmp_path / "mass.nii.gz")
    assert np.asarray(image.dataobj).astype(bool).sum() == (two.data > 0).sum()
    stored, _ = to_ipl(np.asarray(image.dataobj), image.affine)
    np.testing.assert_array_equal(stored, two.data)
    made.table.cellClicked.emit(1, 0)
    assert room.session.point == made.masks["mass"].cut.pieces[1].peak_ras
