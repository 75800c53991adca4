"""The docks with the real compute process on the phantom: anatomy, cancel, late answers."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import ras_to_screen
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phantom import NODULE_MM, NODULE_RAS, phantom
from napari_ctvlp.errors import CtvlpError, InputRefused, WorkerFailed
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.session import Look


@pytest.fixture
def small():
    """Return a small chest, so that jobs are short."""
    return phantom((52, 44, 62), (6.0, 6.4, 6.0))


@pytest.fixture
def room(make_napari_viewer, bridge):
    """Return the room of a hidden viewer; failures of jobs fail the test."""
    made = room_of(make_napari_viewer())
    made.failures = []
    made.session.failed.connect(made.failures.append)
    return made


def docks(room, qtbot):
    made = {
        title: make_dock(title, room.viewer)
        for title in ("Phrases", "Organs", "Findings", "Reading room")
    }
    for dock in made.values():
        qtbot.addWidget(dock)
    return made


def shown(room, kind):
    return [layer for layer in room.viewer.layers if isinstance(noun_of(layer), kind)]


def test_from_scan_to_phrase_and_back(room, small, wait, qtbot):
    made = docks(room, qtbot)
    organs, phrases, findings, run = (
        made[t] for t in ("Organs", "Phrases", "Findings", "Reading room")
    )
    session = room.session
    room.add_scan(small)
    assert "62 x 44 x 52" in run.scan_label.text()
    room.start()
    wait(lambda: session.study.findings is not None or room.failures)
    assert not room.failures

    (layer,) = shown(room, AnatomyMap)
    anatomy = session.study.anatomy
    assert all(organs.item_of(organ.name) is not None for organ in anatomy.organs)
    box = organs.item_of("lung_left")
    assert box.checkState(0) == Qt.CheckState.Checked
    box.setCheckState(0, Qt.CheckState.Unchecked)
    assert layer.get_color(anatomy.by_name["lung_left"].id)[3] == 0
    organs.tree.setCurrentItem(organs.item_of("lung_right"))
    organs._go()
    assert session.point[0] > 20, "the right lung lies at positive R"

    phrases.edit.setText("nodule in the left lung")
    phrases.edit.returnPressed.emit()
    wait(lambda: session.study.heatmap is not None or room.failures)
    assert not room.failures
    heatmap = session.study.heatmap
    (heat,) = shown(room, Heatmap)
    assert heatmap.peak_ras[0] < 0, "the gate keeps the peak on the left"
    assert session.point == heatmap.peak_ras
    assert heatmap.gate.words == phrases.gate_words.text()
    assert "RAS" in phrases.peak.text()
    session.set_look(Look(opacity=0.3, threshold=0.2, colormap="viridis", jump=False))
    assert heat.opacity == pytest.approx(0.3)
    assert list(heat.contrast_limits) == [0.2, 1.0]

    phrases.gate.setChecked(False)
    wait(lambda: session.study.heatmap is not heatmap or room.failures)
    assert not session.study.heatmap.gate.applied
    assert shown(room, Heatmap) == [heat], "a new answer takes the layer of the one before"

    session.ground("no nodule in the left lung")
    wait(lambda: session.study.heatmap.phrase.negated or room.failures)
    assert "not asserted" in shown(room, Heatmap)[0].name
    assert "not asserted" in phrases.verdict.text().lower()

    assert findings.model.rowCount() == len(session.study.findings.rows) > 0
    findings.filter.setText("nodule")
    assert 0 < findings.proxy.rowCount() < findings.model.rowCount()
    before = session.study.heatmap
    findings._ground(findings.proxy.index(0, 0))
    wait(lambda: session.study.heatmap is not before or room.failures)
    assert phrases.edit.text() == session.study.heatmap.phrase.text

    organ = session.study.encoding.attention[0]
    session.attend(organ)
    wait(lambda: session.study.attention is not None or room.failures)
    assert [one.name for one in room.viewer.layers if one.name.startswith("Attention")]
    session.attend("")
    assert not [one.name for one in room.viewer.layers if one.name.startswith("Attention")]

    alike = make_dock("Places alike", room.viewer)
    qtbot.addWidget(alike)
    session.look_at(session.study.heatmap.peak_ras)
    alike.ask()
    wait(lambda: "cosine above" in alike.state.text() or room.failures)
    (layer,) = [one for one in room.viewer.layers if one.name == "Places alike"]
    here = layer.world_to_data(ras_to_screen(session.point))
    assert layer.data[tuple(np.rint(here).astype(int))] == pytest.approx(1, abs=0.01)
    alike.follow.setChecked(True)
    session.look_at(tuple(np.add(session.point, (0, 0, 9))))
    wait(lambda: layer.data[tuple(np.rint(here).astype(int))] < 0.999 or room.failures)

    room.viewer.layers.remove(room.layer_of(session.study.scan))
    assert session.study is None
    assert not room.viewer.layers, "what described the scan goes with it"
    assert organs.tree.topLevelItemCount() == findings.model.rowCount() == 0


def test_only_the_newest_answer_is_painted(room, small, wait):
    session = room.session
    room.add_scan(small)
    painted = []
    session.study.heatmap_changed.connect(lambda heatmap: painted.append(heatmap.phrase.text))
    room.start()
    wait(lambda: session.study.findings is not None or room.failures)
    for text in ("nodule", "effusion", "emphysema"):
        session.ground(text)
    wait(lambda: not session.jobs or room.failures)
    assert not room.failures
    wait(lambda: bool(painted), 10)
    assert painted == ["emphysema"]


def test_an_answer_for_another_scan_is_dropped(room, small, chest, wait):
    session = room.session
    room.add_scan(chest)
    first = session.study
    session.segment()
    (number,) = [job.number for job in session.jobs.values()]
    room.add_scan(small)
    session.on_done(number, "late")
    assert first.anatomy is None
    assert session.study.anatomy is None
    assert not shown(room, AnatomyMap)


def test_cancel_leaves_no_layer_behind(room, wait, paint):
    big = phantom((200, 180, 220), (1.5, 1.6, 1.5), seed=3)
    session = room.session
    room.add_scan(big)
    room.start()
    wait(lambda: any(job.share > 0 for job in session.jobs.values()))
    session.cancel()
    assert not session.jobs
    paint(2.5)
    assert [type(noun_of(layer)) for layer in room.viewer.layers] == [type(big)]
    assert session.study.anatomy is None
    assert not room.failures, "a cancel is no failure"


def test_a_refused_scan_and_layer_change_nothing(room, small, tmp_path, wait, qtbot):
    run = docks(room, qtbot)["Reading room"]
    room.add_scan(small)
    before = room.session.study
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    room.open_path(tmp_path / "broken.nii")
    wait(lambda: bool(room.failures))
    assert isinstance(room.failures[0], InputRefused)
    assert "broken.nii" in run.state.text()
    with pytest.raises(InputRefused):
        room.use(Image(np.zeros((4, 5, 6))))
    assert room.session.study is before
    assert len(room.viewer.layers) == 1


def test_a_failed_job_says_so_in_the_docks(room, small, qtbot):
    made = docks(room, qtbot)
    room.add_scan(small)
    room.session.segment()
    (number,) = [job.number for job in room.session.jobs.values()]
    error = WorkerFailed("worker-died", "an answer.", "The process ended.", "Try again.")
    room.session.on_failed(number, error)
    assert not room.session.jobs
    assert "The process ended." in made["Reading room"].state.text()
    assert "Try again." in made["Phrases"].verdict.text()
    assert isinstance(room.failures[0], CtvlpError)


def test_the_nodule_is_where_it_was_put(small):
    from napari_ctvlp.ui.session import Study
    from napari_ctvlp.ui.views.readout import describe

    words = describe(Study(small), NODULE_RAS)
    assert "LPS 78.0 38.0 -30.0 mm" in words
    assert "voxel " in words
    assert NODULE_MM > 0
    assert "HU" in words
    assert "outside the scan" in describe(Study(small), (900.0, 0.0, 0.0))
