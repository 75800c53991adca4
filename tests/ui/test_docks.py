"""Docks beside one another: what one of them does must be true in the others too."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.checks import Erasure
from napari_ctvlp.core.components import Cut
from napari_ctvlp.core.encoding import AttentionMaps, EncodingSummary
from napari_ctvlp.core.geometry import coarse_affine
from napari_ctvlp.core.heatmap import Gate, Heatmap
from napari_ctvlp.core.locality import Likeness
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.errors import OutOfResources
from napari_ctvlp.models import store
from napari_ctvlp.ui.arrange import DOCKS, TITLES, dock_name, make_dock
from napari_ctvlp.ui.docks.attention_parts import Shown
from napari_ctvlp.ui.outline import Outline
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.session import Job

#: Docks that the reading room does not open by itself.
MORE = (*DOCKS.keys() - set(TITLES),)


@pytest.fixture
def room(bridge, chest):
    """Return the room of a viewer without a window."""
    viewer = ViewerModel()
    made = room_of(viewer)
    made.add_scan(chest)
    yield made
    made.session.open(None)


def heat(scan, text, model="mini", factor=2, **more):
    shape = tuple(n // factor for n in scan.shape)
    values = np.zeros(shape, np.float32)
    values[:6, :6, :6] = 0.9
    affine = coarse_affine(scan.affine, factor)
    return Heatmap(
        values, affine, np.ones(shape, bool), Phrase(text, text), model, verdict="present", **more
    )


def encoded(*organs):
    return EncodingSummary("mini", "", "", "", (4, 4, 4), np.eye(4), 64, organs, organs)


def failure():
    return OutOfResources("memory", "memory.", "It ran out.", "Close a scan.")


def test_a_second_organ_is_the_one_that_is_told_and_saved(room, docked, chest, tmp_path):
    dock, study = docked("Attention"), room.session.study
    grid, affine = np.zeros((4, 4, 4), np.float32), coarse_affine(chest.affine, 8)
    maps = {"heart": grid + 0.25, "liver": grid + 0.75}
    study.put("encoding", encoded("heart", "liver"))
    study.put("attention", AttentionMaps(maps, dict.fromkeys(maps, affine), "mini", ""))
    for organ in maps:
        dock.organ.setCurrentIndex(dock.organ.findData(organ))
        dock.organ.activated.emit(dock.organ.currentIndex())
        assert f"the query of the {organ}" in dock.state.text()
        dock.save_map(tmp_path / "map.nii.gz")
        kept = nibabel.load(tmp_path / "map.nii.gz")
        assert np.asarray(kept.dataobj).max() == maps[organ].max()
    dock.organ.setCurrentIndex(0)
    dock.organ.activated.emit(0)
    dock.save_map(tmp_path / "nothing.nii.gz")
    assert "no map to save" in dock.state.text()


def test_answers_tell_failures_and_offer_models_that_came(room, docked, chest, monkeypatch):
    dock = docked("Answers")
    room.session.study.put("heatmap", heat(chest, "nodule"))
    dock.state.setText("Asking fvlm ...")
    room.session.failed.emit(failure())
    assert "It ran out. Close a scan." in dock.state.text()
    before, usable = dock.models.count(), store.state_of(store.card("mini"))
    monkeypatch.setattr(store, "state_of", lambda card: usable)
    room.session.models_changed.emit()
    assert dock.models.count() > before


def test_a_phrase_is_shown_alone_or_beside_another(viewer, chest, wait):
    room, dock = room_of(viewer), make_dock("Answers", viewer)
    viewer.window.add_dock_widget(dock)
    room.add_scan(chest)
    study = room.session.study
    for text, kind in (("nodule", "probability"), ("mass", "cosine")):
        study.put("heatmap", heat(chest, text, kind=kind))
    dock.together.setChecked(True)
    dock.table.setCurrentCell(0, 0)
    dock.window().activateWindow()
    dock.table.setFocus()
    wait(dock.table.hasFocus, 30)
    QTest.keyClick(dock.table, Qt.Key.Key_Return)
    front = next(one for one in viewer.layers if one.name.startswith("Heat"))
    assert front.visible
    assert study.heatmap.phrase.text == "nodule"
    dock.table.selectAll()
    dock.show_beside()
    compare = viewer.window.dock_widgets[dock_name("Compare")]
    assert compare.model.layers[-1].name == "Heat: mass"
    assert "a scale of its own" in dock.state.text()
    assert "0.90, this map's own peak" in compare.state.text()
    compare._number = 7
    compare.show_answer(study.heatmap)
    room.bridge.finished.emit(7, chest)
    assert compare.model.layers[-1].name == "Heat: nodule", "no longer what was to be aligned"


def test_a_check_says_of_which_phrase_and_model_it_was(room, docked, chest):
    dock, study = docked("Checks"), room.session.study
    study.put("encoding", encoded())
    dock.phrase.setText("nodule")
    dock.check("check_organs")
    dock._organs(Erasure("heart", "liver", 0.9, 0.2, 0.9))
    dock.asker.cancel()
    study.put("heatmap", heat(chest, "effusion"))
    assert dock.phrase.text() == "effusion"
    assert dock.answers["check_organs"].text().startswith("\u201cnodule\u201d, mini: Passed")


def test_a_job_that_has_ended_is_no_longer_told(room, docked):
    dock = docked("Reading room")
    for kind in ("segment", "verdicts", "draft"):
        room.session.jobs[kind] = Job(1, kind, room.session.study, print)
        dock._jobs()
        assert not dock.state.text().startswith(kind), "words, not the name of a verb"
        room.session.jobs.clear()
        dock._jobs()
        assert dock.state.text() == "Ready."


def test_organs_are_filled_again_where_the_same_ones_were_shown(room, chest):
    labels = np.ones(chest.shape, np.uint8)
    room.session.study.put(
        "anatomy", anatomy_from_labels(labels, chest, [(1, "heart")], source="drawn")
    )
    layer = next(one for one in room.viewer.layers if isinstance(one, Labels))
    outline = Outline(room)
    outline.draw(frozenset({"heart"}))
    assert layer.contour == 1
    outline.undo()
    assert layer.contour == 0


def test_places_alike_follow_on_another_grid_until_they_are_hidden(room, docked, chest):
    dock = docked("Places alike")

    def answer(factor):
        shape = tuple(n // factor for n in chest.shape)
        affine = coarse_affine(chest.affine, factor)
        dock._show(Likeness(np.ones(shape, np.float32), affine, (0, 0, 0), "mini"))
        return [one for one in room.viewer.layers if one.name == "Places alike"]

    room.session.study.put("encoding", encoded())
    dock.ask()
    room.session.cancel()
    dock.follow.setChecked(True)
    assert len(answer(4)) == len(answer(8)) == 1
    assert dock.follow.isChecked()
    dock.hide_it()
    assert not answer(8), "it came too late"


def test_a_place_that_cannot_be_written_is_told(room, docked, tmp_path, monkeypatch):
    attention, evaluate = docked("Attention"), docked("Evaluate")
    attention.shown = Shown(np.zeros((4, 4, 4), np.float32), np.eye(4), "x")
    attention.save_map(tmp_path / "no" / "map.nii")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "no" / "e"), ""))
    evaluate.report = {"model": "mini", "calibration": None, "why": ""}
    evaluate._save()
    for dock in (attention, evaluate):
        assert dock.state.text().startswith("Not saved: No such file")


def test_two_models_cut_masks_of_their_own(room, docked, chest):
    dock = docked("Pieces")
    for model in ("mini", "fvlm"):
        dock._cut(heat(chest, "mass", model), Cut(np.zeros(chest.shape, np.uint16), (), 0.5))
    assert [one.name for one in room.viewer.layers][-2:] == ["Mask: mass", "Mask: mass (fvlm)"]


def test_thresholds_are_asked_for_with_the_gate_as_it_was(room, docked, chest):
    dock = docked("Evaluate")
    asked = []
    room.session.grounding.connect(lambda text, gate: asked.append(gate))
    room.session.study.put("heatmap", heat(chest, "mass", gate=Gate(applied=False)))
    dock._changed()
    assert asked == [False]


def test_docks_of_a_closed_window_hear_no_more(viewer, turn_once):
    room = room_of(viewer)
    for title in MORE:
        viewer.window.add_dock_widget(make_dock(title, viewer))
    viewer.close()
    turn_once()
    room.session.look_at((0.0, 0.0, 0.0))
    room.session.failed.emit(failure())
    room.session.models_changed.emit()
