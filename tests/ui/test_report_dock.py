"""Chips, suggestions and the report dock in a real window, answered by the compute process."""

import pytest
from qtpy.QtWidgets import QApplication

from napari_ctvlp.core.parser import parse
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.docks.chips import PARTS, choices
from napari_ctvlp.ui.docks.suggest import Vocabulary, asked_before, favourites
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.words import marked_words

REPORT = "FINDINGS: Nodule in the left lung. No pleural effusion. The heart is enlarged."


@pytest.fixture
def room(viewer, chest):
    """A room with the phantom in it."""
    made = room_of(viewer)
    made.add_scan(chest)
    return made


def docked(viewer, title):
    dock = make_dock(title, viewer)
    viewer.window.add_dock_widget(dock, name=title, area="right")
    return dock


def test_cues_are_bold_and_what_they_act_on_is_underlined():
    words = marked_words(parse("No nodule in the left lung & <b>"))
    assert words.startswith("<b>No</b> <u><b>nodule</b></u><u> in the </u>")
    assert "&amp; &lt;b" in words


@pytest.mark.parametrize("part", PARTS)
def test_every_choice_of_a_chip_is_read_again(part):
    from napari_ctvlp.core.wording import changed

    phrase = parse("nodule in the left lung")
    for words, value in choices(part):
        again = parse(changed(phrase, **{part: value}))
        assert getattr(again, part) == value, words


def test_chips_show_the_phrase_and_change_it(room, viewer):
    dock = docked(viewer, "Phrases")
    asked = []
    room.session.grounding.connect(lambda text, gate: asked.append(text))
    dock.edit.setText("no nodule in the left lung")
    dock.edit.textEdited.emit(dock.edit.text())
    texts = {part: button.text() for part, button in dock.chips.buttons.items()}
    assert texts == {
        "finding": "nodule",
        "anatomy": "left lung",
        "side": "left",
        "negated": "denied",
        "uncertain": "certain",
        "size_mm": "any size",
    }
    menu = dock.chips.buttons["side"].menu()
    menu.aboutToShow.emit()
    next(action for action in menu.actions() if action.text() == "right").trigger()
    assert dock.edit.text() == "no nodule in the right lung"
    assert asked == ["no nodule in the right lung"]
    assert dock.chips.buttons["anatomy"].text() == "right lung"
    room.session.cancel()


def test_what_was_asked_and_starred_is_suggested_first(room, viewer):
    dock = docked(viewer, "Phrases")
    dock.edit.setText("a mass of my own")
    dock.edit.returnPressed.emit()
    room.session.cancel()
    assert asked_before()[0] == "a mass of my own"
    dock.star.click()
    assert favourites() == ["a mass of my own"]
    listed = dock.suggestions.words.stringList()
    assert listed[0] == "a mass of my own"
    menu = dock.before.menu()
    menu.aboutToShow.emit()
    assert [action.text() for action in menu.actions()] == ["\u2605 a mass of my own"]
    dock.suggestions.setCompletionPrefix("hydroneph")
    assert "hydronephrosis" in dock.suggestions.currentCompletion()
    dock.star.click()
    assert favourites() == []


def test_the_vocabulary_is_searched_by_synonym(room, viewer, qtbot):
    dialog = Vocabulary(docked(viewer, "Phrases"))
    qtbot.addWidget(dialog)
    chosen = []
    dialog.chosen.connect(chosen.append)
    dialog.search.setText("renal calculus")
    shown = [one for _, items in dialog.heads.values() for one in items if not one.isHidden()]
    assert [item.text(0) for item in shown] == ["kidney stone"]
    dialog.tree.itemActivated.emit(shown[0], 0)
    assert chosen == ["kidney stone"]


def test_a_report_becomes_rows_that_lead_to_their_peaks(room, viewer, wait, tmp_path):
    dock = docked(viewer, "Report")
    room.start()
    wait(lambda: room.session.study.findings is not None)
    dock.text.setPlainText(REPORT)
    dock.check_button.click()
    wait(lambda: dock.table.rowCount() == 3)
    assert [row.polarity for row in dock.rows] == ["present", "absent", "present"]
    for number, row in enumerate(dock.rows):
        told = dock.table.item(number, 1)
        assert told.text().startswith(row.text)
        assert f"report: {row.polarity}, model: {row.verdict}" in told.text()
        bold = told.font().bold()
        assert bold == (row.agreement == "disagree")
    assert "3 statements asked" in dock.words.text()
    dock.table.cellClicked.emit(0, 0)
    assert room.session.point == dock.rows[0].peak_ras
    wait(lambda: room.session.study.heatmap is not None)
    heat = room.session.study.heatmap
    assert heat.phrase.text == dock.rows[0].phrase
    assert heat.peak == pytest.approx(dock.rows[0].score)

    dock.tabs.setCurrentIndex(1)
    dock.write_button.click()
    wait(lambda: bool(dock.draft.toPlainText()))
    dock.draft.appendPlainText("My own sentence.")
    dock.copy_button.click()
    assert QApplication.clipboard().text().endswith("My own sentence.")
    dock.save(tmp_path / "draft.txt")
    assert (tmp_path / "draft.txt").read_text(encoding="utf-8") == dock.draft.toPlainText()


def test_an_empty_report_says_what_to_do(room, viewer, wait):
    dock = docked(viewer, "Report")
    dock.check_button.click()
    wait(lambda: "Paste one report" in dock.words.text())
    room.session.cancel()


def test_answers_of_another_scan_are_taken_away(room, viewer, chest):
    dock = docked(viewer, "Report")
    dock.draft.setPlainText("something")
    room.session.open(None)
    assert dock.draft.toPlainText() == ""
    dock.check_button.click()
    assert dock.words.text() == "Open a CT first."
