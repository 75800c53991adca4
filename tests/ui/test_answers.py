"""Several phrases at once in a real window: listed, drawn together, subtracted."""

import time

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_ctvlp.core.geometry import coarse_affine
from napari_ctvlp.core.heatmap import Heatmap, Wording
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.ui.docks.answers import COLOURS, AnswersDock
from napari_ctvlp.ui.room import room_of
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


def heat(chest, text, place, verdict="present", **more):
    shape = tuple(n // 2 for n in chest.shape)
    values = np.zeros(shape, np.float32)
    values[tuple(slice(n, n + 6) for n in place)] = 0.9
    affine = coarse_affine(chest.affine, 2)
    return Heatmap(
        values, affine, np.ones(shape, bool), Phrase(text, text), "mini", verdict=verdict,
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
    assert told[:4] == ["nodule", "present", "80%", "0.90"]
    assert told[4] == "left lung 100%"
    assert float(told[5]) == pytest.approx(216 * 0.2304, rel=0.02)


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
    dock.together.setChecked(False)
    assert layer(room, "All phrases") is None


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
    dock.table.itemDoubleClicked.emit(dock.table.item(0, 0))
    assert study.heatmap.phrase.text == "nodule"
    dock._forget()
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
